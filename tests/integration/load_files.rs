//! `load` as it is run: every way in which files are written, packed and named.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use tokio_postgres::Client;

use crate::support::cli::Workplace;
use crate::support::{self, TestDb};

/// A database with an empty table, and a directory for the files.
struct Fixture {
    database: TestDb,
    client: Client,
    directory: TempDir,
}

impl Fixture {
    async fn new() -> Fixture {
        let database = support::database().await;
        let client = database.connect().await;
        client.batch_execute("CREATE TABLE persons (id int, name text)").await.unwrap();
        Fixture { database, client, directory: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.directory.path().join(name), bytes).unwrap();
    }

    fn run(&self, arguments: &[&str], stdin: &[u8]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_postgres-etl"))
            .args(["load", "--append", "--database-url", self.database.url()])
            .args(arguments)
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end without reading any of it.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        child.wait_with_output().unwrap()
    }

    /// What is in the table after `arguments`, as `id=name` in the order of ids; it is empty again then.
    async fn loaded(&self, arguments: &[&str], stdin: &[u8]) -> String {
        let output = self.run(arguments, stdin);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        let sql = "SELECT coalesce(string_agg(concat(id, '=', coalesce(name, 'NULL')), ' ' ORDER BY id), '') \
                   FROM persons";
        let found = self.client.query_one(sql, &[]).await.unwrap().get(0);
        self.client.batch_execute("TRUNCATE persons").await.unwrap();
        found
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn packed_files_are_known_by_their_content() {
    let fixture = Fixture::new().await;
    let text = "id,name\n1,Ann\n2,\"\"\n3,\n";
    fixture.write("gzip.csv", gzip(text));
    fixture.write("zstd.csv", zstd::encode_all(text.as_bytes(), 3).unwrap());
    for mode in ["copy", "batch", "rows"] {
        for file in ["gzip.csv", "zstd.csv"] {
            assert_eq!(fixture.loaded(&[file, "--mode", mode], b"").await, "1=Ann 2= 3=NULL", "{file}");
        }
    }
    assert_eq!(fixture.loaded(&["-"], &gzip(text)).await, "1=Ann 2= 3=NULL");

    let long = gzip(&format!("id,name\n{}", "4,Dee\n".repeat(1000)));
    fixture.write("cut.csv.gz", &long[..long.len() - 9]);
    let output = fixture.run(&["cut.csv.gz"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cut.csv.gz: its gzip data end prematurely"), "{}", stderr(&output));
    assert_eq!(fixture.loaded(&["-"], b"id,name\n").await, "", "nothing of it was kept");
    for (format, packed) in [("gzip", gzip(text)), ("zstd", zstd::encode_all(text.as_bytes(), 3).unwrap())] {
        fixture.write("more.packed", [&packed[..], b"4,not packed\n"].concat());
        let output = fixture.run(&["more.packed"], b"");
        let says = format!("more.packed: its {format} data are followed by something that is not {format}");
        assert!(stderr(&output).contains(&says), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn several_files_are_one_load() {
    let fixture = Fixture::new().await;
    fixture.write("a.csv", "id,name\n1,Ann\n");
    fixture.write("b.csv", gzip("id,name\r\n2,Bo\r\n"));
    fixture.write("c.csv", "");
    fixture.write("d.csv", "id,name\n");
    for mode in ["copy", "batch", "rows"] {
        let all = fixture.loaded(&["*.csv", "--mode", mode], b"").await;
        assert_eq!(all, "1=Ann 2=Bo");
        let named = fixture.loaded(&["b.csv", "-", "a.csv", "--mode", mode], b"id,name\n3,Cy").await;
        assert_eq!(named, "1=Ann 2=Bo 3=Cy");
    }
    fixture.write("e.csv", "name,id\nDee,4\n");
    let output = fixture.run(&["*.csv"], b"");
    let expected = "e.csv, line 1: the header is name,id, but that of a.csv is id,name";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    let output = fixture.run(&["*.tsv"], b"");
    assert!(stderr(&output).contains("no file matches *.tsv"), "{}", stderr(&output));

    // Whatever the server refuses is named by its own file and line.
    fixture.client.batch_execute("ALTER TABLE persons ADD UNIQUE (id)").await.unwrap();
    fixture.write("f.csv", "id,name\n\n9,x\n".replace("\n\n", "\n5,\"two\nlines\"\n"));
    fixture.write("g.csv", "id,name\n6,y\n9,z\n");
    for mode in ["rows", "batch"] {
        let output = fixture.run(&["f.csv", "g.csv", "--mode", mode], b"");
        assert!(stderr(&output).contains("insert g.csv, line 3 into"), "{mode}: {}", stderr(&output));
    }
    // What comes by a pipe is read once, so a batch is all that is known.
    let output = fixture.run(&["f.csv", "-", "--mode", "batch"], b"id,name\n9,z\n");
    let place = "insert the rows from f.csv, line 2 to standard input, line 2 into";
    assert!(stderr(&output).contains(place), "{}", stderr(&output));
}

#[tokio::test]
async fn files_are_written_in_many_ways() {
    let fixture = Fixture::new().await;
    let utf16: Vec<u8> =
        "\u{feff}id,name\r\n1,Zoë 😀\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (text, flags, expected) in [
        (&utf16[..], &["--encoding", "utf-16le"][..], "1=Zoë 😀"),
        (b"id,name\n1,Zo\xeb \x80\n", &["--encoding", "windows-1252"], "1=Zoë €"),
        (b"id\tname\n1\ta,b\n", &["--delimiter", "tab"], "1=a,b"),
        (b"id;name\r2;'a;''b'\r", &["--delimiter", ";", "--quote", "'"], "2=a;'b"),
        (b"id,name\n3,\"a\\\"b\"\n", &["--escape", "\\"], "3=a\"b"),
        (b"id,name\n4,\\N\n5,\n6,\"\\N\"\n", &["--null", "\\N"], "4=NULL 5= 6=\\N"),
        (b"# \"people\nid,name\n#7,x\n8,#y\n", &["--comment", "#"], "8=#y"),
        (b"9,Ivy\n10,\n", &["--no-header"], "9=Ivy 10=NULL"),
        (b"\xef\xbb\xbfid,name\n11,x", &[], "11=x"),
        (b"", &[], ""),
        (b"id,name\n", &[], ""),
        (b"", &["--no-header"], ""),
    ] {
        let mut arguments = vec!["-"];
        arguments.extend(flags);
        assert_eq!(fixture.loaded(&arguments, text).await, expected, "{flags:?}");
    }
}

/// Half of a pair of UTF-16 spoils its own row only.
#[tokio::test]
async fn bytes_that_cannot_be_decoded_are_set_aside_with_their_row() {
    let database = support::database().await;
    let workplace = Workplace::on(&database);
    let client = database.connect().await;
    client.batch_execute("CREATE TABLE t (id int, name text)").await.unwrap();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let bad = [utf16("2,"), b"\x00\xd8".to_vec(), utf16("x\n")].concat();
    workplace.write("data.csv", [utf16("id,name\n1,a\n"), bad.clone(), utf16("3,c\n")].concat());
    let flags = ["load", "data.csv", "-t", "t", "--encoding", "utf-16le"];
    let error = workplace.fail(&flags, 1);
    assert!(
        error.contains("line 3, column 2 (name): \"\u{fffd}x\" has bytes that are not UTF-16LE"),
        "{error}"
    );
    let ran = workplace.run(&[&flags[..], &["--max-rejects", "1"]].concat());
    assert_eq!(ran.status.code(), Some(3), "{ran:#?}");
    let rejects = std::fs::read(workplace.path("rejects.csv")).unwrap();
    assert_eq!(rejects, [utf16("\u{feff}id,name\n"), bad].concat());
    let loaded: i64 = client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(loaded, 2);
}

#[tokio::test]
async fn a_dialect_is_found_out_and_printed() {
    let fixture = Fixture::new().await;
    let text = b"id;name\r\n1;\"Zo\xeb; x\"\r\n2;y\r\n";
    let output = fixture.run(&["-", "--sniff"], text);
    assert!(
        stderr(&output).contains("sniffed: --delimiter ';' --encoding windows-1252  # "),
        "{}",
        stderr(&output)
    );
    fixture.client.batch_execute("TRUNCATE persons").await.unwrap();
    assert_eq!(fixture.loaded(&["-", "--sniff"], text).await, "1=Zoë; x 2=y");
    fixture.write("p.csv.gz", gzip("3|a\n4|b\n"));
    assert_eq!(fixture.loaded(&["p.csv.gz", "--sniff"], b"").await, "3=a 4=b");
    let output = fixture.run(&["p.csv.gz", "--sniff", "--delimiter", ";"], b"");
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn empty_files_load_nothing_and_say_so() {
    let fixture = Fixture::new().await;
    fixture.write("nothing.csv", "");
    fixture.write("header.csv", "id,name\n");
    for (arguments, says) in [
        (&["nothing.csv"][..], "nothing.csv is empty"),
        (&["nothing.csv", "--no-header"], "nothing.csv is empty"),
        (&["header.csv"], "header.csv has a header but no rows"),
    ] {
        let output = fixture.run(arguments, b"");
        assert!(output.status.success() && stderr(&output).contains(says), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_its_place() {
    let fixture = Fixture::new().await;
    for (text, flags, code, says) in [
        (
            &b"id,name\n1,a\n2,\"b\n3,c\n"[..],
            &["--max-record-bytes", "20"][..],
            1,
            "line 3: a quote opened in this record is never closed",
        ),
        (
            &[&b"id,name\n1,\""[..], &vec![b'x'; 1_000_000]].concat(),
            &["--max-record-bytes", "1000"],
            1,
            "line 2: the record that begins here is longer than 1000 bytes; a quote in it is still open",
        ),
        (
            b"id,name\n1,\x81\x20\n",
            &["--encoding", "sjis"],
            1,
            "line 2, column 2 (name): \"\u{fffd} \" has bytes that are not Shift_JIS",
        ),
        (b"\xff\xfei\0", &[], 1, "begins with the byte order mark of UTF-16LE"),
        (b"", &["--delimiter", "\""], 2, "--delimiter and --quote are both '\"'"),
        (b"", &["--delimiter", ";;"], 2, "--delimiter must be a single ASCII character"),
        (b"", &["--encoding", "klingon"], 2, "--encoding klingon is unknown"),
        (b"", &["-"], 2, "standard input (-) is given twice"),
    ] {
        let mut arguments = vec!["-"];
        arguments.extend(flags);
        let output = fixture.run(&arguments, text);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{flags:?}: {}", stderr(&output));
    }
}

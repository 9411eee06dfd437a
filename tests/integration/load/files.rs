//! `load`: files in every encoding, compression and dialect.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::load::{MODES, wait_until};
use crate::support::workplace::{ProgramOutput, Workplace};

/// A workplace with the empty table `persons`.
async fn workplace_with_table() -> Workplace {
    Workplace::with_sql("CREATE TABLE persons (id int, name text)").await
}

/// Load what `args` name into `persons`, with `input` as standard input.
fn load(workplace: &Workplace, args: &[&str], input: &[u8]) -> ProgramOutput {
    workplace.run_with_input(&[&["load", "--append"], args].concat(), input)
}

/// Load likewise, and return the rows as `id=name` in the order of the ids. The table is empty afterwards.
async fn loaded(workplace: &Workplace, args: &[&str], input: &[u8]) -> String {
    let ran = load(workplace, args, input);
    assert!(ran.status.success(), "{args:?}: {ran:#?}");
    let sql = "SELECT coalesce(string_agg(concat(id, '=', coalesce(name, 'NULL')), ' ' ORDER BY id), '') \
               FROM persons";
    let rows = workplace.value(sql).await;
    workplace.execute("TRUNCATE persons").await;
    rows
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn compressed_files_are_recognised_by_their_content() {
    let workplace = workplace_with_table().await;
    let text = "id,name\n1,Ann\n2,\"\"\n3,\n";
    workplace.write("gzip.csv", gzip(text));
    workplace.write("zstd.csv", zstd::encode_all(text.as_bytes(), 3).unwrap());
    for mode in MODES {
        for file in ["gzip.csv", "zstd.csv"] {
            assert_eq!(loaded(&workplace, &[file, "--mode", mode], b"").await, "1=Ann 2= 3=NULL", "{file}");
        }
    }
    assert_eq!(loaded(&workplace, &["-"], &gzip(text)).await, "1=Ann 2= 3=NULL");

    let long = gzip(&format!("id,name\n{}", "4,Dee\n".repeat(1000)));
    workplace.write("cut.csv.gz", &long[..long.len() - 9]);
    let ran = load(&workplace, &["cut.csv.gz"], b"");
    assert_eq!(ran.status.code(), Some(1));
    assert!(ran.stderr.contains("cut.csv.gz: its gzip data end prematurely"), "{ran:#?}");
    assert_eq!(loaded(&workplace, &["-"], b"id,name\n").await, "", "nothing of it was committed");
    for (format, packed) in [("gzip", gzip(text)), ("zstd", zstd::encode_all(text.as_bytes(), 3).unwrap())] {
        workplace.write("more.packed", [&packed[..], b"4,not packed\n"].concat());
        let ran = load(&workplace, &["more.packed"], b"");
        let says = format!("more.packed: its {format} data are followed by something that is not {format}");
        assert!(ran.stderr.contains(&says), "{ran:#?}");
    }
}

#[tokio::test]
async fn several_files_are_one_load() {
    let workplace = workplace_with_table()
        .await
        .csv("a.csv", "id,name\n1,Ann\n")
        .csv("b.csv", gzip("id,name\r\n2,Bo\r\n"))
        .csv("c.csv", "")
        .csv("d.csv", "id,name\n");
    for mode in MODES {
        let all = loaded(&workplace, &["*.csv", "--mode", mode], b"").await;
        assert_eq!(all, "1=Ann 2=Bo");
        let named = loaded(&workplace, &["b.csv", "-", "a.csv", "--mode", mode], b"id,name\n3,Cy").await;
        assert_eq!(named, "1=Ann 2=Bo 3=Cy");
    }
    workplace.write("e.csv", "name,age\nDee,4\n");
    let ran = load(&workplace, &["*.csv"], b"");
    let expected = "e.csv, line 1: the header is name,age, but that of a.csv is id,name";
    assert!(ran.stderr.contains(expected), "{ran:#?}");
    let ran = load(&workplace, &["*.tsv"], b"");
    assert!(ran.stderr.contains("no file matches *.tsv"), "{ran:#?}");

    // A row that the server refuses is named by its own file and line.
    workplace.execute("ALTER TABLE persons ADD UNIQUE (id)").await;
    workplace.write("f.csv", "id,name\n\n9,x\n".replace("\n\n", "\n5,\"two\nlines\"\n"));
    workplace.write("g.csv", "id,name\n6,y\n9,z\n");
    for mode in ["rows", "batch"] {
        let ran = load(&workplace, &["f.csv", "g.csv", "--mode", mode], b"");
        assert!(ran.stderr.contains("insert g.csv, line 3 into"), "{mode}: {ran:#?}");
    }
    // A pipe is read only once, so the message can name no more than the batch.
    let ran = load(&workplace, &["f.csv", "-", "--mode", "batch"], b"id,name\n9,z\n");
    let place = "insert the rows from f.csv, line 2 to standard input, line 2 into";
    assert!(ran.stderr.contains(place), "{ran:#?}");
}

#[tokio::test]
async fn encodings_and_dialects_are_set_by_flags() {
    let workplace = workplace_with_table().await;
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
        (b"9,\"Ivy\n", &["--header", "no", "--quote", "none"], "9=\"Ivy"),
        (b"\xef\xbb\xbfid,name\n11,x", &[], "11=x"),
        (b"", &[], ""),
        (b"id,name\n", &[], ""),
        (b"", &["--no-header"], ""),
    ] {
        let arguments = [&["-"], flags].concat();
        assert_eq!(loaded(&workplace, &arguments, text).await, expected, "{flags:?}");
    }
}

/// An unpaired UTF-16 surrogate spoils its own row only.
#[tokio::test]
async fn a_row_with_undecodable_bytes_is_rejected() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int, name text)").await;
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
    assert_eq!(workplace.count("t").await, 2);
}

#[tokio::test]
async fn empty_files_load_nothing_with_a_warning() {
    let workplace = workplace_with_table().await.csv("nothing.csv", "").csv("header.csv", "id,name\n");
    for (arguments, says) in [
        (&["nothing.csv"][..], "nothing.csv is empty"),
        (&["nothing.csv", "--no-header"], "nothing.csv is empty"),
        (&["header.csv"], "header.csv has a header but no rows"),
    ] {
        let ran = load(&workplace, arguments, b"");
        assert!(ran.status.success() && ran.stderr.contains(says), "{ran:#?}");
    }
}

#[tokio::test]
async fn unreadable_input_is_refused_with_its_position() {
    let workplace = workplace_with_table().await;
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
        let arguments = [&["-"], flags].concat();
        let ran = load(&workplace, &arguments, text);
        assert_eq!(ran.status.code(), Some(code), "{flags:?}: {ran:#?}");
        assert!(ran.stderr.contains(says), "{flags:?}: {ran:#?}");
    }
}

/// A file that is still being written, or replaced in place, while it is loaded.
#[tokio::test]
async fn a_file_that_changes_while_it_is_loaded_fails_the_load() {
    let rows: Vec<String> = (0..400_000).map(|id| format!("{id},a")).collect();
    let text = format!("id,name\n{}\n", rows.join("\n"));
    let more = "400000,a\n";
    for (name, content, appended) in [
        ("data.csv", text.clone().into_bytes(), more.as_bytes().to_vec()),
        ("data.csv.gz", gzip(&text), gzip(more)),
    ] {
        for mode in MODES {
            let workplace = workplace_with_table().await.csv("first.csv", "id,name\n-1,a\n");
            let path = workplace.write(name, &content);
            workplace.execute("BEGIN; LOCK TABLE persons").await;
            let load = workplace.start(&["load", "first.csv", name, "--append", "--mode", mode]);
            // By now it has looked at the files; the table is locked before most of them is read.
            let waits = "SELECT count(*) FROM pg_locks WHERE relation = 'persons'::regclass AND NOT granted";
            wait_until("that the load waits", async || workplace.value::<i64>(waits).await > 0).await;
            let file = std::fs::File::options().append(true).open(path).unwrap();
            if mode == MODES[0] && name == "data.csv" {
                // The end of a row, so that nothing but the size tells.
                file.set_len(text[..content.len() / 2].rfind('\n').unwrap() as u64 + 1).unwrap();
            } else {
                (&file).write_all(&appended).unwrap();
            }
            workplace.execute("COMMIT").await;
            let ran = ProgramOutput::from_child(load);
            assert_eq!(ran.status.code(), Some(1), "{name} {mode}: {ran:#?}");
            assert!(ran.stderr.contains(&format!("{name} changed while it was loaded")), "{ran:#?}");
            assert_eq!(workplace.count("persons").await, 0);
        }
    }
}

/// As the tools of these names write them.
#[tokio::test]
async fn files_are_read_whatever_they_are_compressed_with() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await;
    workplace.write("data.csv.bz2", b"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\xd7\x68\x84\x17\x00\x00\x02\x49\x00\x00\x10\x00\x80\x04\x20\x20\x00\x30\xcd\x34\x19\x90\xae\x38\xbb\x92\x29\xc2\x84\x86\xbb\x44\x20\xb8");
    workplace.write("data.csv.xz", b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x04\x69\x64\x0a\x37\x0a\x00\x00\x00\x00\xf3\x46\x4f\x3b\x69\xea\x9c\x0a\x00\x01\x1d\x05\xb8\x2d\x80\xaf\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a");
    workplace.succeed(&["load", "data.csv.bz2", "data.csv.xz", "-t", "t"]);
    assert_eq!(workplace.csv_of("SELECT * FROM t").await, "7\n7\n");
    workplace.write("data.csv.bz2", b"BZh91AY&SY\x01\x02\x03\x04 and so on");
    let error = workplace.fail(&["load", "data.csv.bz2", "-t", "t"], 1);
    assert!(error.contains("data.csv.bz2: its bzip2 data "), "{error}");
}

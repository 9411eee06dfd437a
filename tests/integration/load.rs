//! `load`: what gets into the table, and what keeps it out.

use std::fmt::Write as _;
use std::io::Write as _;
use std::pin::pin;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio_postgres::Client;

use crate::support;
use crate::support::cli::{Ran, Workplace};
use crate::support::load::MODES;

/// The table of the tutorial, as the program creates it.
const PERSONS: &str = "CREATE TABLE persons (id integer PRIMARY KEY, name text, age smallint,
    ismarried boolean, city text, state text, country text)";

const HEADER: &str = "id,name,age,isMarried,city,state,country\n";

/// What is in `table`, byte for byte, in an order of its own.
async fn content(client: &Client, table: &str) -> Vec<u8> {
    let sql = format!("COPY (SELECT * FROM {table} t ORDER BY t::text) TO STDOUT (FORMAT binary)");
    let mut rows = pin!(client.copy_out(&sql).await.unwrap());
    let mut content = Vec::new();
    while let Some(bytes) = rows.next().await {
        content.extend_from_slice(&bytes.unwrap());
    }
    content
}

/// Fill `table` with the server's own reading of `csv`.
async fn copy_csv(client: &Client, table: &str, csv: &[u8]) {
    let sql = format!("COPY {table} FROM STDIN (FORMAT csv, HEADER)");
    let mut sink = pin!(client.copy_in::<_, Bytes>(&sql).await.unwrap());
    sink.send(Bytes::copy_from_slice(csv)).await.unwrap();
    sink.finish().await.unwrap();
}

async fn count(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM persons", &[]).await.unwrap().get(0)
}

/// A workplace on a database of its own, with `csv` as people.csv.
async fn workplace(csv: impl AsRef<[u8]>) -> (Workplace, Client) {
    let database = support::database().await;
    let workplace = Workplace::on(&database);
    workplace.write("people.csv", csv);
    (workplace, database.connect().await)
}

#[tokio::test]
async fn every_mode_leaves_the_table_that_copy_leaves() {
    let (workplace, client) = workplace("").await;
    workplace.succeed(&["generate", "-n", "20000", "--unicode", "-o", "people.csv"]);
    let mut csv = std::fs::read(workplace.path("people.csv")).unwrap();
    csv.extend_from_slice(b"30001,,,,,\"\",\n30002,\"a \"\"b\"\"\nc, d\",-1, F ,\"\r\n\",\xc3\xa9, \n");
    workplace.write("people.csv", &csv);
    client.batch_execute(&format!("{PERSONS}; CREATE TABLE reference (LIKE persons)")).await.unwrap();
    copy_csv(&client, "reference", &csv).await;
    let reference = content(&client, "reference").await;
    for mode in MODES {
        let ran = workplace.succeed(&["load", "people.csv", "--mode", mode, "--truncate", "--json"]);
        let report = ran.json();
        assert_eq!(report["rows_read"], 20002, "{mode}");
        assert_eq!(report["rows_loaded"], 20002, "{mode}");
        assert_eq!(report["bytes_read"], csv.len(), "{mode}");
        assert!(content(&client, "persons").await == reference, "{mode} differs from COPY");
    }
    let autocommit =
        ["load", "people.csv", "--mode", "rows", "--truncate", "--autocommit", "--connections", "5"];
    assert_eq!(workplace.succeed(&[&autocommit[..], &["--json"]].concat()).json()["rows_loaded"], 20002);
    assert!(content(&client, "persons").await == reference, "autocommit differs from COPY");
}

/// Python's `bool("false")` is true, and one of the tutorial's loaders believes it.
#[tokio::test]
async fn false_loads_as_false() {
    let (workplace, client) = workplace(format!("{HEADER}1,a,22,false,b,c,d\n2,a,22,true,b,c,d\n")).await;
    for mode in MODES {
        workplace.succeed(&["load", "people.csv", "--mode", mode, "--truncate"]);
        let rows = client.query("SELECT ismarried FROM persons ORDER BY id", &[]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<bool>>(), [false, true], "{mode}");
    }
}

#[tokio::test]
async fn nothing_is_null_and_quoted_nothing_is_empty() {
    let (workplace, client) = workplace("id,name,city\n1,,\"\"\n").await;
    for mode in MODES {
        let ran = workplace.succeed(&["load", "people.csv", "--mode", mode, "--truncate"]);
        assert!(ran.stdout.contains("default age, ismarried, state, country: not in the file"), "{ran:#?}");
        let row = client.query_one("SELECT name, city, age FROM persons", &[]).await.unwrap();
        assert_eq!(row.get::<_, Option<String>>(0), None, "{mode}");
        assert_eq!(row.get::<_, Option<String>>(1).as_deref(), Some(""), "{mode}");
        assert_eq!(row.get::<_, Option<i16>>(2), None, "{mode}");
    }
}

#[tokio::test]
async fn the_table_is_created_added_to_and_emptied() {
    let (workplace, client) = workplace(format!("{HEADER}1,a,22,t,b,c,d\n")).await;
    let created = workplace.succeed(&["load", "people.csv"]);
    assert!(created.stdout.contains("table   created"), "{created:#?}");
    workplace.write("more.csv", format!("{HEADER}2,a,22,t,b,c,d\n"));
    let added = workplace.succeed(&["load", "more.csv", "--append"]);
    assert!(added.stdout.contains("table   added to"), "{added:#?}");
    assert_eq!(count(&client).await, 2);
    workplace.write("config.toml", "[load]\ntruncate = true\n");
    let emptied = workplace.succeed(&["load", "more.csv"]);
    assert!(emptied.stdout.contains("table   emptied first"), "{emptied:#?}");
    assert_eq!(count(&client).await, 1);
    let key: String = client
        .query_one(
            // Since PostgreSQL 18 the columns' NOT NULL is one too.
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint
             WHERE conrelid = 'persons'::regclass AND contype <> 'n'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(key, "PRIMARY KEY (id)");
}

#[tokio::test]
async fn columns_are_found_by_name() {
    let (workplace, client) = workplace("AGE,\"Exact\",id\n30,x,1\n").await;
    client
        .batch_execute("CREATE TABLE persons (id int, \"Exact\" text, age int2, other int DEFAULT 7)")
        .await
        .unwrap();
    for mode in MODES {
        workplace.succeed(&["load", "people.csv", "--mode", mode, "--truncate"]);
        let row = client.query_one("SELECT id, \"Exact\", age, other FROM persons", &[]).await.unwrap();
        assert_eq!((row.get(0), row.get(1), row.get(2), row.get(3)), (1_i32, "x", 30_i16, 7_i32), "{mode}");
    }
}

/// Each wrong input: exit code 1, the table as before, and a message that the snapshot shows.
#[tokio::test]
async fn wrong_input_is_named_and_nothing_is_loaded() {
    let good = "1,a,22,true,b,c,d\n";
    let cases: [(&str, Vec<u8>); 14] = [
        ("unknown_column", b"id,nmae,age\n1,a,2\n".to_vec()),
        ("column_twice", b"id,name,NAME\n1,a,b\n".to_vec()),
        ("no_column_name", b"id,,age\n1,a,2\n".to_vec()),
        ("too_few_fields", format!("{HEADER}{good}2,b,33\n").into()),
        ("too_many_fields", format!("{HEADER}{good}2,b,33,true,Washington, D.C.,x,y\n").into()),
        ("blank_line", format!("{HEADER}{good}\n2,a,22,true,b,c,d\n").into()),
        (
            "not_a_number",
            format!("{HEADER}{good}2,\"two\nlines\",33,true,b,c,d\n3,x,forty,true,b,c,d\n").into(),
        ),
        ("out_of_range", format!("{HEADER}{good}2,b,40000,true,b,c,d\n").into()),
        ("not_a_boolean", format!("{HEADER}{good}2,b,33,maybe\x1b[31m,b,c,d\n").into()),
        ("not_utf8", [HEADER.as_bytes(), good.as_bytes(), b"2,Jos\xe9,33,true,b,c,d\n"].concat()),
        ("zero_byte", format!("{HEADER}{good}2,a\0b,33,true,b,c,d\n").into()),
        ("open_quote", format!("{HEADER}{good}2,\"b,33,true,b,c,d\n3,x,4,true,b,c,d\n").into()),
        ("mixed_line_ends", format!("{HEADER}{good}2,b,33,true,b,c,d\r\n").into()),
        ("long_value", format!("{HEADER}{good}{},b,33,true,b,c,d\n", "9".repeat(500)).into()),
    ];
    let (workplace, client) = workplace("").await;
    client.batch_execute(&format!("{PERSONS}; INSERT INTO persons VALUES (1000, 'before')")).await.unwrap();
    let before = content(&client, "persons").await;
    for (name, csv) in cases {
        workplace.write("people.csv", csv);
        let messages =
            MODES.map(|mode| workplace.fail(&["load", "people.csv", "--mode", mode, "--truncate"], 1));
        assert!(messages.iter().all(|message| *message == messages[0]), "{messages:#?}");
        insta::assert_snapshot!(format!("wrong_input_{name}"), messages[0]);
        assert!(content(&client, "persons").await == before, "{name} changed the table");
    }
}

#[tokio::test]
async fn a_missing_file_and_a_directory_are_named() {
    let (workplace, _) = workplace("").await;
    insta::assert_snapshot!(workplace.fail(&["load", "nothing.csv"], 1), @r"
    error: failed to open nothing.csv: No such file or directory (os error 2)
      help: check the path, which is relative to the current directory; - is standard input
    ");
    insta::assert_snapshot!(workplace.fail(&["load", "."], 1), @r"
    error: . is a directory
      help: name the files in it: './*.csv'
    ");
}

#[tokio::test]
async fn a_duplicate_key_is_named_with_its_line_and_nothing_is_loaded() {
    let mut csv = HEADER.to_owned();
    for id in 1..=3000 {
        writeln!(csv, "{id},\"two\nlines\",22,true,b,c,d").unwrap();
    }
    csv.push_str("17,again,22,true,b,c,d\n3001,a,22,true,b,c,d\n");
    let (workplace, client) = workplace(csv).await;
    client.batch_execute(&format!("{PERSONS}; INSERT INTO persons VALUES (5000, 'before')")).await.unwrap();
    let before = content(&client, "persons").await;
    for mode in MODES {
        let message = workplace.fail(&["load", "people.csv", "--mode", mode, "--truncate"], 1);
        insta::assert_snapshot!(format!("duplicate_key_{mode}"), message);
        assert!(content(&client, "persons").await == before, "{mode} changed the table");
    }
}

#[tokio::test]
async fn autocommit_says_what_stays_after_an_error() {
    let (workplace, client) =
        workplace(format!("{HEADER}1,a,22,t,b,c,d\n2,a,22,t,b,c,d\n1,a,22,t,b,c,d\n")).await;
    let message =
        workplace.fail(&["load", "people.csv", "--mode", "rows", "--autocommit", "--pipeline-depth", "1"], 1);
    let (error, help) = message.split_once("\n  help: ").unwrap();
    assert!(error.contains("people.csv, line 4"), "{message}");
    assert!(error.ends_with("Key (id)=(1) already exists; 2 rows were committed, and stay"), "{message}");
    assert!(help.ends_with("with a key to go by, --on-conflict skip loads the rest\n"), "{message}");
    assert_eq!(count(&client).await, 2);
    workplace.write("people.csv", format!("{HEADER}5,a,22,t,b,c,d\n6,a,x,t,b,c,d\n"));
    let flags = ["load", "people.csv", "--mode", "rows", "--autocommit", "--truncate", "--connections", "2"];
    let message = workplace.fail(&flags, 1);
    assert!(message.contains("people.csv, line 3, column 3 (age)"), "{message}");
    assert!(message.contains("; the table was emptied first, and no row was committed\n"), "{message}");
    assert_eq!(count(&client).await, 0);
}

/// A trigger that returns NULL keeps a row out without an error; the server's count tells.
#[tokio::test]
async fn rows_that_a_trigger_swallows_are_noticed() {
    let (workplace, client) = workplace(format!("{HEADER}1,a,22,t,b,c,d\n2,a,22,t,b,c,d\n")).await;
    client
        .batch_execute(&format!(
            "{PERSONS};
             CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END $$;
             CREATE TRIGGER swallow BEFORE INSERT ON persons FOR EACH ROW EXECUTE FUNCTION swallow()"
        ))
        .await
        .unwrap();
    for mode in MODES {
        let message = workplace.fail(&["load", "people.csv", "--mode", mode], 1);
        assert!(message.contains("the server inserted 1 of 2 rows into persons"), "{message}");
        assert_eq!(count(&client).await, 0, "{mode}");
    }
}

#[tokio::test]
async fn what_is_no_table_or_not_ours_is_refused_before_anything_is_sent() {
    let (workplace, client) = workplace(format!("{HEADER}1,a,22,t,b,c,d\n")).await;
    client.batch_execute("CREATE VIEW persons AS SELECT 1 AS id").await.unwrap();
    let message = workplace.fail(&["load", "people.csv"], 1);
    assert!(message.starts_with("error: persons is a view"), "{message}");
    client
        .batch_execute(&format!(
            "DROP VIEW persons; {PERSONS}; DROP ROLE IF EXISTS load_reader; CREATE ROLE load_reader;
             GRANT SELECT ON persons TO load_reader"
        ))
        .await
        .unwrap();
    let mut command = workplace.command(&["load", "people.csv"]);
    command.env("PGOPTIONS", "-c role=load_reader");
    let ran = Ran::of(command);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("the session's role may not insert into column id of persons"), "{ran:#?}");
}

#[tokio::test]
async fn a_missing_input_is_generated_when_the_configuration_says_so() {
    let database = support::database().await;
    let workplace = Workplace::on(&database);
    std::fs::create_dir(workplace.path("data")).unwrap();
    workplace.write("config.toml", "[generate]\nrows = 50\n");
    let ran = workplace.succeed(&["load"]);
    assert!(
        ran.stderr.starts_with("data/persons.csv does not exist: generating it, as [generate] says\n"),
        "{ran:#?}"
    );
    assert!(ran.stdout.starts_with("loaded 50 rows into persons"), "{ran:#?}");
    workplace.write("config.toml", "");
    std::fs::remove_file(workplace.path("data/persons.csv")).unwrap();
    workplace.fail(&["load"], 1);
}

#[tokio::test]
async fn a_header_without_rows_is_said() {
    let (workplace, client) = workplace(HEADER).await;
    for mode in MODES {
        let ran = workplace.succeed(&["load", "people.csv", "--mode", mode]);
        assert!(ran.stderr.contains("people.csv has a header but no rows"), "{ran:#?}");
        assert_eq!(count(&client).await, 0);
    }
}

/// Ctrl-C in the middle of a load: exit code 130, nothing loaded, nobody left on the server.
#[tokio::test]
async fn an_interrupted_load_leaves_the_table_as_it_was() {
    let (workplace, client) = workplace("").await;
    client.batch_execute(&format!("{PERSONS}; INSERT INTO persons VALUES (1000, 'before')")).await.unwrap();
    let before = content(&client, "persons").await;
    for mode in MODES {
        let pipe = workplace.path(format!("pipe-{mode}"));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .unwrap();
        let child = workplace.start(&["load", &pipe.display().to_string(), "--mode", mode, "--truncate"]);
        let mut writer = std::fs::File::create(&pipe).unwrap();
        writer.write_all(HEADER.as_bytes()).unwrap();
        for id in 0..20_000 {
            writeln!(writer, "{id},a,22,true,b,c,d").unwrap();
        }
        // It holds the table's lock once it has emptied it, and then waits for us to write more.
        let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'persons'::regclass
            AND mode = 'AccessExclusiveLock' AND granted";
        while client.query_one(locked, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.status.code(), Some(130), "{mode}: {ran:#?}");
        assert!(ran.stderr.starts_with("error: interrupted"), "{mode}: {ran:#?}");
        assert!(content(&client, "persons").await == before, "{mode} changed the table");
        drop(writer);
    }
}

#[tokio::test]
async fn a_lost_server_is_said() {
    let (workplace, client) = workplace("").await;
    client.batch_execute(PERSONS).await.unwrap();
    for mode in MODES {
        let pipe = workplace.path(format!("pipe-{mode}"));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .unwrap();
        let child = workplace.start(&["load", &pipe.display().to_string(), "--mode", mode, "--truncate"]);
        let mut writer = std::fs::File::create(&pipe).unwrap();
        writer.write_all(HEADER.as_bytes()).unwrap();
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'persons'::regclass
            AND mode = 'AccessExclusiveLock' AND granted";
        while client.query(kill, &[]).await.unwrap().is_empty() {}
        for id in 0..20_000 {
            // It may be gone already.
            let _ = writeln!(writer, "{id},a,22,true,b,c,d");
        }
        drop(writer);
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert!(matches!(ran.status.code(), Some(1 | 4)), "{mode}: {ran:#?}");
        assert!(ran.stderr.contains("clos") || ran.stderr.contains("57P01"), "{mode}: {ran:#?}");
    }
}

#[tokio::test]
async fn flags_that_contradict_each_other_are_refused() {
    let (workplace, _) = workplace(HEADER).await;
    for args in [
        &["--mode", "copy", "--autocommit"][..],
        &["--mode", "rows", "--connections", "4"],
        &["--batch-size", "0"],
        &["--pipeline-depth", "0"],
        &["--connections", "0"],
        &["--mode", "rows", "--autocommit", "--connections", "1000"],
        &["--append", "--truncate"],
        &["--mode", "fast"],
    ] {
        let message = workplace.fail(&[&["load", "people.csv"], args].concat(), 2);
        assert!(message.starts_with("error: "), "{args:?}: {message}");
    }
}

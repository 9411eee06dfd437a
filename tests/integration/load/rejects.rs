//! `load --max-rejects`: bad rows go to the file of rejects unchanged, and the others are loaded.

use crate::support::load::{MODES, counts};
use crate::support::workplace::{ProgramOutput, Workplace};

/// Bad rows of every kind, in every mode: written to the file of rejects unchanged, with line and reason in the log.
#[tokio::test]
async fn bad_rows_are_rejected_and_the_others_are_loaded() {
    let mut csv = "id,parent,n,note\r\n".to_owned();
    for id in 1..=3000 {
        csv += &match id {
            100 => "100,1,x,type\r\n".to_owned(),
            101 => "101,1\r\n".to_owned(),
            500 => "499,1,1,duplicate\r\n".to_owned(),
            1000 => "1000,77,1,\"foreign\r\nkey\"\r\n".to_owned(),
            1500 => "1500,1,-1,check\r\n".to_owned(),
            2000 => "2000,1,1,\r\n".to_owned(),
            2500 => "2500,1,1,raise\r\n".to_owned(),
            _ => format!("{id},1,{id},ok\r\n"),
        };
    }
    let workplace = Workplace::with_sql(
            "CREATE TABLE parents (id int PRIMARY KEY); INSERT INTO parents VALUES (1);
         CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES parents, n int CHECK (n > 0), note text NOT NULL);
         CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF NEW.note = 'raise' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER raise BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION raise()",
        )
        .await
        .csv("data.csv", &csv);
    for mode in MODES {
        let ran = workplace.run(&[
            "load",
            "data.csv",
            "-t",
            "t",
            "--truncate",
            "--mode",
            mode,
            "--max-rejects",
            "1%",
            "--rejects",
            "bad.csv",
            "--json",
        ]);
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        let report = ran.json();
        let numbers = counts(&report, ["rows_read", "rows_loaded", "rows_rejected"]);
        assert_eq!(numbers, [3000, 2993, 7], "{mode}");
        assert_eq!(
            workplace.csv_of("SELECT count(*), count(DISTINCT id) FROM t").await,
            "2993,2993\n",
            "{mode}"
        );
        assert_eq!(
            workplace.read("bad.csv"),
            "id,parent,n,note\r\n100,1,x,type\r\n101,1\r\n499,1,1,duplicate\r\n1000,77,1,\"foreign\r\nkey\"\r\n\
             1500,1,-1,check\r\n2000,1,1,\r\n2500,1,1,raise\r\n",
            "{mode}"
        );
        let log = workplace.read("bad.log.jsonl");
        let log: Vec<serde_json::Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found: Vec<_> = log
            .iter()
            .map(|reject| {
                let text = |key: &str| reject[key].as_str().unwrap_or("-").to_owned();
                (
                    reject["first_line"].as_u64().unwrap(),
                    reject["last_line"].as_u64().unwrap(),
                    text("sqlstate"),
                    text("constraint"),
                    text("column"),
                    text("value"),
                )
            })
            .collect();
        let row = |first, last, sqlstate: &str, constraint: &str, column: &str, value: &str| {
            (first, last, sqlstate.to_owned(), constraint.to_owned(), column.to_owned(), value.to_owned())
        };
        assert_eq!(
            found,
            [
                row(101, 101, "-", "-", "n", "x"),
                row(102, 102, "-", "-", "-", "-"),
                row(501, 501, "23505", "t_pkey", "id", "499"),
                row(1001, 1002, "23503", "t_parent_fkey", "-", "-"),
                row(1502, 1502, "23514", "t_n_check", "-", "-"),
                row(2002, 2002, "23502", "-", "note", "-"),
                row(2502, 2502, "P0001", "-", "-", "-"),
            ],
            "{mode}"
        );
        let offset = log[3]["byte_offset"].as_u64().unwrap() as usize;
        assert!(csv[offset..].starts_with("1000,77,"), "{mode}: {}", &csv[offset..offset + 20]);
    }
}

#[tokio::test]
async fn too_many_rejects_roll_the_load_back_and_stay_in_their_file() {
    let mut csv = "id\n".to_owned();
    for id in 0..1000 {
        csv += &if id % 10 == 0 { "x\n".to_owned() } else { format!("{id}\n") };
    }
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int); INSERT INTO t VALUES (-1)").await.csv("data.csv", csv);
    for mode in MODES {
        for limit in ["9", "9%"] {
            let message = workplace.fail(
                &["load", "data.csv", "-t", "t", "--truncate", "--mode", mode, "--max-rejects", limit],
                1,
            );
            assert!(
                message.contains(&format!("were rejected, and --max-rejects allows {limit}")),
                "{message}"
            );
            assert!(message.contains("the rejected rows are in rejects.csv"), "{message}");
            assert_eq!(workplace.csv_of("SELECT * FROM t").await, "-1\n", "{mode}");
            assert!(workplace.path("rejects.csv").exists());
        }
    }
    assert_eq!(
        workplace.run(&["load", "data.csv", "-t", "t", "--max-rejects", "100"]).status.code(),
        Some(3)
    );
}

/// Many duplicates in one chunk, among rows that are bad for another reason.
#[tokio::test]
async fn duplicates_are_rejected_among_other_bad_rows() {
    let mut csv = "id,n\n".to_owned();
    for id in 0..2000 {
        csv += &match id % 100 {
            7 => format!("{},1\n", id - 1),
            50 => format!("{id},-1\n"),
            _ => format!("{id},1\n"),
        };
    }
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int UNIQUE, n int CHECK (n > 0))").await.csv("data.csv", csv);
    for mode in MODES {
        let report = workplace
            .run(&[
                "load",
                "data.csv",
                "-t",
                "t",
                "--truncate",
                "--mode",
                mode,
                "--max-rejects",
                "40",
                "--json",
            ])
            .json();
        assert_eq!((&report["rows_loaded"], &report["rows_rejected"]), (&1960.into(), &40.into()), "{mode}");
        assert_eq!(workplace.count("t").await, 1960, "{mode}");
    }
}

/// Runs of good rows, and runs in which many or all are bad for several reasons: every mode rejects the same ones,
/// even where a rule rules out replacing the COPY by INSERTs.
#[tokio::test]
async fn bad_rows_may_be_adjacent() {
    let mut csv = "id,parent,n\n".to_owned();
    let mut expected = csv.clone();
    let mut state = 1_u32;
    for id in 1..=3000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let percent = match id {
            500..1000 => 20,
            1500..1550 => 100,
            2000.. => 2,
            _ => 0,
        };
        let bad = state >> 16 & 0xfff < 41 * percent;
        let row = match (bad, id % 3) {
            (false, _) => format!("{id},1,1\n"),
            (true, 0) => format!("{id},1,-1\n"),
            (true, 1) => format!("{id},7,1\n"),
            (true, _) => format!("{},1,1\n", id / 10),
        };
        csv += &row;
        expected += if bad { &row } else { "" };
    }
    let table = "(id int PRIMARY KEY, parent int REFERENCES parents, n int CHECK (n > 0))";
    let workplace = Workplace::with_sql(&format!(
        "CREATE TABLE parents (id int PRIMARY KEY); INSERT INTO parents VALUES (1);
             CREATE TABLE t {table}; CREATE TABLE ruled {table};
             CREATE RULE away AS ON INSERT TO ruled DO INSTEAD NOTHING"
    ))
    .await
    .csv("data.csv", &csv);
    let mut logs = Vec::new();
    for (table, mode) in [("t", "rows"), ("t", "batch"), ("t", "copy"), ("ruled", "copy")] {
        let flags = ["load", "data.csv", "-t", table, "--truncate", "--mode", mode, "--max-rejects", "50%"];
        assert_eq!(workplace.run(&flags).status.code(), Some(3), "{table}, {mode}");
        let rejects = workplace.read("rejects.csv");
        assert_eq!(rejects, expected, "{table}, {mode}");
        let sum = format!("SELECT count(*) + {} FROM {table}", expected.lines().count() - 1);
        assert_eq!(workplace.csv_of(&sum).await, "3000\n", "{table}, {mode}");
        let log = workplace.read("rejects.log.jsonl");
        let reasons: Vec<_> = log
            .lines()
            .map(|line| {
                let reject: serde_json::Value = serde_json::from_str(line).unwrap();
                let constraint = reject["constraint"].as_str().unwrap().replace("ruled", "t");
                (reject["first_line"].clone(), constraint, reject["column"].clone(), reject["value"].clone())
            })
            .collect();
        logs.push(reasons);
    }
    assert!(logs.iter().all(|log| *log == logs[0]));
}

/// Once a row is known to be bad, constraints that the commit would check are checked row by row. Rows that precede
/// the row they refer to are then rejected too, and can be loaded afterwards.
#[tokio::test]
async fn rows_that_violate_deferred_constraints_are_rejected() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES t DEFERRABLE INITIALLY DEFERRED)",
    )
    .await
    .csv("data.csv", "id,parent\n1,2\n2,\n3,99\n4,1\n");
    let load = |mode: &str, limit: &str| {
        workplace.run(&["load", "data.csv", "-t", "t", "--truncate", "--mode", mode, "--max-rejects", limit])
    };
    for mode in MODES {
        let ran = load(mode, "3");
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        let rejects = workplace.read("rejects.csv");
        assert!(rejects.contains("3,99\n"), "{mode}: {rejects}");
        assert_eq!(workplace.csv_of("SELECT count(*) FROM t WHERE parent = 99").await, "0\n", "{mode}");
        let error = workplace.fail(&["load", "data.csv", "-t", "t", "--truncate", "--mode", mode], 1);
        assert!(error.contains("Key (parent)=(99) is not present"), "{mode}: {error}");
    }
    // Without a bad row, a row may precede the one it refers to.
    workplace.write("data.csv", "id,parent\n1,2\n2,\n");
    for mode in MODES {
        assert_eq!(load(mode, "2").status.code(), Some(0), "{mode}");
    }
}

/// The server names the type at most, which may be that of one column only.
#[tokio::test]
async fn the_log_names_the_column_of_a_value_that_the_server_refuses() {
    let workplace = Workplace::with_sql(
        "CREATE DOMAIN \"Positive\" AS int CHECK (VALUE > 0);
         CREATE TABLE t (id int PRIMARY KEY, p \"Positive\", b box, x xml)",
    )
    .await
    .csv("data.csv", "id,p,b,x\n1,5,\"(1,2),(3,4)\",<a/>\n2,-5,,<a/>\n3,5,nobox,\n4,5,,<b\n");
    for mode in MODES {
        let flags = ["load", "data.csv", "-t", "t", "--mode", mode, "--max-rejects", "3", "--truncate"];
        assert_eq!(workplace.run(&flags).status.code(), Some(3), "{mode}");
        let log = workplace.read("rejects.log.jsonl");
        let column_and_value = |line| {
            let reject: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} = {}", reject["column"], reject["value"])
        };
        let found: Vec<String> = log.lines().map(column_and_value).collect();
        assert_eq!(found, ["\"p\" = \"-5\"", "\"b\" = \"nobox\"", "null = null"], "{mode}");
        let error = workplace.fail(&[&flags[..6], &["--truncate"]].concat(), 1);
        assert!(error.contains("in column p\n  help: correct the row"), "{mode}: {error}");
    }
}

#[tokio::test]
async fn the_log_has_what_the_server_says_of_the_key() {
    let workplace =
        Workplace::with_sql("CREATE TABLE t (a int, b int, PRIMARY KEY (a, b)); INSERT INTO t VALUES (1, 1)")
            .await
            .csv("data.csv", "a,b\n1,1\n2,2\n");
    for mode in MODES {
        let flags = ["load", "data.csv", "-t", "t", "--mode", mode, "--max-rejects", "1", "--dry-run"];
        assert_eq!(workplace.run(&flags).status.code(), Some(3), "{mode}");
        let log = workplace.read("rejects.log.jsonl");
        let log: serde_json::Value = serde_json::from_str(&log).unwrap();
        assert_eq!(log["column"], "a, b", "{mode}");
        assert_eq!(log["detail"], "Key (a, b)=(1, 1) already exists.", "{mode}");
    }
    // For the only row of a chunk, too.
    workplace.write("data.csv", "a,b\n1,1\n");
    workplace.run(&["load", "data.csv", "-t", "t", "--max-rejects", "1"]);
    let log = workplace.read("rejects.log.jsonl");
    assert!(log.contains(r#""detail":"Key (a, b)=(1, 1) already exists.""#), "{log}");
}

/// A key that already exists is no reason to reject a row if the row is to be updated, if a trigger changes the key,
/// or if the key is in a child table.
#[tokio::test]
async fn no_row_is_rejected_for_an_existing_key_that_does_not_conflict() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE two (id int PRIMARY KEY, b text UNIQUE, v int);
         CREATE TABLE shifted (id int PRIMARY KEY);
         CREATE FUNCTION shift() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN NEW.id := NEW.id + 1000; RETURN NEW; END';
         CREATE TRIGGER shift BEFORE INSERT ON shifted FOR EACH ROW EXECUTE FUNCTION shift();
         CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent)",
    )
    .await
    .csv("two.csv", "id,b,v\n1,x,10\n2,y,20\n3,z,30\n9,x,90\n")
    .csv("ids.csv", (1..10).fold("id\n".to_owned(), |csv, id| csv + &format!("{id}\n")));
    for mode in MODES {
        let load = |flags: &[&str]| {
            let flags = [&["load", "--mode", mode, "--max-rejects", "9", "--json"], flags].concat();
            let report = workplace.run(&flags).json();
            counts(&report, ["rows_inserted", "rows_updated", "rows_skipped", "rows_rejected"])
        };
        let reset = "TRUNCATE two, shifted, parent, child;
                     INSERT INTO two VALUES (1, 'x', 0), (2, 'y', 0), (3, 'z', 0);
                     ALTER TABLE shifted DISABLE TRIGGER shift;
                     INSERT INTO shifted SELECT generate_series(1, 9); INSERT INTO shifted VALUES (1005);
                     ALTER TABLE shifted ENABLE TRIGGER shift;
                     INSERT INTO child SELECT generate_series(1, 5); INSERT INTO parent VALUES (9)";
        workplace.execute(reset).await;
        assert_eq!(load(&["two.csv", "-t", "two", "--on-conflict", "update"]), [0, 3, 0, 1], "{mode}");
        workplace.execute(reset).await;
        assert_eq!(load(&["two.csv", "-t", "two", "--on-conflict", "skip:id"]), [0, 0, 3, 1], "{mode}");
        assert_eq!(load(&["ids.csv", "-t", "shifted"]), [8, 0, 0, 1], "{mode}");
        assert_eq!(load(&["ids.csv", "-t", "parent"]), [8, 0, 0, 1], "{mode}");
        // --truncate spares the child tables.
        assert_eq!(load(&["ids.csv", "-t", "parent", "--truncate"]), [9, 0, 0, 0], "{mode}");
        assert_eq!(workplace.count("child").await, 5, "{mode}");
    }
}

/// A missing privilege fails the load instead of rejecting every row.
#[tokio::test]
async fn a_missing_privilege_is_not_blamed_on_the_rows() {
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY)").await.csv("data.csv", "id\n1\n2\n");
    let role: String = workplace.value("SELECT 'inserter_of_' || current_database()").await;
    workplace.execute(&format!("CREATE ROLE {role}; GRANT INSERT ON t TO {role}")).await;
    for mode in MODES {
        let mut command = workplace.command(&[
            "load",
            "data.csv",
            "-t",
            "t",
            "--mode",
            mode,
            "--on-conflict",
            "update",
            "--max-rejects",
            "9",
        ]);
        command.env("PGOPTIONS", format!("-c role={role}"));
        let ran = ProgramOutput::from_command(command);
        assert_eq!(ran.status.code(), Some(1), "{mode}: {ran:#?}");
        assert!(ran.stderr.contains("permission denied"), "{mode}: {ran:#?}");
        assert!(!ran.stderr.contains(", line "), "{mode}: {ran:#?}");
    }
    workplace.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

/// The rejects of a file without a final line ending can be loaded again.
#[tokio::test]
async fn rejects_have_the_line_endings_of_their_file() {
    let workplace = Workplace::with_sql("CREATE TABLE t (a int, b text)").await;
    for end in ["\n", "\r\n", "\r"] {
        workplace.write("data.csv", format!("a,b{end}1,x{end}bad,y"));
        assert_eq!(
            workplace.run(&["load", "data.csv", "-t", "t", "--max-rejects", "1"]).status.code(),
            Some(3)
        );
        let rejects = workplace.read("rejects.csv");
        assert_eq!(rejects, format!("a,b{end}bad,y{end}"));
        workplace.write("again.csv", rejects.replace("bad", "2"));
        workplace.succeed(&["load", "again.csv", "-t", "t"]);
    }
}

/// Files whose line endings differ are loaded together; their rejects have one line ending.
#[tokio::test]
async fn rejects_of_files_with_different_line_endings_load_again() {
    let workplace = Workplace::with_sql("CREATE TABLE t (a int, b text)")
        .await
        .csv("dos.csv", "a,b\r\n1,\"x\r\ny\"\r\nbad2,\"x\ny\"\r\n")
        .csv("unix.csv", "a,b\nbad3,z\n4,w\nbad5,v");
    for files in [["dos.csv", "unix.csv"], ["unix.csv", "dos.csv"]] {
        let load = [&["load"], &files[..], &["-t", "t", "--truncate", "--max-rejects", "3"]].concat();
        assert_eq!(workplace.run(&load).status.code(), Some(3));
        workplace.write("again.csv", workplace.read("rejects.csv").replace("bad", ""));
        workplace.succeed(&["load", "again.csv", "-t", "t", "--append"]);
        let rows = "SELECT a, replace(replace(b, E'\\r', 'R'), E'\\n', 'N') FROM t ORDER BY a";
        assert_eq!(workplace.csv_of(rows).await, "1,xRNy\n2,xNy\n3,z\n4,w\n5,v\n");
    }
}

/// In a table that references itself, only rows without a parent and their descendants are bad, in every mode.
#[tokio::test]
async fn rows_without_a_parent_are_rejected_and_those_before_their_parent_are_not() {
    // Each row refers to the next one, in chains of ten.
    let next = |id: u32| if id.is_multiple_of(10) { String::new() } else { (id + 1).to_string() };
    let good: Vec<String> = (1..=3000).map(|id| format!("{id},{}", next(id))).collect();
    let mut bad = good.clone();
    // The parents of rows 100 and 2,000 are missing, so those that lead to them are bad as well.
    bad[99] = "100,9999".to_owned();
    bad[1999] = "2000,9998".to_owned();
    let file = |rows: &[String]| format!("id,parent\n{}\n", rows.join("\n"));
    let workplace = Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES t)")
        .await
        .csv("good.csv", file(&good))
        .csv("bad.csv", file(&bad));
    for mode in MODES {
        let load = |file, flags: &[&str]| {
            workplace.run(&[&["load", file, "-t", "t", "--truncate", "--mode", mode], flags].concat())
        };
        let ran = load("good.csv", &[]);
        assert!(ran.status.success(), "{mode}: {ran:#?}");
        assert_eq!(workplace.count("t").await, 3000, "{mode}");
        let ran = load("bad.csv", &[]);
        assert_eq!(ran.status.code(), Some(1), "{mode}: {ran:#?}");
        assert!(ran.stderr.contains("Key (parent)=(9999) is not present"), "{mode}: {ran:#?}");
        let ran = load("bad.csv", &["--max-rejects", "100%"]);
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        assert_eq!(workplace.count("t").await, 2980, "{mode}: {ran:#?}");
        let rejects = workplace.read("rejects.csv");
        let rejected: Vec<&str> = rejects.lines().skip(1).map(|row| row.split_once(',').unwrap().0).collect();
        let expected: Vec<String> = (91..=100).chain(1991..=2000).map(|id| id.to_string()).collect();
        assert_eq!(rejected, expected, "{mode}");
        let log = workplace.read("rejects.log.jsonl");
        assert!(
            log.contains("references a row that is missing or rejected (foreign key t_parent_fkey)"),
            "{log}"
        );
        let is_as_before = "SELECT NOT condeferrable FROM pg_constraint WHERE conname = 't_parent_fkey'";
        assert!(workplace.value::<bool>(is_as_before).await, "{mode}");
    }
}

/// What versions read differently is left to the server, in every mode.
#[tokio::test]
async fn arrays_with_misplaced_braces_are_read_as_the_server_reads_them() {
    let literals = ["{{{2}},{3},{{NULL}}}", "{{1,2},{3}}", "{{1},2}", "{{1,2},{3,4}}", "{{1},{2}", "{{x}}"];
    let workplace = Workplace::with_sql("CREATE TABLE t (a int[])").await;
    for literal in literals {
        let cast = workplace.client().query_one(&format!("SELECT '{literal}'::int[]::text"), &[]).await;
        workplace.write("data.csv", format!("a\n\"{literal}\"\n"));
        for mode in MODES {
            let ran = workplace.run(&["load", "data.csv", "-t", "t", "--truncate", "--mode", mode]);
            assert_eq!(ran.status.success(), cast.is_ok(), "{mode} {literal}: {ran:#?}");
            if let Ok(row) = &cast {
                let read: Option<String> = workplace.value("SELECT a::text FROM t").await;
                assert_eq!(read, row.get::<_, Option<String>>(0), "{mode} {literal}");
            }
        }
    }
}

/// A file without bad rows loads though its rows refer to later ones.
#[tokio::test]
async fn rows_may_refer_to_later_rows() {
    let csv = (1..20_000).fold("id,next\n".to_owned(), |csv, id| csv + &format!("{id},{}\n", id + 1));
    let workplace = Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY, next int REFERENCES t)")
        .await
        .csv("data.csv", csv + "20000,\n");
    let report = workplace.succeed(&["load", "data.csv", "-t", "t", "--max-rejects", "1", "--json"]).json();
    assert_eq!((&report["rows_loaded"], &report["rows_rejected"]), (&20_000.into(), &0.into()));
    workplace.write("data.csv", "id,next\n1,\nx,\n2,1\n");
    let flags = ["load", "data.csv", "-t", "t", "--truncate", "--max-rejects", "1"];
    assert_eq!(workplace.run(&flags).status.code(), Some(3));
    assert_eq!(workplace.count("t").await, 2);
}

/// Whatever SQLSTATE the server refuses a value with, the row is rejected once others pass, and the error names its
/// line where no row may be rejected.
#[tokio::test]
async fn a_value_is_rejected_whatever_the_code_of_its_refusal() {
    for (sql_type, bad, good, sqlstate) in [
        ("regproc", "abs", "version", "42725"),
        ("regclass", "a.b.c", "pg_class", "0A000"),
        ("jsonpath", r#"$ ? (@ like_regex \"a\" flag \"x\")"#, "$.a", "0A000"),
        ("aclitem", "nobody_at_all=r/nobody_at_all", "", "42704"),
    ] {
        let bad = bad.replace('\\', "").replace('"', "\"\"");
        let workplace = Workplace::with_sql(&format!("CREATE TABLE t (id int, v {sql_type})"))
            .await
            .csv("data.csv", format!("id,v\n1,\"{bad}\"\n2,{good}\n3,{good}\n"));
        for mode in MODES {
            let load = ["load", "data.csv", "-t", "t", "--truncate", "--mode", mode];
            let error = workplace.fail(&load, 1);
            assert!(error.contains("data.csv, line 2"), "{mode}, {sql_type}: {error}");
            let ran = workplace.run(&[&load[..], &["--max-rejects", "1", "--rejects", "bad.csv"]].concat());
            assert_eq!(ran.status.code(), Some(3), "{mode}, {sql_type}: {ran:#?}");
            assert_eq!(workplace.count("t").await, 2, "{mode}, {sql_type}");
            let log = workplace.read_json("bad.log.jsonl");
            assert_eq!(log["first_line"], 2, "{mode}, {sql_type}");
            assert_eq!(log["sqlstate"], sqlstate, "{mode}, {sql_type}");
        }
        // Not a single row is accepted.
        workplace.write("data.csv", format!("id,v\n1,\"{bad}\"\n2,\"{bad}\"\n"));
        for mode in MODES {
            let load = ["load", "data.csv", "-t", "t", "--truncate", "--mode", mode];
            let ran = workplace.run(&[&load[..], &["--max-rejects", "2", "--rejects", "bad.csv"]].concat());
            assert_eq!(ran.status.code(), Some(3), "{mode}, {sql_type}: {ran:#?}");
            assert!(ran.stdout.contains("2 rejected"), "{mode}, {sql_type}: {ran:#?}");
        }
    }
}

/// Where no row is accepted, an error that may be about the table is not taken for one about the rows.
#[tokio::test]
async fn a_broken_trigger_ends_the_load_instead_of_rejecting_every_row() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int);
         CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM 1 FROM does_not_exist; RETURN NEW; END $$;
         CREATE TRIGGER broken BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION broken()",
    )
    .await
    .csv("data.csv", "id\n1\n2\n3\n");
    for mode in MODES {
        let load = ["load", "data.csv", "-t", "t", "--mode", mode, "--max-rejects", "100%"];
        let error = workplace.fail(&load, 1);
        assert!(error.contains("data.csv, line 2"), "{mode}: {error}");
        assert!(error.contains("does_not_exist"), "{mode}: {error}");
    }
}

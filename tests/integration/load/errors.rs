//! `load`: bad input and refused rows are named with their lines, and leave the table as it was.

use std::fmt::Write as _;

use crate::support::load::{HEADER, MODES, PERSONS};
use crate::support::workplace::{ProgramOutput, Workplace};

/// Each of these inputs fails with exit code 1 and the message in its snapshot, and leaves the table as it was.
#[tokio::test]
async fn bad_input_is_named_and_nothing_is_loaded() {
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
    let workplace =
        Workplace::with_sql(&format!("{PERSONS}; INSERT INTO persons VALUES (1000, 'before')")).await;
    let before = workplace.content("persons").await;
    for (name, csv) in cases {
        workplace.write("people.csv", csv);
        let messages =
            MODES.map(|mode| workplace.fail(&["load", "people.csv", "--mode", mode, "--truncate"], 1));
        assert!(messages.iter().all(|message| *message == messages[0]), "{messages:#?}");
        insta::assert_snapshot!(format!("wrong_input_{name}"), messages[0]);
        assert!(workplace.content("persons").await == before, "{name} changed the table");
    }
}

#[tokio::test]
async fn a_missing_file_and_a_directory_are_named() {
    let workplace = Workplace::new().await;
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
    let workplace = Workplace::new().await.csv("people.csv", csv);
    workplace.execute(&format!("{PERSONS}; INSERT INTO persons VALUES (5000, 'before')")).await;
    let before = workplace.content("persons").await;
    for mode in MODES {
        let message = workplace.fail(&["load", "people.csv", "--mode", mode, "--truncate"], 1);
        insta::assert_snapshot!(format!("duplicate_key_{mode}"), message);
        assert!(workplace.content("persons").await == before, "{mode} changed the table");
    }
    workplace.write("people.csv", format!("{HEADER}4999,a,22,true,b,c,d\n5000,again,22,true,b,c,d\n"));
    for mode in MODES {
        let message = workplace.fail(&["load", "people.csv", "--mode", mode], 1);
        assert!(
            message.contains("people.csv, line 3") && message.contains("(5000) already exists"),
            "{message}"
        );
        assert!(workplace.content("persons").await == before, "{mode} changed the table");
    }
}

#[tokio::test]
async fn autocommit_reports_what_was_committed_before_an_error() {
    let workplace = Workplace::new()
        .await
        .csv("people.csv", format!("{HEADER}1,a,22,t,b,c,d\n2,a,22,t,b,c,d\n1,a,22,t,b,c,d\n"));
    let message =
        workplace.fail(&["load", "people.csv", "--mode", "rows", "--autocommit", "--pipeline-depth", "1"], 1);
    let (error, help) = message.split_once("\n  help: ").unwrap();
    assert!(error.contains("people.csv, line 4"), "{message}");
    assert!(error.ends_with("Key (id)=(1) already exists; 2 rows were committed, and stay"), "{message}");
    assert!(help.ends_with("load again with --on-conflict skip (the table needs a key)\n"), "{message}");
    assert_eq!(workplace.count("persons").await, 2);
    workplace.write("people.csv", format!("{HEADER}5,a,22,t,b,c,d\n6,a,x,t,b,c,d\n"));
    let flags = ["load", "people.csv", "--mode", "rows", "--autocommit", "--truncate", "--connections", "2"];
    let message = workplace.fail(&flags, 1);
    assert!(message.contains("people.csv, line 3, column 3 (age)"), "{message}");
    assert!(message.contains("; the table was emptied first, and no row was committed\n"), "{message}");
    assert_eq!(workplace.count("persons").await, 0);
}

/// A trigger that returns NULL drops a row without an error; the server's row count gives it away.
#[tokio::test]
async fn rows_dropped_by_a_trigger_are_noticed() {
    let workplace =
        Workplace::new().await.csv("people.csv", format!("{HEADER}1,a,22,t,b,c,d\n2,a,22,t,b,c,d\n"));
    workplace
        .execute(&format!(
            "{PERSONS};
             CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END $$;
             CREATE TRIGGER swallow BEFORE INSERT ON persons FOR EACH ROW EXECUTE FUNCTION swallow()"
        ))
        .await;
    for mode in MODES {
        let message = workplace.fail(&["load", "people.csv", "--mode", mode], 1);
        assert!(message.contains("the server inserted 1 of 2 rows into persons"), "{message}");
        assert_eq!(workplace.count("persons").await, 0, "{mode}");
    }
}

#[tokio::test]
async fn views_and_missing_privileges_are_refused_before_anything_is_sent() {
    let workplace = Workplace::new().await.csv("people.csv", format!("{HEADER}1,a,22,t,b,c,d\n"));
    workplace.execute("CREATE VIEW persons AS SELECT 1 AS id").await;
    let message = workplace.fail(&["load", "people.csv"], 1);
    assert!(message.starts_with("error: persons is a view"), "{message}");
    let role: String = workplace.value("SELECT 'reader_of_' || current_database()").await;
    workplace
        .execute(&format!(
            "DROP VIEW persons; {PERSONS}; CREATE ROLE {role}; GRANT SELECT ON persons TO {role}"
        ))
        .await;
    let mut command = workplace.command(&["load", "people.csv"]);
    command.env("PGOPTIONS", format!("-c role={role}"));
    let ran = ProgramOutput::from_command(command);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("the session's role may not insert into column id of persons"), "{ran:#?}");
    workplace.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

/// The message names the line of any refused row, even where a COPY or a batch does not tell it.
#[tokio::test]
async fn every_refused_row_is_named_by_its_line() {
    let mut csv = "id,parent\n".to_owned();
    for id in 0..3000 {
        csv += &format!("{id},{}\n", if id == 2000 { 99 } else { 1 });
    }
    let workplace = Workplace::with_sql(
        "CREATE TABLE parents (id int PRIMARY KEY); INSERT INTO parents VALUES (1);
         CREATE TABLE now (id int, parent int REFERENCES parents);
         CREATE TABLE late (id int, parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
    )
    .await
    .csv("data.csv", csv);
    for mode in MODES {
        for table in ["now", "late"] {
            let error = workplace.fail(&["load", "data.csv", "-t", table, "--mode", mode], 1);
            assert!(error.contains("data.csv, line 2002 into"), "{mode}, {table}: {error}");
            assert!(error.contains("Key (parent)=(99) is not present"), "{mode}, {table}: {error}");
            assert_eq!(workplace.csv_of(&format!("SELECT count(*) FROM {table}")).await, "0\n");
        }
    }
}

/// A row refused from a pipe is named by its line, though the pipe cannot be read twice.
#[tokio::test]
async fn standard_input_keeps_its_line_numbers() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int CHECK (id <> 7))").await;
    for mode in ["rows", "copy"] {
        let ran =
            workplace.run_with_input(&["load", "-", "-t", "t", "--mode", mode], "id\n1\n\"2\n\"\n7\n8\n");
        assert!(ran.stderr.contains("standard input, line 5 into t"), "{mode}: {ran:#?}");
    }
}

/// A rule would change what an INSERT does, so the modes that INSERT refuse the table.
#[tokio::test]
async fn a_table_with_a_rule_is_refused_by_the_modes_that_insert() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int); CREATE TABLE elsewhere (id int);
         CREATE RULE away AS ON INSERT TO t DO INSTEAD INSERT INTO elsewhere VALUES (NEW.id)",
    )
    .await
    .csv("data.csv", "id\n1\n");
    for mode in ["rows", "batch"] {
        let message = workplace.fail(&["load", "data.csv", "-t", "t", "--mode", mode], 1);
        assert!(message.contains("t has a rule for INSERT"), "{message}");
    }
    workplace.succeed(&["load", "data.csv", "-t", "t"]);
    assert_eq!(workplace.count("t").await, 1);
}

#[tokio::test]
async fn contradictory_flags_are_refused() {
    let workplace = Workplace::new().await.csv("people.csv", HEADER);
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

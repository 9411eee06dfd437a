//! `load --create`: a table made to fit the file.

use crate::support::workplace::{ProgramOutput, Workplace};

/// The beginning of a pipe is buffered until the table has been created.
#[tokio::test]
async fn a_table_is_created_for_standard_input() {
    let workplace = Workplace::new().await.csv("data.csv", "id,day\n1,2021-02-03\n2,\n");
    let file = std::fs::File::open(workplace.path("data.csv")).unwrap();
    let mut command = workplace.command(&["load", "-", "-t", "t", "--create", "--json"]);
    command.stdin(file);
    let ran = ProgramOutput::from_command(command);
    assert!(ran.status.success(), "{ran:#?}");
    assert_eq!(ran.json()["path"], "standard input");
    assert_eq!(workplace.csv_of("SELECT day + 1, id FROM t").await, "2021-02-04,1\n,2\n");
}

#[tokio::test]
async fn a_table_is_created_for_a_file() {
    let workplace = Workplace::new()
        .await
        .csv(
            "data.csv",
            "Id,zip,amount,day,at,ok,\"Full name\"\n1,01234,1.50,2021-01-02,2021-01-02 03:04:05,true,x\n2,98765,-2.25,2021-01-03,,f,\n",
        );
    let ddl = workplace.succeed(&["load", "data.csv", "-t", "made", "--ddl-only"]).stdout;
    insta::assert_snapshot!(ddl, @r#"
    CREATE TABLE "made" (
        "id" integer,
        "zip" text,
        "amount" numeric,
        "day" date,
        "at" timestamp,
        "ok" boolean,
        "Full name" text
    );
    "#);
    assert!(workplace.fail(&["load", "data.csv", "-t", "made"], 1).contains("there is no table made"));
    let ran = workplace.succeed(&["load", "data.csv", "-t", "made", "--create"]);
    assert!(ran.stderr.contains("\"zip\" text"), "{ran:#?}");
    assert_eq!(workplace.csv_of("SELECT id, zip, amount FROM made").await, "1,01234,1.50\n2,98765,-2.25\n");
    // The table exists now, so the rows are appended.
    workplace.succeed(&["load", "data.csv", "-t", "made", "--create"]);
    assert_eq!(workplace.count("made").await, 4);
    workplace.write("data.csv", "only\nx\n");
    workplace.succeed(&["load", "data.csv", "-t", "made", "--create", "--replace"]);
    assert_eq!(workplace.csv_of("SELECT * FROM made").await, "x\n");
    // A load that fails leaves no table behind.
    workplace.write("bad.csv", "a,b\n1,2\n3\n");
    workplace.fail(&["load", "bad.csv", "-t", "gone", "--create"], 1);
    assert_eq!(workplace.csv_of("SELECT to_regclass('gone') IS NULL").await, "t\n");
}

#[tokio::test]
async fn a_header_of_one_name_suggests_another_delimiter() {
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int, n int)").await.csv("data.csv", "id;n\n1;2\n");
    for flags in [&["-t", "t"][..], &["-t", "new", "--create"]] {
        let error = workplace.fail(&[&["load", "data.csv"], flags].concat(), 1);
        assert!(error.contains("--delimiter ';', or --sniff"), "{error}");
    }
    workplace.succeed(&["load", "data.csv", "-t", "new", "--create", "--sniff"]);
    let ran = workplace.succeed(&["load", "data.csv", "-t", "new", "--create", "--sniff"]);
    assert!(ran.stderr.contains("new already exists; appending (--create ignored)"), "{ran:#?}");
}

/// A single value turns a column into text, so that nothing is lost; it is named for users who would rather reject
/// its row.
#[tokio::test]
async fn the_value_that_turns_a_column_into_text_is_named() {
    let workplace = Workplace::new().await.csv("data.csv", "id,name\n1,Ann\n2,7\nn/a,Bo\n?,Cy\n");
    let flags = ["load", "data.csv", "-t", "t", "--create", "--replace"];
    let says = "id is text because of \"n/a\" in data.csv, line 4; until then integer\n";
    let ran = workplace.succeed(&[&flags[..], &["--max-rejects", "2"]].concat());
    assert!(ran.stderr.ends_with(&format!(");\n{says}")), "{ran:#?}");
    assert_eq!(workplace.count("t").await, 4);
    assert!(workplace.succeed(&flags).stderr.ends_with(");\n"));
}

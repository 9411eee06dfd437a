//! `load --create`: tables made for a file.

use crate::support::cli::Ran;
use crate::support::load::{csv_of, workplace};

/// What comes by a pipe is kept until the table for it is there.
#[tokio::test]
async fn a_table_is_made_for_standard_input() {
    let (workplace, client) = workplace("", "id,day\n1,2021-02-03\n2,\n").await;
    let file = std::fs::File::open(workplace.path("data.csv")).unwrap();
    let mut command = workplace.command(&["load", "-", "-t", "t", "--create", "--json"]);
    command.stdin(file);
    let ran = Ran::of(command);
    assert!(ran.status.success(), "{ran:#?}");
    assert_eq!(ran.json()["path"], "standard input");
    assert_eq!(csv_of(&client, "SELECT day + 1, id FROM t").await, "2021-02-04,1\n,2\n");
}

#[tokio::test]
async fn a_table_is_made_for_the_file() {
    let (workplace, client) = workplace(
        "",
        "Id,zip,amount,day,at,ok,\"Full name\"\n1,01234,1.50,2021-01-02,2021-01-02 03:04:05,true,x\n2,98765,-2.25,2021-01-03,,f,\n",
    )
    .await;
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
    assert_eq!(csv_of(&client, "SELECT id, zip, amount FROM made").await, "1,01234,1.50\n2,98765,-2.25\n");
    // It is there now, so it is added to.
    workplace.succeed(&["load", "data.csv", "-t", "made", "--create"]);
    assert_eq!(csv_of(&client, "SELECT count(*) FROM made").await, "4\n");
    workplace.write("data.csv", "only\nx\n");
    workplace.succeed(&["load", "data.csv", "-t", "made", "--create", "--replace"]);
    assert_eq!(csv_of(&client, "SELECT * FROM made").await, "x\n");
    // A load that fails leaves no table behind.
    workplace.write("bad.csv", "a,b\n1,2\n3\n");
    workplace.fail(&["load", "bad.csv", "-t", "gone", "--create"], 1);
    assert_eq!(csv_of(&client, "SELECT to_regclass('gone') IS NULL").await, "t\n");
}

#[tokio::test]
async fn a_header_of_one_name_suggests_another_delimiter() {
    let (workplace, _) = workplace("CREATE TABLE t (id int, n int)", "id;n\n1;2\n").await;
    for flags in [&["-t", "t"][..], &["-t", "new", "--create"]] {
        let error = workplace.fail(&[&["load", "data.csv"], flags].concat(), 1);
        assert!(error.contains("--delimiter ';', or --sniff"), "{error}");
    }
    workplace.succeed(&["load", "data.csv", "-t", "new", "--create", "--sniff"]);
    let ran = workplace.succeed(&["load", "data.csv", "-t", "new", "--create", "--sniff"]);
    assert!(ran.stderr.contains("new already exists; appending (--create ignored)"), "{ran:#?}");
}

/// One value makes a column text, so that nothing is lost; who would rather set its row aside is told which.
#[tokio::test]
async fn the_value_that_makes_a_column_text_is_named() {
    let (workplace, client) = workplace("", "id,name\n1,Ann\n2,7\nn/a,Bo\n?,Cy\n").await;
    let flags = ["load", "data.csv", "-t", "t", "--create", "--replace"];
    let says = "id is text because of \"n/a\" in data.csv, line 4; until then integer\n";
    let ran = workplace.succeed(&[&flags[..], &["--max-rejects", "2"]].concat());
    assert!(ran.stderr.ends_with(&format!(");\n{says}")), "{ran:#?}");
    assert_eq!(csv_of(&client, "SELECT count(*) FROM t").await, "4\n");
    assert!(workplace.succeed(&flags).stderr.ends_with(");\n"));
}

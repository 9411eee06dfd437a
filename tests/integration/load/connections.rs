//! `load --connections`: one file through several connections.

use crate::support::workplace::Workplace;

/// Each connection has its own transaction, and none commits before all of them have sent their rows.
#[tokio::test]
async fn several_connections_copy_as_one() {
    let mut csv = "id,day\n".to_owned();
    for id in 0..60_000 {
        // From here on, the server parses the days of the connections that take the remaining chunks.
        let day = if id == 30_000 { "12/31/2021" } else { "2021-01-02" };
        csv += &format!("{id},{day}\n");
    }
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY, day date)").await.csv("data.csv", &csv);
    let load = |flags: &[&str]| {
        workplace.run(&[&["load", "data.csv", "-t", "t", "--connections", "3"], flags].concat())
    };
    let count = "SELECT count(*), count(DISTINCT id), min(day), max(day) FROM t";
    let ran = load(&["--dry-run"]);
    assert!(ran.status.success(), "{ran:#?}");
    assert_eq!(workplace.csv_of(count).await, "0,0,,\n");
    let ran = load(&[]);
    assert!(ran.stdout.contains("copy, one transaction each, committed together, 3 connections"), "{ran:#?}");
    assert_eq!(workplace.csv_of(count).await, "60000,60000,2021-01-02,2021-12-31\n");
    // A key that already exists.
    assert!(load(&[]).stderr.contains("already exists"));
    assert_eq!(workplace.csv_of(count).await, "60000,60000,2021-01-02,2021-12-31\n");
    // A key that occurs twice in the file, so far apart that two transactions insert it: one waits for the other.
    workplace.execute("TRUNCATE t").await;
    csv += "5,2021-01-02\n";
    workplace.write("data.csv", &csv);
    let ran = load(&[]);
    assert!(ran.stderr.contains("Key (id)=(5) already exists"), "{ran:#?}");
    assert!(ran.stderr.contains("data.csv, line 60002"), "{ran:#?}");
    assert_eq!(workplace.csv_of(count).await, "0,0,,\n");
    for (flags, why) in [
        (&["--truncate"][..], "needs --append"),
        (&["--mode", "batch"], "needs --mode copy, or --mode rows --autocommit"),
        (&["--max-rejects", "1"], "cannot be combined with --max-rejects"),
        (&["--on-conflict", "skip"], "cannot be combined with --on-conflict"),
    ] {
        let ran = load(flags);
        assert_eq!(ran.status.code(), Some(2), "{ran:#?}");
        assert!(ran.stderr.contains(why), "{ran:#?}");
    }
    workplace.write("people.csv", "id\n1\n");
    let absent = workplace.fail(&["load", "people.csv", "--append", "--connections", "3"], 2);
    assert!(absent.contains("--connections 3 needs an existing table"), "{absent}");
}

/// `--connections auto` takes two connections for many rows appended to others, and one where that is faster or the
/// only possibility.
#[tokio::test]
async fn auto_takes_two_connections_where_that_is_faster() {
    let long = "x".repeat(9_000);
    let file = |first: u32| {
        let rows = (first..first + 1_000).map(|id| format!("{id},{long}"));
        std::iter::once("id,name".to_owned()).chain(rows).collect::<Vec<_>>().join("\n")
    };
    let workplace = Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
        .await
        .csv("data.csv", file(1))
        .csv("small.csv", "id,name\n0,x\n")
        .csv("more.csv", file(2_001));
    let connections = |file: &str, flags: &[&str]| {
        let load = ["load", file, "-t", "t", "--connections", "auto", "--json"];
        workplace.succeed(&[&load, flags].concat()).json()["connections"].as_u64().unwrap()
    };
    assert_eq!(connections("data.csv", &["--dry-run"]), 1, "the table is empty, and its key deferred");
    assert_eq!(connections("data.csv", &["--dry-run", "--defer-indexes", "never"]), 2);
    assert_eq!(connections("data.csv", &[]), 1);
    assert_eq!(connections("small.csv", &[]), 1, "it is small");
    assert_eq!(connections("more.csv", &["--dry-run", "--max-rejects", "1"]), 1, "it needs one transaction");
    assert_eq!(connections("more.csv", &["--dry-run", "--mode", "batch"]), 1);
    assert_eq!(connections("more.csv", &[]), 2);
    assert_eq!(workplace.csv_of("SELECT count(*), max(id) FROM t").await, "2001,3000\n");
    let wrong = workplace.fail(&["load", "more.csv", "-t", "t", "--connections", "many"], 2);
    assert!(wrong.contains("expected a number, or auto"), "{wrong}");
}

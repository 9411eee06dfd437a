//! Command lines that are wrong in the ways in which new users are: each says what is wrong, and what to do.

use std::io::Write as _;

use crate::support::workplace::Workplace;

/// A command line, its exit code, and what its message contains: the error, and the remedy.
type Case<'a> = (&'a [&'a str], i32, &'a str, &'a str);

#[track_caller]
fn check(workplace: &Workplace, cases: &[Case<'_>]) {
    for (args, exit_code, error, remedy) in cases {
        let message = workplace.fail(args, *exit_code);
        assert!(message.starts_with("error: "), "{args:?}: {message}");
        assert!(message.contains(error) && message.contains(remedy), "{args:?}: {message}");
    }
}

/// Bytes of a gzip file.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Habits from pgbench and psql, and flags in the wrong place.
#[test]
fn flags_of_other_programs_are_answered_with_ours() {
    let workplace = Workplace::without_database().csv("orders.csv", "id\n1\n");
    let unknown = "unexpected argument '";
    check(
        &workplace,
        &[
            (&["query", "-b", "tpcb-like"], 2, unknown, "tip: name the workload without a flag: tpcb, "),
            (&["query", "-S"], 2, unknown, "tip: name the workload without a flag: select-only"),
            (&["query", "-N", "-c", "4"], 2, unknown, "tip: name the workload without a flag: tpcb-simple"),
            (&["query", "-i", "-s", "10"], 2, unknown, "tip: --init tpcb creates the tables of pgbench"),
            (&["query", "tpcb", "-s", "10"], 2, unknown, "tip: --scale N, with --init tpcb"),
            (&["query", "-t", "100", "tpcb"], 2, unknown, "tip: -n N is the number of transactions"),
            (&["query", "-c10", "-j2", "tpcb"], 2, unknown, "tip: it uses every core; leave it out"),
            (&["query", "-P", "5"], 2, unknown, "tip: it shows its progress anyway; leave it out"),
            (&["query", "-r"], 2, unknown, "tip: the latencies of a transaction's statements are reported"),
            (&["query", "-D", "a=1"], 2, unknown, "tip: --arg gives a value"),
            (&["query", "--time", "10"], 2, unknown, "tip: -T TIME, or --duration TIME"),
            (&["query", "--client=10"], 2, unknown, "tip: -c N, or --connections N"),
            (&["query", "--jobs", "2"], 2, unknown, "tip: it uses every core; leave it out"),
            (&["query", "-d", "shop"], 2, "'shop' for '--pipeline-depth <N>'", "the database with --dbname"),
            (&["query", "-dshop"], 2, "'shop' for '--pipeline-depth <N>'", "the database with --dbname"),
            (
                &["query", "-n", "-T", "5"],
                2,
                "a value is required for '--queries <N>'",
                "pgbench's -n is not needed",
            ),
            (&["load", "-f", "orders.csv"], 2, unknown, "tip: name the files without a flag"),
            (&["check", "-w", "orders.csv"], 2, unknown, "tip: it never asks for a password; leave it out"),
            (&["--create"], 2, unknown, "tip: the command comes first: postgres-etl load --create"),
            (&["orders.csv"], 2, "unrecognized subcommand", "postgres-etl load orders.csv --table TABLE"),
            (&["generate", "ärger"], 2, "unexpected argument 'ärger'", "Usage: postgres-etl generate"),
            (&["generate", ""], 2, "unexpected argument ''", "Usage: postgres-etl generate"),
            (&["generate", "-n", "-5"], 2, unknown, "tip: numbers are not negative"),
            (&["load", "--sep", ";"], 2, unknown, "tip: --delimiter CHARACTER"),
            (&["check", "--separator", ";"], 2, unknown, "tip: --delimiter CHARACTER"),
            (&["load", "--header", "true"], 2, "invalid value 'true'", "tip: --header yes"),
            (&["load", "--date-style", "us"], 2, "invalid value 'us'", "iso, dmy, mdy, ymd"),
            (&["completions"], 2, "<SHELL>", "tip: name a shell: bash, elvish, fish"),
            (
                &["query", "--sweep", "connections=1,2", "by-id"],
                2,
                "not `by-id`",
                "the names of workloads come before --sweep",
            ),
            (
                &["load", "orders.csv", "-t", "t", "--type", "id=int"],
                2,
                "--type is for a table that is created",
                "help: add --create",
            ),
            (
                &["load", "orders.csv", "-t", "t", "--infer", "exact"],
                2,
                "--infer is for a table that is created",
                "help: add --create",
            ),
            (&["query", "--duration", "10x"], 2, "expected a time", "write 500ms, 30s or 5m"),
            (
                &["query", "SELECT 1"],
                2,
                "there is no workload `SELECT 1`",
                "help: if it is a statement: --sql \"SELECT 1\"",
            ),
            (&["query", "shop"], 2, "there is no workload `shop`", "--dbname names a database"),
            (
                &["query", "-f", "none.sql"],
                1,
                "failed to read the statement none.sql",
                "help: check the path of --file",
            ),
        ],
    );
    // A number is one, also where the flag has another meaning elsewhere.
    let message = workplace.fail(&["query", "-d", "1.5"], 2);
    assert!(message.contains("expected a whole number") && !message.contains("tip:"), "{message}");
}

/// Files that are not what they seem, and tables that are not named.
#[tokio::test]
async fn wrong_files_and_tables_are_named() {
    let zip = |name: &str| [&b"PK\x03\x04"[..], &[0; 26], name.as_bytes()].concat();
    let tar = [&b"orders.csv"[..], &[0; 247], b"ustar\x0000", &[0; 249]].concat();
    let workplace = Workplace::with_sql("CREATE TABLE t (id int, name text)")
        .await
        .csv("orders.csv", "id,amount\n1,2\n")
        .csv("2026 orders.csv", "id\n1\n")
        .csv("orders.zip", zip("orders.csv"))
        .csv("orders.xlsx", zip("[Content_Types].xml"))
        .csv("orders.tar", &tar)
        .csv("orders.tgz", gzip(&tar))
        .csv("orders.7z", b"7z\xbc\xaf\x27\x1c\0\x04")
        .csv("pretty.json", "{\"id\": 1,\n \"name\": \"x\"}\n")
        .csv("number.toml", "[load]\nbatch_size = \"many\"\n");
    check(
        &workplace,
        &[
            (
                &["load", "orders.csv", "-t", "shop.orders", "--create", "-q"],
                1,
                "create table shop.orders",
                "CREATE SCHEMA \"shop\"",
            ),
            (
                &["load", "orders.zip", "-t", "t"],
                1,
                "orders.zip is a ZIP archive, not CSV",
                "unzip -p ARCHIVE",
            ),
            (
                &["load", "orders.xlsx", "-t", "t"],
                1,
                "is a workbook or another Office document",
                "save the sheet as CSV",
            ),
            (
                &["load", "orders.tar", "-t", "t"],
                1,
                "orders.tar is a tar archive, not CSV",
                "tar -xOf ARCHIVE FILE",
            ),
            (
                &["load", "orders.tgz", "-t", "t"],
                1,
                "is a tar archive, gzip-compressed, not CSV",
                "tar -xOf ARCHIVE FILE",
            ),
            (
                &["load", "orders.7z", "-t", "t"],
                1,
                "orders.7z is a 7z archive, not CSV",
                "help: unpack it first",
            ),
            (
                &["load", "pretty.json", "-t", "t"],
                1,
                "pretty.json, line 1: not JSON",
                "one JSON object on each, as jq -c",
            ),
            (
                &["load", "orders.csv", "--create"],
                2,
                "--create needs the name of the table",
                "help: add --table orders, or",
            ),
            (
                &["load", "2026 orders.csv", "--ddl-only"],
                2,
                "--ddl-only needs the name of the table",
                "help: add --table NAME, or",
            ),
            (
                &["load", "-t", "t"],
                2,
                "no file is named for table t",
                "help: postgres-etl load FILE --table t; - is",
            ),
            (
                &["load", "orders.csv"],
                1,
                "\"amount\", which persons does not have",
                "if the file is not for persons, name its table with --table",
            ),
            (
                &["load", "orders.csv", "-t", "t", "--config", "number.toml"],
                2,
                "number.toml, line 2: invalid type: string \"many\", expected a whole number",
                "",
            ),
        ],
    );
    let exists: bool = workplace.value("SELECT to_regclass('persons') IS NOT NULL").await;
    assert!(!exists && !workplace.path("data/persons.csv").exists(), "nothing was created");
}

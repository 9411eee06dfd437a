//! `report`, `load --html` and `query --html`: which pages are written, and what becomes of a failure.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::workplace::Workplace;

/// A comparison, written by hand.
pub(super) const BENCH: &str = include_str!("bench.json");

#[tokio::test]
async fn every_kind_of_report_becomes_a_page() {
    let workplace =
        Workplace::with_sql("CREATE TABLE \"<b>t\" (id int PRIMARY KEY)").await.csv("d.csv", "id\n1\n2\n");
    let load =
        ["load", "d.csv", "-t", "\"<b>t\"", "--append", "--receipt", "receipt.json", "--html", "load.html"];
    workplace.succeed(&load);
    let page = workplace.read("load.html");
    assert!(
        page.contains("Where the time went") && page.contains("&lt;b&gt;t") && !page.contains("<b>"),
        "{page}"
    );
    // A page is made to be shown, unlike a receipt.
    let mode = fs::metadata(workplace.path("load.html")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & 0o400, 0o400);
    assert_ne!(mode, 0o600);

    let query = ["query", "--sql", "SELECT 1", "-n", "20000", "-c", "2"];
    workplace.succeed(&[&query[..], &["--save", "saved.json", "--html", "query.html"]].concat());
    // Only the response times of the saved run reach so far.
    assert!(workplace.read("query.html").contains(">p99.9</text>"));
    workplace.succeed(&[&query[..], &["--baseline", "saved.json", "--html", "against.html"]].concat());
    assert!(workplace.read("against.html").contains("Against saved.json"));
    let sweep = ["query", "--sql", "SELECT 1", "--duration", "50ms", "--json", "--html", "sweep.html"];
    let sweep = [&sweep[..], &["--sweep", "connections=1,2", "pipeline-depth=1,4"]].concat();
    workplace.write("sweep.json", workplace.succeed(&sweep).stdout);
    assert!(workplace.read("sweep.html").contains("The highest rate is "));

    workplace.write("bench.json", BENCH);
    let files = ["report", "bench.json", "receipt.json", "saved.json", "sweep.json", "--html", "all.html"];
    let said = workplace.succeed(&files).stdout;
    assert!(said.starts_with("wrote all.html: ") && said.ends_with(" charts from 4 reports\n"), "{said}");
    let page = workplace.read("all.html");
    for heading in
        ["<h2>bench.json</h2>", "<h2>receipt.json</h2>", "<h2>saved.json</h2>", "<h2>sweep.json</h2>"]
    {
        assert!(page.contains(heading), "{heading}");
    }
    let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    compressed.write_all(BENCH.as_bytes()).unwrap();
    workplace.write("bench.json.gz", compressed.finish().unwrap());
    workplace.succeed(&["report", "*.json.gz", "--markdown", "tables.md"]);
    let tables = workplace.read("tables.md");
    assert!(tables.contains("| load 1,000 rows | rows/s |"), "{tables}");
    let pages = workplace.fail(&["report", "receipt.json", "--markdown", "tables.md"], 2);
    assert!(pages.contains("none of the reports is a comparison"), "{pages}");
    let written = workplace.succeed(&["report", "bench.json", "--html", "b.html", "--json"]).json();
    assert_eq!((&written["command"], &written["reports"]), (&"report".into(), &1.into()));
    assert_eq!(
        written["charts"].as_u64().unwrap() as usize,
        workplace.read("b.html").matches("<figure ").count()
    );
}

#[test]
fn what_is_no_report_is_refused_and_no_file_is_replaced() {
    let workplace = Workplace::without_database().csv("d.csv", "id\n1\n");
    workplace.write("bench.json", BENCH);
    workplace.write("old.html", "old");
    workplace.write("failed.json", r#"{"command": "load", "error": {"message": "no such table"}}"#);
    workplace.write("incomplete.json", r#"{"command": "bench", "schema": 1, "version": "0.1.0"}"#);
    workplace.write("future.json", r#"{"command": "bench", "schema": 99, "postgres_etl": "9.1.0"}"#);
    for (file, reason) in [
        ("d.csv", "d.csv is not a JSON document"),
        ("absent.json", "failed to open absent.json"),
        ("failed.json", "failed.json is the report of a failure: no such table"),
        (
            "incomplete.json",
            "incomplete.json is not a complete report of `bench`: missing field `started_at`",
        ),
        ("future.json", "future.json was written by postgres-etl 9.1.0, with schema 99; version "),
    ] {
        let error = workplace.fail(&["report", "bench.json", file, "--html", "old.html"], 1);
        assert!(error.contains(reason), "{file}: {error}");
        assert_eq!(workplace.read("old.html"), "old");
    }
    for (path, code) in [("bench.json", 2), ("./bench.json", 2), ("/dev/null", 2), ("absent/page.html", 1)] {
        workplace.fail(&["report", "bench.json", "--html", path], code);
    }
    assert_eq!(workplace.read("bench.json"), BENCH);
    workplace.fail(&["report", "bench.json"], 2);
}

/// The comparisons that the repository keeps may have been written by older versions.
#[test]
fn kept_comparisons_are_read() {
    let workplace = Workplace::without_database();
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results/*.json.gz");
    workplace.succeed(&["report", kept, "--html", "page.html", "--markdown", "tables.md"]);
    let (page, tables) = (workplace.read("page.html"), workplace.read("tables.md"));
    assert!(page.contains("Load 1,000 rows") && page.contains("simultaneous 95 % interval"), "{page:.500}");
    assert!(
        tables.contains("- versions: psql (PostgreSQL) 15.18") && tables.contains("sqlx 0.8"),
        "{tables}"
    );
}

#[tokio::test]
async fn a_page_that_cannot_be_written_is_known_before_the_work() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await.csv("d.csv", "id\n1\n");
    for (path, code) in [("absent/page.html", 1), ("/dev/null", 2), ("d.csv", 2)] {
        workplace.fail(&["load", "d.csv", "-t", "t", "--html", path], code);
    }
    assert_eq!(workplace.read("d.csv"), "id\n1\n");
    workplace.fail(&["load", "d.csv", "-t", "t", "--receipt", "same", "--html", "same"], 2);
    assert_eq!(workplace.count("t").await, 0);
    workplace.write("same", "old");
    for flags in [
        ["query", "--sql", "SELECT 1", "-n", "1", "--save", "same", "--html", "./same"],
        ["query", "--sql", "SELECT 1", "-n", "1", "--save", "same", "--metrics-file", "same"],
        ["bench", "--only", "copy", "--rows", "10", "--csv", "new", "--html", "./new"],
    ] {
        let error = workplace.fail(&flags, 2);
        assert!(error.contains("too"), "{error}");
    }
    assert_eq!(workplace.read("same"), "old");
    for (path, code) in [("absent/page.html", 1), ("/dev/null", 2)] {
        workplace.fail(&["query", "--sql", "SELECT 1", "-n", "10", "--html", path], code);
    }
    // A load that fails leaves the page of an earlier one, as a query without results does.
    workplace.write("page.html", "old");
    workplace.write("bad.csv", "id\nx\n");
    workplace.fail(&["load", "bad.csv", "-t", "t", "--html", "page.html"], 1);
    let failed = workplace.run(&["query", "--sql", "SELECT 1/0", "-n", "5", "--html", "page.html"]);
    assert_eq!(failed.status.code(), Some(1), "{failed:#?}");
    assert_eq!(workplace.read("page.html"), "old");
}

/// A trigger removes the directory of the page while the load runs, so that only the page fails.
#[tokio::test]
async fn a_page_that_fails_after_the_commit_does_not_hide_the_load() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await.csv("d.csv", "id\n1\n2\n");
    fs::create_dir(workplace.path("pages")).unwrap();
    let fifo = workplace.path("fifo.csv");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    let child = workplace.start(&["load", "fifo.csv", "-t", "t", "--html", "pages/page.html"]);
    // Opening the pipe waits for the load to read it, and so until its outputs are open.
    let mut pipe = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    fs::remove_dir_all(workplace.path("pages")).unwrap();
    std::io::Write::write_all(&mut pipe, b"id\n1\n2\n").unwrap();
    drop(pipe);
    let ran = crate::support::workplace::ProgramOutput::from_child(child);
    assert_eq!(ran.status.code(), Some(5), "{ran:#?}");
    assert!(
        ran.stderr.contains("failed to write the page") && ran.stderr.contains("only this failed"),
        "{ran:#?}"
    );
    assert!(ran.stdout.starts_with("loaded 2 rows into t"), "{ran:#?}");
    assert_eq!(workplace.count("t").await, 2);
}

//! `load --threads`: several threads encode, and nothing else differs.

use std::fmt::Write as _;

use serde_json::Value;

use crate::support::workplace::Workplace;

/// Some megabytes, so that the file is cut into several pieces: records of several lines, bad ones, and from the middle on
/// dates that only the server can read.
fn csv() -> String {
    let mut csv = "id,n,day,note\r\n".to_owned();
    for id in 0..60_000 {
        let n = if id % 9_000 == 8_999 { "x".to_owned() } else { (id * 7).to_string() };
        let day = if id > 29_000 && id % 1_000 == 0 { "08/10/2026" } else { "2026-10-08" };
        let note = if id % 500 == 0 {
            "\"two\r\nlines, and \"\"quotes\"\"\""
        } else {
            "nothing to remark on this one"
        };
        write!(csv, "{id},{n},{day},{note}\r\n").unwrap();
    }
    csv
}

/// What may differ from run to run in the report of a load.
const TIMES: [&str; 8] = [
    "seconds",
    "phases",
    "started_at",
    "finished_at",
    "rows_per_second",
    "bytes_per_second",
    "transactions",
    "server",
];

#[tokio::test]
async fn several_threads_load_what_one_loads() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY, n int, day date, note text)")
        .await
        .csv("data.csv", csv());
    let load = |threads: &str, more: &[&str]| {
        let load =
            ["load", "data.csv", "-t", "t", "--truncate", "--threads", threads, "--rejects", "bad.csv"];
        workplace.run(&[&load[..], more].concat())
    };
    for more in [&["--max-rejects", "9", "--json"][..], &["--max-rejects", "9", "--mode", "rows", "--json"]] {
        let mut results = Vec::new();
        for threads in ["1", "3"] {
            let loaded = load(threads, more);
            assert_eq!(loaded.status.code(), Some(3), "{threads} {more:?}: {loaded:#?}");
            let mut report = loaded.json();
            let whole = report.as_object_mut().unwrap();
            whole.retain(|key, _| !TIMES.contains(&key.as_str()));
            assert_eq!(whole["rows_rejected"], 6);
            assert!(whole["ambiguous_dates"]["count"].as_u64().unwrap() > 20, "{whole:#?}");
            let table = workplace.content("t").await;
            results.push((report, table, workplace.read("bad.csv"), workplace.read("bad.log.jsonl")));
        }
        let [one, three] = &results[..] else { panic!("two loads") };
        assert_eq!(one.0, three.0, "{more:?}");
        assert!(one.1 == three.1, "the tables differ: {more:?}");
        assert_eq!((&one.2, &one.3), (&three.2, &three.3), "{more:?}");
    }
    // The first bad row ends the load, whichever thread meets it, and whatever others have met by then.
    let [one, three] = ["1", "3"].map(|threads| load(threads, &[]));
    assert_eq!((one.status.code(), &one.stderr), (Some(1), &three.stderr), "{three:#?}");
    assert!(one.stderr.contains("data.csv, line 9019"), "{one:#?}");
    let error = load("1025", &[]);
    assert!(
        error.stderr.contains("1025 threads are too many\n  help: give a number up to 1024"),
        "{error:#?}"
    );
    for contradiction in [&["--autocommit", "--mode", "rows", "--append"][..], &["--import-id", "i"]] {
        let refused = ["load", "data.csv", "-t", "t", "--threads", "2"];
        let error = workplace.fail(&[&refused[..], contradiction].concat(), 2);
        assert!(error.contains("--threads 2 needs a load in one piece"), "{error}");
    }
}

#[test]
fn several_threads_encode_what_one_encodes() {
    let workplace = Workplace::without_database();
    let (mut rows, mut reversed) = (String::new(), "country,state,city,isMarried,age,name,id\n".to_owned());
    for id in 0..40_000 {
        writeln!(rows, "{id},Name {id},{},true,City,State,Country", id % 99).unwrap();
        writeln!(reversed, "Country,State,\"City, {id}\",false,{},Name,{id}", id % 99).unwrap();
    }
    // Several files, the fields of one in another order; the last is not cut, because of its line ending.
    let header = "id,name,age,isMarried,city,state,country\n";
    workplace.write("a.csv", header.to_owned() + &rows);
    workplace.write("b.csv", reversed);
    workplace.write("c.csv", (header.to_owned() + &rows).replace('\n', "\r"));
    let run = |threads: &str| {
        let load = ["load", "a.csv", "b.csv", "c.csv", "--mode", "null", "--json", "--threads", threads];
        workplace.succeed(&load).json()
    };
    let (one, two) = (run("1"), run("2"));
    for key in ["rows_read", "rows_encoded", "bytes_read", "files", "columns"] {
        assert_eq!(one[key], two[key], "{key}");
    }
    assert_eq!(two["rows_encoded"], Value::from(120_000));
}

//! `load`: into partitioned tables, and into tables that an extension distributes over other servers.

use serde_json::Value;

use crate::support::load::{MODES, counts};
use crate::support::workplace::Workplace;

/// The lines of the log of rejects.
fn log(workplace: &Workplace) -> Vec<Value> {
    workplace.read("rejects.log.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn rows_of_partitioned_tables_are_skipped_and_rejected() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10);
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20)",
    )
    .await
    .csv("data.csv", "id,n\n1,10\n2,20\n12,30\n12,31\n")
    .csv("beyond.csv", "id,n\n1,10\n99,0\n12,20\n");
    let ways = MODES.map(|mode| vec!["--mode", mode]);
    for way in ways.into_iter().chain([vec!["--mode", "rows", "--autocommit"]]) {
        workplace.execute("TRUNCATE t; INSERT INTO t VALUES (2, 0)").await;
        let load = |flags: &[&str]| workplace.run(&[&["load", "-t", "t"], flags, &way[..]].concat());
        let report = load(&["data.csv", "--on-conflict", "skip", "--json"]).json();
        let counts = counts(&report, ["rows_read", "rows_inserted", "rows_updated", "rows_skipped"]);
        assert_eq!(counts, [4, 2, 0, 2], "{way:?}");
        assert_eq!(workplace.csv_of("TABLE t ORDER BY 1").await, "1,10\n2,0\n12,30\n", "{way:?}");
        workplace.execute("TRUNCATE t").await;

        let ran = load(&["beyond.csv"]);
        assert_eq!(ran.status.code(), Some(1), "{way:?}: {ran:#?}");
        assert!(ran.stderr.contains("beyond.csv, line 3 into t: no partition of relation \"t\""), "{ran:#?}");
        assert!(ran.stderr.contains("Partition key of the failing row contains (id) = (99)"), "{ran:#?}");
        if way.len() > 2 {
            continue;
        }
        let ran = load(&["beyond.csv", "--max-rejects", "1"]);
        assert_eq!(ran.status.code(), Some(3), "{way:?}: {ran:#?}");
        assert_eq!(workplace.csv_of("TABLE t ORDER BY 1").await, "1,10\n12,20\n", "{way:?}");
        assert_eq!(workplace.read("rejects.csv"), "id,n\n99,0\n", "{way:?}");
        let reject = &log(&workplace)[0];
        assert_eq!(reject["sqlstate"], "23514", "{way:?}: {reject}");
        assert_eq!(reject["reason"], "no partition of relation \"t\" found for row", "{way:?}");
    }
}

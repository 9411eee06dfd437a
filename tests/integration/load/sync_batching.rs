//! `load --sync-every`: rows that share a Sync message.

use std::fmt::Write as _;

use crate::support::workplace::Workplace;

#[tokio::test]
async fn the_first_refused_row_is_named() {
    // The header is line 1; ids repeat from row 500 on.
    let mut rows = "id,name\n".to_owned();
    for row in 0..1000 {
        writeln!(rows, "{},x", row % 500).unwrap();
    }
    let workplace = Workplace::new().await.csv("rows.csv", rows);
    for every in ["1", "7", "256", "1024"] {
        let flags = ["--mode", "rows", "--sync-every", every, "--pipeline-depth", "600"];
        let message = workplace.fail(&[&["load", "rows.csv"], &flags[..]].concat(), 1);
        assert!(message.contains("line 502 ") && message.contains("SQLSTATE 23505"), "{message}");
    }
}

#[tokio::test]
async fn rows_committed_one_by_one_do_not_share_a_sync() {
    let workplace = Workplace::new().await.csv("rows.csv", "id,name\n1,a\n2,b\n");
    let load =
        |more: &[&str]| workplace.run(&[&["--json", "load", "rows.csv", "--mode", "rows"], more].concat());
    let refused = load(&["--autocommit", "--sync-every", "2"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:#?}");
    for (more, every) in [
        (&["--autocommit"][..], 1),
        (&["--truncate"], 256),
        (&["--truncate", "--sync-every", "1"], 1),
        (&["--truncate", "--pipeline-depth", "100"], 50),
    ] {
        let report = load(more).json();
        assert_eq!((&report["sync_every"], &report["rows_loaded"]), (&every.into(), &2.into()));
    }
}

//! Imports of all kinds of input are continued.

use std::io::Write as _;

use super::imports::{WITH_REJECTS, at_commit, behind};
use crate::support::TestDb;
use crate::support::import::{Expected, dirty_csv, first_lines, import_into_t};
use crate::support::load::counts;
use crate::support::proxy::{Fate, Proxy};
use crate::support::workplace::Workplace;

/// Start `load` behind a proxy, kill it when the proxy strikes, and return a workplace without the proxy.
fn kill_at_strike(load: &[&str], (database, proxy, workplace): (TestDb, Proxy, Workplace)) -> Workplace {
    let mut child = workplace.start(load);
    proxy.wait_for_strike();
    child.kill().unwrap();
    child.wait().unwrap();
    workplace.at(database.url())
}

#[tokio::test]
async fn compressed_files_and_several_files_are_continued() {
    let (database, proxy, workplace) = behind(at_commit(4, Fate::Hold)).await;
    let csv = dirty_csv();
    let (first, rest) = csv.split_at(first_lines(&csv, 700).len());
    let header = first_lines(&csv, 0);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(first.as_bytes()).unwrap();
    workplace.write("a.csv.gz", encoder.finish().unwrap());
    workplace.write("b.csv.zst", zstd::encode_all(format!("{header}{rest}").as_bytes(), 1).unwrap());
    let load = import_into_t("?.csv.*", "copy");
    let workplace = kill_at_strike(&load, (database, proxy, workplace));
    let ran = workplace.run(&load);
    assert_eq!(ran.status.code(), Some(WITH_REJECTS), "{ran:#?}");
    assert!(ran.stdout.contains("nightly, 8 chunks, 4 of them by other runs"), "{ran:#?}");
    Expected::in_mode("copy").await.check_rows(&workplace, "two files").await;
}

/// What the first run has found out or was told is not found out anew: the time of the load, and the order of dates.
#[tokio::test]
async fn a_part_of_the_input_is_continued_with_what_the_first_run_knew() {
    let (database, proxy, workplace) = behind(at_commit(4, Fate::Hold)).await;
    let row = |id: u32| format!("{id},{:02}.{:02}.2026\n", id % 28 + 1, id % 12 + 1);
    for (name, ids) in [("a.csv", 0..1000), ("b.csv", 1000..2000)] {
        workplace.write(name, format!("id,day\n{}", ids.map(row).collect::<String>()));
    }
    let import =
        ["load", "a.csv", "b.csv", "-t", "made", "--create", "--import-id", "i", "--chunk-rows", "100"];
    let part = ["--skip-rows", "350", "--limit", "1100"];
    let added = ["--add-column", "source=@file", "--add-column", "line=@line", "--add-column", "at=now()"];
    let load = [&import[..], &part, &added].concat();
    let workplace = kill_at_strike(&load, (database, proxy, workplace));
    let report = workplace.succeed(&[&load[..], &["--json"]].concat()).json();
    assert_eq!(counts(&report["import"], ["chunks", "rows_read", "rows_loaded"]), [12, 1100, 1100]);
    let found = "SELECT count(*), min(id), max(id), count(DISTINCT id), count(DISTINCT at),
                        bool_and(day = make_date(2026, id % 12 + 1, id % 28 + 1)),
                        bool_and(source = CASE WHEN id < 1000 THEN 'a.csv' ELSE 'b.csv' END),
                        bool_and(line = id % 1000 + 2)
                 FROM made";
    assert_eq!(workplace.csv_of(found).await, "1100,350,1449,1100,1,t,t,t\n");
    let error = workplace.fail(&[&import[..], &part, &added[..4]].concat(), 2);
    assert!(error.contains("\"@line line\",\"now() at\"] and is ["), "{error}");
}

#[tokio::test]
async fn lines_of_json_are_continued() {
    let (database, proxy, workplace) = behind(at_commit(3, Fate::Hold)).await;
    let row = |id: u32| match id % 50 {
        7 => format!("{{\"id\": {id}, \"v\": \n"),
        9 => format!("{{\"id\": {id}, \"v\": \"bad\"}}\n"),
        _ => format!("{{\"v\": \"v{id}\", \"id\": {id}}}\n"),
    };
    workplace.write("data.ndjson", (0..1000).map(row).collect::<String>());
    let load = import_into_t("data.ndjson", "copy");
    let workplace = kill_at_strike(&load, (database, proxy, workplace));
    let ran = workplace.run(&load);
    assert_eq!(ran.status.code(), Some(WITH_REJECTS), "{ran:#?}");
    let good = "SELECT count(*), bool_and(v = 'v' || id) FROM t";
    assert_eq!(workplace.csv_of(good).await, "960,t\n");
    let rejected = (0..1000).filter(|id| matches!(id % 50, 7 | 9)).map(row).collect::<String>();
    assert_eq!(workplace.read("rejects.ndjson"), rejected);
}

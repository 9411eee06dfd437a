//! `load`: dates of which only a setting tells what they are.

use serde_json::json;

use crate::support::load::MODES;
use crate::support::workplace::Workplace;

async fn workplace() -> Workplace {
    Workplace::with_sql("CREATE TABLE t (id int, day date, at timestamp)").await.csv(
        "data.csv",
        "id,day,at\n1,2026-01-02,2026-01-02 03:04:05\n2,08.10.2026,\n3,,1/2/99 10:00\n4,12/31/2026,\n",
    )
}

const DAYS: &str = "SELECT id, day, at FROM t ORDER BY id";

/// They are read as COPY reads them, but not in silence.
#[tokio::test]
async fn dates_that_can_be_read_in_two_ways_are_warned_of() {
    let workplace = workplace().await;
    for mode in MODES {
        let flags = ["load", "data.csv", "-t", "t", "--truncate", "--mode", mode, "--receipt", "load.json"];
        let ran = workplace.succeed(&[&flags[..], &["--json"]].concat());
        let warning = "warning: 2 dates can be read in two ways: \"08.10.2026\" in data.csv, line 3, column day, was read \
                       as 2026-08-10 (MDY), and would be 2026-10-08 with DMY (1 more can be read only with MDY); \
                       --date-style mdy or dmy decides\n";
        assert!(ran.stderr.contains(warning), "{mode}: {ran:#?}");
        let expected = json!({
            "count": 2, "certain": 1,
            "first": {
                "file": "data.csv", "line": 3, "column": "day", "value": "\"08.10.2026\"",
                "read_as": "2026-08-10", "order": "MDY", "other": "2026-10-08", "other_order": "DMY",
            },
        });
        assert_eq!(ran.json()["ambiguous_dates"], expected, "{mode}");
        assert_eq!(workplace.read_json("load.json")["ambiguous_dates"], expected);
        let days = "1,2026-01-02,2026-01-02 03:04:05\n2,2026-08-10,\n3,,1999-01-02 10:00:00\n4,2026-12-31,\n";
        assert_eq!(workplace.csv_of(DAYS).await, days, "{mode}");
    }
    let ran = workplace.succeed(&["load", "data.csv", "-t", "t", "--truncate"]);
    assert!(ran.stdout.contains("\n  WARNING 2 dates can be read in two ways: "), "{}", ran.stdout);
    // The session's own setting is read from the server.
    workplace
        .execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET DateStyle = DMY', current_database()); END $$",
        )
        .await;
    workplace.write("data.csv", "id,day\n2,08.10.2026\n");
    let ran = workplace.succeed(&["load", "data.csv", "-t", "t", "--truncate"]);
    let warning =
        "was read as 2026-10-08 (DMY), and would be 2026-08-10 with MDY; --date-style dmy or mdy decides";
    assert!(ran.stderr.contains(warning), "{}", ran.stderr);
}

/// An order that is given holds for the load, and needs no warning.
#[tokio::test]
async fn date_style_decides_without_a_word() {
    let workplace = workplace().await.csv("data.csv", "id,day\n1,08.10.2026\n2,2026-01-02\n");
    for mode in MODES {
        for (style, day) in [("dmy", "2026-10-08"), ("mdy", "2026-08-10")] {
            let flags = ["load", "data.csv", "-t", "t", "--truncate", "--mode", mode, "--date-style", style];
            let ran = workplace.succeed(&[&flags[..], &["--json"]].concat());
            assert!(!ran.stderr.contains("warning"), "{ran:#?}");
            assert_eq!(ran.json()["ambiguous_dates"], json!({"count": 0, "certain": 0, "first": null}));
            assert_eq!(
                workplace.csv_of("SELECT id, day FROM t ORDER BY id").await,
                format!("1,{day}\n2,2026-01-02\n")
            );
        }
        let iso = ["load", "data.csv", "-t", "t", "--mode", mode, "--date-style", "iso"];
        let error = workplace.fail(&iso, 1);
        let says = "data.csv, line 2, column 2 (day): cannot read \"08.10.2026\" as date: expected a date that begins with the \
                    year, because of --date-style iso";
        assert!(error.contains(says), "{error}");
        let ran = workplace.run(&[&iso[..], &["--truncate", "--max-rejects", "1"]].concat());
        assert_eq!(ran.status.code(), Some(3), "{ran:#?}");
        assert_eq!(workplace.csv_of("SELECT id, day FROM t").await, "2,2026-01-02\n");
    }
    workplace.write("words.csv", "id,day\n1,infinity\n2,Jan 2 2026\n");
    let error = workplace.fail(&["load", "words.csv", "-t", "t", "--date-style", "iso"], 1);
    assert!(error.contains("words.csv, line 3") && error.contains("begins with the year"), "{error}");
    let two = ["load", "data.csv", "-t", "t", "--append", "--connections", "2", "--date-style", "dmy"];
    workplace.execute("TRUNCATE t").await;
    workplace.succeed(&two);
    assert_eq!(workplace.csv_of("SELECT day FROM t ORDER BY id").await, "2026-10-08\n2026-01-02\n");
    let row_by_row = ["load", "data.csv", "-t", "t", "--mode", "rows", "--autocommit", "--date-style", "dmy"];
    let error = workplace.fail(&row_by_row, 2);
    assert!(error.contains("--date-style cannot be combined with --autocommit"), "{error}");
    // Nothing of it outlives the load.
    assert_eq!(workplace.value::<String>("SHOW DateStyle").await, "ISO, MDY");
}

/// The server offers `DateStyle` for every moment out of range.
#[tokio::test]
async fn only_dates_are_helped_with_their_order() {
    let workplace = Workplace::with_sql("CREATE TABLE t (day date, at timestamp, span interval)").await;
    for (csv, expected) in [
        ("day\n20.10.2026\n", "--date-style dmy; or for all loads"),
        ("at\n1700000000\n", "convert it with to_timestamp()"),
        ("span\n1/2/2026\n", "correct the value, or leave it empty for NULL"),
    ] {
        workplace.write("data.csv", csv);
        let error = workplace.fail(&["load", "data.csv", "-t", "t"], 1);
        assert!(error.contains(expected), "{csv}: {error}");
        assert!(csv.starts_with("day") || !error.contains("--date-style"), "{csv}: {error}");
    }
}

#[tokio::test]
async fn dates_in_arrays_and_ranges_are_warned_of() {
    let workplace = Workplace::with_sql("CREATE TABLE t (a date[], r daterange, p tsrange, n int4range, v timestamptz[])")
        .await
        .csv(
            "data.csv",
            "a,r,p,n,v\n\"{08.10.2026,2026-01-02}\",\"[1/2/2026,3/4/2026)\",\"[2026-01-02 03:04,)\",\"[1,2)\",\"{\"\"5/6/2026 10:00\"\"}\"\n",
        );
    for mode in MODES {
        let ran = workplace.succeed(&["load", "data.csv", "-t", "t", "--truncate", "--mode", mode]);
        let says = "warning: 4 dates can be read in two ways: \"08.10.2026\" in data.csv, line 2, column a, was read as \
                    2026-08-10 (MDY)";
        assert!(ran.stderr.contains(says), "{mode}: {ran:#?}");
    }
    let ran = workplace.succeed(&["load", "data.csv", "-t", "t", "--truncate", "--date-style", "dmy"]);
    assert!(!ran.stderr.contains("two ways"), "{ran:#?}");
}

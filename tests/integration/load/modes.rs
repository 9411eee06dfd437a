//! `load`: the same table in every mode, whether it is created, appended to or truncated.

use crate::support::load::{HEADER, MODES, PERSONS, copy_csv};
use crate::support::workplace::Workplace;

#[tokio::test]
async fn every_mode_loads_what_copy_loads() {
    let workplace = Workplace::new().await;
    workplace.succeed(&["generate", "-n", "5000", "--unicode", "-o", "people.csv"]);
    let mut csv = std::fs::read(workplace.path("people.csv")).unwrap();
    csv.extend_from_slice(b"30001,,,,,\"\",\n30002,\"a \"\"b\"\"\nc, d\",-1, F ,\"\r\n\",\xc3\xa9, \n");
    workplace.write("people.csv", &csv);
    workplace.execute(&format!("{PERSONS}; CREATE TABLE reference (LIKE persons)")).await;
    copy_csv(&workplace, "reference", &csv).await;
    let reference = workplace.content("reference").await;
    for mode in MODES {
        let ran = workplace.succeed(&["load", "people.csv", "--mode", mode, "--truncate", "--json"]);
        let report = ran.json();
        assert_eq!(report["rows_read"], 5002, "{mode}");
        assert_eq!(report["rows_loaded"], 5002, "{mode}");
        assert_eq!(report["bytes_read"], csv.len(), "{mode}");
        assert!(workplace.content("persons").await == reference, "{mode} differs from COPY");
    }
    let autocommit =
        ["load", "people.csv", "--mode", "rows", "--truncate", "--autocommit", "--connections", "5"];
    assert_eq!(workplace.succeed(&[&autocommit[..], &["--json"]].concat()).json()["rows_loaded"], 5002);
    assert!(workplace.content("persons").await == reference, "autocommit differs from COPY");
}

/// Python's `bool("false")` is true, which one of the tutorial's loaders falls for.
#[tokio::test]
async fn false_loads_as_false() {
    let workplace =
        Workplace::new().await.csv("people.csv", format!("{HEADER}1,a,22,false,b,c,d\n2,a,22,true,b,c,d\n"));
    for mode in MODES {
        workplace.succeed(&["load", "people.csv", "--mode", mode, "--truncate"]);
        let rows = workplace.client().query("SELECT ismarried FROM persons ORDER BY id", &[]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<bool>>(), [false, true], "{mode}");
    }
}

#[tokio::test]
async fn an_empty_field_is_null_and_a_quoted_one_is_an_empty_string() {
    let workplace = Workplace::new().await.csv("people.csv", "id,name,city\n1,,\"\"\n");
    for mode in MODES {
        let ran = workplace.succeed(&["load", "people.csv", "--mode", mode, "--truncate"]);
        assert!(ran.stdout.contains("default age, ismarried, state, country (not in the file)"), "{ran:#?}");
        let row = workplace.client().query_one("SELECT name, city, age FROM persons", &[]).await.unwrap();
        assert_eq!(row.get::<_, Option<String>>(0), None, "{mode}");
        assert_eq!(row.get::<_, Option<String>>(1).as_deref(), Some(""), "{mode}");
        assert_eq!(row.get::<_, Option<i16>>(2), None, "{mode}");
    }
}

#[tokio::test]
async fn the_table_is_created_appended_to_and_truncated() {
    let workplace = Workplace::new().await.csv("people.csv", format!("{HEADER}1,a,22,t,b,c,d\n"));
    let created = workplace.succeed(&["load", "people.csv"]);
    assert!(created.stdout.contains("table   created"), "{created:#?}");
    workplace.write("more.csv", format!("{HEADER}2,a,22,t,b,c,d\n"));
    let appended = workplace.succeed(&["load", "more.csv", "--append"]);
    assert!(appended.stdout.contains("table   added to"), "{appended:#?}");
    assert_eq!(workplace.count("persons").await, 2);
    workplace.write("config.toml", "[load]\ntruncate = true\n");
    let truncated = workplace.succeed(&["load", "more.csv"]);
    assert!(truncated.stdout.contains("table   emptied first"), "{truncated:#?}");
    assert_eq!(workplace.count("persons").await, 1);
    let key: String = workplace
        .value(
            // Since PostgreSQL 18 a column's NOT NULL is a constraint too.
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint
             WHERE conrelid = 'persons'::regclass AND contype <> 'n'",
        )
        .await;
    assert_eq!(key, "PRIMARY KEY (id)");
}

#[tokio::test]
async fn a_missing_input_is_generated_when_the_configuration_says_so() {
    let workplace = Workplace::new().await;
    std::fs::create_dir(workplace.path("data")).unwrap();
    workplace.write("config.toml", "[generate]\nrows = 50\n");
    let ran = workplace.succeed(&["load"]);
    assert!(
        ran.stderr.starts_with("data/persons.csv does not exist: generating it, as [generate] says\n"),
        "{ran:#?}"
    );
    assert!(ran.stdout.starts_with("loaded 50 rows into persons"), "{ran:#?}");
    workplace.write("config.toml", "");
    std::fs::remove_file(workplace.path("data/persons.csv")).unwrap();
    workplace.fail(&["load"], 1);
}

#[tokio::test]
async fn a_header_without_rows_loads_nothing_with_a_warning() {
    let workplace = Workplace::new().await.csv("people.csv", HEADER);
    for mode in MODES {
        let ran = workplace.succeed(&["load", "people.csv", "--mode", mode]);
        assert!(ran.stderr.contains("people.csv has a header but no rows"), "{ran:#?}");
        assert_eq!(workplace.count("persons").await, 0);
    }
}

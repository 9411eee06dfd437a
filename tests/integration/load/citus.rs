//! `load`, `check` and `query` on a real cluster of Citus, if `CITUS_DATABASE_URL` names one.

use crate::support::citus::{CATALOG, workplace};
use crate::support::load::MODES;
use crate::support::workplace::Workplace;

/// People with an id from 1 to `rows`.
fn people(rows: u32) -> String {
    (1..=rows).fold("id,name\n".to_owned(), |csv, id| csv + &format!("{id},name {id}\n"))
}

/// The distribution in a JSON `report`.
fn distribution(report: &serde_json::Value) -> (&str, Option<&str>, u64) {
    let found = &report["distribution"];
    (found["kind"].as_str().unwrap(), found["column"].as_str(), found["shards"].as_u64().unwrap())
}

#[tokio::test]
async fn a_load_creates_distributed_tables() {
    let Some(workplace) = workplace("etl_created").await else { return };
    workplace.write("people.csv", people(100));
    let create = |flags: &[&str]| {
        workplace.succeed(&[&["load", "people.csv", "--create", "--json"], flags].concat()).json()
    };
    let by_id = create(&["-t", "people", "--distribute-by", "ID", "--shards", "4"]);
    assert_eq!(distribution(&by_id), ("by-column", Some("id"), 4));
    let beside = create(&["-t", "beside", "--distribute-by", "id", "--colocate-with", "people"]);
    assert_eq!(distribution(&beside), ("by-column", Some("id"), 4));
    let everywhere = create(&["-t", "everywhere", "--reference"]);
    assert_eq!(distribution(&everywhere), ("reference", None, 1));
    assert!(everywhere["distribution"]["nodes"].as_u64().unwrap() > 1, "{everywhere}");
    for table in ["people", "beside", "everywhere"] {
        assert_eq!(workplace.value::<i64>(&format!("SELECT sum(id) FROM {table}")).await, 5050, "{table}");
    }
    // A distributed table is replaced only by one that is distributed alike.
    let replace = ["load", "people.csv", "--create", "--replace", "-t", "people"];
    let error = workplace.fail(&replace, 2);
    assert!(error.contains("people, which is distributed by Citus, an ordinary table"), "{error}");
    workplace.write("people.csv", people(10));
    let report = workplace.succeed(&[&replace[..], &["--distribute-by", "id"]].concat());
    assert!(report.stdout.contains("table   replaced, distributed by id, "), "{report:#?}");
    assert_eq!(workplace.count("people").await, 10);
    // As it is said before anything is loaded.
    let ddl = workplace.succeed(&["load", "people.csv", "--ddl-only", "-t", "t", "--distribute-by", "id"]);
    assert!(ddl.stdout.ends_with("SELECT create_distributed_table('\"t\"', 'id');\n"), "{ddl:#?}");
    let dry = ["load", "people.csv", "--create", "-t", "dry", "--distribute-by", "id", "--dry-run"];
    workplace.succeed(&dry);
    assert!(workplace.value::<bool>("SELECT to_regclass('dry') IS NULL").await);
}

#[tokio::test]
async fn a_table_that_cannot_be_distributed_as_wanted_is_an_error() {
    let Some(workplace) = workplace("etl_refused").await else { return };
    let workplace = workplace.csv("data.csv", "id,name\n1,Ann\n");
    workplace.execute("CREATE TABLE plain (id int, name text)").await;
    for (table, flags, code, expected) in [
        ("t", &["--distribute-by", "city"][..], 2, "has no column of that name"),
        (
            "t",
            &["--distribute-by", "id", "--colocate-with", "nobody"],
            1,
            "distributed by id: relation \"nobody\" does not exist",
        ),
        (
            "plain",
            &["--distribute-by", "id"],
            2,
            "plain is to be distributed by id, but exists and is not distributed",
        ),
        ("plain", &["--reference"], 2, "SELECT create_reference_table("),
    ] {
        let error = workplace.fail(&[&["load", "data.csv", "--create", "-t", table], flags].concat(), code);
        assert!(error.contains(expected), "{flags:?}: {error}");
        assert!(workplace.value::<bool>("SELECT to_regclass('t') IS NULL").await, "{flags:?}");
        assert_eq!(workplace.count("plain").await, 0, "{flags:?}");
    }
}

#[tokio::test]
async fn all_modes_leave_the_same_distributed_table() {
    let Some(workplace) = workplace("etl_modes").await else { return };
    let workplace = workplace.config(
        r#"[table]
           name = "people"
           columns = [{ name = "id", type = "integer" }, { name = "name", type = "text" }]
           primary_key = ["id"]
           indexes = [["name"]]
           distribute_by = "id"
           shards = 4"#,
    );
    workplace.write("people.csv", people(1000));
    let load = |flags: &[&str]| workplace.run(&[&["load", "people.csv"], flags].concat());
    for mode in MODES {
        let ran = load(&["--mode", mode, "--truncate"]);
        assert!(ran.status.success(), "{mode}: {ran:#?}");
        assert!(ran.stdout.contains("distributed by id, 4 shards on 2 nodes"), "{mode}: {ran:#?}");
        assert_eq!(ran.stderr.contains("modes batch and copy"), mode == "rows", "{mode}: {ran:#?}");
        assert_eq!(workplace.value::<i64>("SELECT sum(id) FROM people").await, 500_500, "{mode}");
        let keys = "SELECT count(*) FROM pg_index WHERE indrelid = 'people'::regclass";
        assert_eq!(workplace.value::<i64>(keys).await, 2, "{mode}");
    }
    // The shipped workloads have no table here.
    let described = workplace.run(&["check", "people.csv"]);
    assert!(described.stdout.contains("name text; distributed by id, 4 shards on 2 nodes"), "{described:#?}");
    // Every second row of the first half has an id that the table has.
    workplace.write(
        "more.csv",
        (1..=2000).fold("id,name\n".to_owned(), |csv, n| {
            csv + &format!("{},again\n", if n % 2 == 0 { n + 1000 } else { n })
        }),
    );
    for mode in MODES {
        workplace.succeed(&["load", "people.csv", "--truncate"]);
        let flags = ["load", "more.csv", "-t", "people", "--append", "--mode", mode, "--max-rejects", "50%"];
        let ran = workplace.run(&flags);
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        assert_eq!(workplace.count("people").await, 2500, "{mode}");
        let rejects = workplace.read("rejects.csv");
        assert_eq!(rejects.lines().count(), 501, "{mode}");
        assert!(rejects.starts_with("id,name\n1,again\n3,again\n"), "{mode}: {rejects:.40}");
        // Without leave to reject, the error names the first such line.
        let error = workplace.fail(&flags[..flags.len() - 2], 1);
        assert!(error.contains("line 2 ") && error.contains("(SQLSTATE 23505"), "{mode}: {error}");
        assert!(error.contains("Key (id)=(1) already exists"), "{mode}: {error}");
        assert!(error.contains("; on the worker "), "{mode}: {error}");
        for action in ["skip", "update"] {
            let flags = ["load", "more.csv", "-t", "people", "--on-conflict", action, "--mode", mode];
            workplace.succeed(&flags);
            assert_eq!(workplace.count("people").await, 2500, "{mode}, {action}");
            let again = workplace.count("people WHERE name = 'again'").await;
            assert_eq!(again, if action == "skip" { 1500 } else { 2000 }, "{mode}, {action}");
        }
        let flags = ["load", "more.csv", "-t", "people", "--on-conflict", "update:name", "--mode", mode];
        let error = workplace.fail(&flags, 1);
        assert!(error.contains("no unique or exclusion constraint matching"), "{mode}: {error}");
    }
    workplace.write("new.csv", "id,name\n9001,a\n9002,b\n");
    let ran = workplace.succeed(&["load", "new.csv", "-t", "people", "--append", "--connections", "2"]);
    assert!(ran.stderr.contains("Citus does not let transactions"), "{ran:#?}");
    assert_eq!(workplace.count("people").await, 2502);
}

#[tokio::test]
async fn a_database_without_citus_cannot_distribute() {
    let workplace = Workplace::new().await.csv("data.csv", "id\n1\n");
    let error = workplace.fail(&["load", "data.csv", "-t", "t", "--create", "--distribute-by", "id"], 1);
    assert!(error.contains("this database does not have the extension citus"), "{error}");
    assert!(error.contains("CREATE EXTENSION citus"), "{error}");
    for (table, problem) in [
        ("distribute_by = 'id'\nreference = true", "distribute_by contradicts reference"),
        ("shards = 4", "shards and colocate_with are for a table with distribute_by"),
    ] {
        workplace.write("config.toml", format!("[table]\nname = 't'\n{table}"));
        let error = workplace.fail(&["load", "data.csv"], 2);
        assert!(error.contains(problem), "{error}");
    }
}

/// A node refuses a single row with its name in the CONTEXT, which a query for all duplicates does not have.
#[tokio::test]
async fn a_duplicate_is_refused_by_the_worker_that_has_its_key() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY, name text)").await;
    workplace.execute(&format!("{CATALOG} INSERT INTO pg_dist_partition VALUES ('t')")).await;
    workplace.execute("INSERT INTO t SELECT generate_series(50, 60)").await;
    // With this setting, the CONTEXT has the values of the row: those of all rows, if it is a statement for all.
    workplace
        .execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET log_parameter_max_length_on_error = -1',
                                        current_database()); END $$",
        )
        .await;
    let csv = (1..=100).fold("id,name\n".to_owned(), |csv, id| {
        csv + &format!("{id},while executing command on worker-{id}:5432\n")
    });
    workplace.write("data.csv", csv);
    // The COPY of a server without Citus names the line itself.
    for mode in ["batch", "rows"] {
        let error = workplace.fail(&["load", "data.csv", "-t", "t", "--append", "--mode", mode], 1);
        assert!(error.contains("data.csv, line 51 into t: duplicate key"), "{mode}: {error}");
        assert!(
            error.contains("; Key (id)=(50) already exists; on the worker worker-50:5432"),
            "{mode}: {error}"
        );
        assert_eq!(workplace.count("t").await, 11, "{mode}");
    }
}

#[tokio::test]
async fn a_run_knows_the_nodes_of_citus() {
    let Some(workplace) = workplace("etl_queried").await else { return };
    let workplace = workplace.config(
        r#"[table]
           name = "people"
           [query.by-id]
           sql = "SELECT name FROM people WHERE id = $1"
           args = [{ uniform = [1, "rows"] }]"#,
    );
    workplace.write("people.csv", people(1000));
    workplace.succeed(&["load", "people.csv", "-t", "people", "--create", "--distribute-by", "id"]);
    let ran = workplace.succeed(&["query", "by-id", "-c", "2", "--duration", "4s", "--json"]);
    let report = ran.json();
    assert_eq!(distribution(&report["table"]).0, "by-column");
    let sentence = report["bound"]["sentence"].as_str().unwrap();
    assert!(sentence.contains("the server with nodes of Citus at most"), "{sentence}");
    assert_ne!(report["bound"]["by"], "others", "{sentence}");
}

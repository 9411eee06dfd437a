//! `load`: into what is not an ordinary table, but takes rows from COPY.

use super::foreign_servers;
use crate::support::load::MODES;
use crate::support::workplace::Workplace;

#[tokio::test]
async fn rows_go_into_a_view_by_way_of_its_trigger() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE stored (id int PRIMARY KEY, name text);
         CREATE VIEW people AS SELECT id, upper(name) AS name FROM stored;
         CREATE FUNCTION store() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF new.name = 'nobody' THEN RETURN NULL; END IF;
             INSERT INTO stored VALUES (new.id, lower(new.name));
             RETURN new;
         END $$;
         CREATE TRIGGER store INSTEAD OF INSERT ON people FOR EACH ROW EXECUTE FUNCTION store()",
    )
    .await
    .csv("people.csv", "id,name\n1,Ann\n2,Bo\n")
    .csv("bad.csv", "id,name\n1,Ann\n1,Bo\n3,Cy\n")
    .csv("dropped.csv", "id,name\n1,Ann\n2,nobody\n");
    for mode in MODES {
        let load = |file, flags: &[&str]| {
            workplace.run(&[&["load", file, "-t", "people", "--append", "--mode", mode], flags].concat())
        };
        let ran = load("people.csv", &[]);
        assert!(ran.status.success(), "{mode}: {ran:#?}");
        assert!(!ran.stdout.contains("WARNING"), "{mode}: {ran:#?}");
        assert!(ran.stdout.contains("whose INSTEAD OF trigger decides what is stored"), "{mode}: {ran:#?}");
        assert_eq!(workplace.csv_of("TABLE stored ORDER BY 1").await, "1,ann\n2,bo\n", "{mode}");
        workplace.execute("TRUNCATE stored").await;

        let ran = load("bad.csv", &["--max-rejects=1"]);
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        assert_eq!(workplace.csv_of("TABLE stored ORDER BY 1").await, "1,ann\n3,cy\n", "{mode}");
        workplace.execute("TRUNCATE stored").await;

        // A row that the trigger drops is not silently missing, except that the server's COPY counts it as copied.
        if mode != "copy" {
            assert_eq!(load("dropped.csv", &[]).status.code(), Some(1), "{mode}");
            assert_eq!(workplace.count("stored").await, 0, "{mode}");
        }
    }
    let error = workplace.fail(&["load", "people.csv", "-t", "people", "--truncate"], 1);
    assert!(error.contains("use --append"), "{error}");
    workplace.execute("CREATE VIEW plain AS TABLE stored").await;
    let error = workplace.fail(&["load", "people.csv", "-t", "plain", "--append"], 1);
    assert!(error.contains("plain is a view without an INSTEAD OF INSERT trigger"), "{error}");
}

#[tokio::test]
async fn rows_go_into_a_foreign_table() {
    let workplace = Workplace::new().await.csv("data.csv", "id,day\n1,2026-01-02\n2,\n");
    workplace.write("bad.csv", "id,day\n1,2026-01-02\n-1,\n3,\n");
    if foreign_servers::are_missing(&workplace).await {
        return;
    }
    workplace
        .execute(
            "CREATE EXTENSION postgres_fdw;
             CREATE TABLE stored (id int CHECK (id > 0), day date);
             DO $$ BEGIN EXECUTE format('CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw
                 OPTIONS (host %L, port %L, dbname %L)', trim('\"' FROM current_setting('unix_socket_directories')),
                 current_setting('port'), current_database()); END $$;
             CREATE USER MAPPING FOR CURRENT_USER SERVER here;
             CREATE FOREIGN TABLE away (id int, day date) SERVER here OPTIONS (table_name 'stored')",
        )
        .await;
    for mode in MODES {
        let load = |file, flags: &[&str]| {
            workplace.run(&[&["load", file, "-t", "away", "--mode", mode], flags].concat())
        };
        let ran = load("data.csv", &["--append"]);
        assert!(ran.status.success(), "{mode}: {ran:#?}");
        assert_eq!(workplace.csv_of("TABLE stored ORDER BY 1").await, "1,2026-01-02\n2,\n", "{mode}");
        // TRUNCATE reaches foreign tables from PostgreSQL 14 on.
        if workplace.value::<i32>("SELECT current_setting('server_version_num')::int").await >= 140_000 {
            let ran = load("data.csv", &["--truncate"]);
            assert!(ran.status.success(), "{mode}: {ran:#?}");
            assert_eq!(workplace.csv_of("TABLE stored ORDER BY 1").await, "1,2026-01-02\n2,\n", "{mode}");
        }
        workplace.execute("TRUNCATE stored").await;
        let ran = load("bad.csv", &["--append", "--max-rejects=1"]);
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        assert_eq!(workplace.csv_of("TABLE stored ORDER BY 1").await, "1,2026-01-02\n3,\n", "{mode}");
        workplace.execute("TRUNCATE stored").await;
    }
}

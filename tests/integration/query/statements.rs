//! `query`: what `pg_stat_statements` says of each statement of the run.

use crate::support::workplace::Workplace;

/// Whether the server's programs come with `pg_stat_statements`; if not, say that the test is skipped.
async fn has_extension() -> bool {
    let sql = "SELECT count(*) > 0 FROM pg_available_extensions WHERE name = 'pg_stat_statements'";
    let available: bool = Workplace::new().await.value(sql).await;
    if !available {
        eprintln!("skipped: this server's programs come without pg_stat_statements");
    }
    available
}

#[tokio::test]
async fn the_servers_counts_of_each_statement_are_shown() {
    if !has_extension().await {
        return;
    }
    let workplace = Workplace::with_embedded_server(
        "keep = false\n[server.settings]\nshared_preload_libraries = 'pg_stat_statements'",
    );
    workplace.succeed(&["query", "--sql", "CREATE EXTENSION pg_stat_statements", "-n", "1", "-c", "1"]);
    let sql = "SELECT generate_series(1, 3), 'counted'";
    let report = workplace.succeed(&["query", "--sql", sql, "-n", "50", "--json"]).json();
    let statements = report["bound"]["statements"].as_array().unwrap();
    let counted =
        statements.iter().find(|one| one["query"].as_str().unwrap().contains("generate_series")).unwrap();
    assert_eq!((&counted["calls"], &counted["rows"]), (&50.into(), &3.0.into()), "{report:#}");
    assert!(counted["mean_us"].as_f64().unwrap() > 0.0, "{report:#}");
}

/// The extension is found in any schema, and a statement counts as one, whether a client or a function runs it.
#[tokio::test]
async fn statements_are_counted_outside_the_search_path_too() {
    if !has_extension().await {
        return;
    }
    let workplace = Workplace::with_embedded_server(
        "keep = false
         [server.settings]
         shared_preload_libraries = 'pg_stat_statements'
         'pg_stat_statements.track' = 'all'
         [query.both]
         transaction = [{ sql = 'SELECT 7 AS counted' }, { sql = 'SELECT twice()' }]",
    );
    let install = "DO $do$ BEGIN
                       CREATE SCHEMA \"Of its own\";
                       CREATE EXTENSION pg_stat_statements SCHEMA \"Of its own\";
                       CREATE FUNCTION twice() RETURNS int LANGUAGE plpgsql AS
                           $$ BEGIN EXECUTE 'SELECT 7 AS counted'; EXECUTE 'SELECT 7 AS counted'; RETURN 1; END $$;
                   END $do$";
    workplace.succeed(&["query", "--sql", install, "-n", "1", "-c", "1"]);
    let report = workplace.succeed(&["query", "both", "-n", "50", "--json"]).json();
    let statements = report["bound"]["statements"].as_array().expect("the statements are counted");
    let counted: Vec<_> = (statements.iter())
        .filter(|one| one["query"].as_str().unwrap().contains("AS counted"))
        .map(|one| (one["calls"].as_i64().unwrap(), one["rows"].as_f64().unwrap()))
        .collect();
    assert_eq!(counted, [(150, 1.0)], "{report:#}");
}

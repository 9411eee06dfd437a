//! `query`: what bounded the run, where the processors that it takes are more, or fewer, than its connections show.

use crate::support;
use crate::support::cli::Workplace;

/// What the server counts is found wherever it was put, and a statement is one, whoever runs it.
#[tokio::test]
async fn statements_are_counted_outside_the_search_path_too() {
    let database = support::database().await;
    let extension = "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements'";
    let available: i64 = database.connect().await.query_one(extension, &[]).await.unwrap().get(0);
    if available == 0 {
        eprintln!("this server's programs come without pg_stat_statements");
        return;
    }
    let workplace = Workplace::nowhere();
    // When root tests, the server's user has to get through.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(workplace.path(""), open).unwrap();
    workplace.write(
        "config.toml",
        format!(
            "[server]\ndirectory = '{}'\nkeep = false\n[server.settings]\n\
             shared_preload_libraries = 'pg_stat_statements'\n'pg_stat_statements.track' = 'all'\n\
             [query.both]\ntransaction = [{{ sql = 'SELECT 7 AS counted' }}, {{ sql = 'SELECT twice()' }}]\n",
            workplace.path("server").display()
        ),
    );
    let install = "DO $do$ BEGIN
                       CREATE SCHEMA \"Of its own\";
                       CREATE EXTENSION pg_stat_statements SCHEMA \"Of its own\";
                       CREATE FUNCTION twice() RETURNS int LANGUAGE plpgsql AS
                           $$ BEGIN EXECUTE 'SELECT 7 AS counted'; EXECUTE 'SELECT 7 AS counted'; RETURN 1; END $$;
                   END $do$";
    workplace.succeed(&["query", "--sql", install, "-n", "1", "-c", "1"]);
    let report = workplace.succeed(&["query", "both", "-n", "50", "--json"]).json();
    let statements = report["bound"]["statements"].as_array().expect("they are counted");
    let counted: Vec<_> = (statements.iter())
        .filter(|one| one["query"].as_str().unwrap().contains("AS counted"))
        .map(|one| (one["calls"].as_i64().unwrap(), one["rows"].as_f64().unwrap()))
        .collect();
    assert_eq!(counted, [(150, 1.0)], "{report:#}");
}

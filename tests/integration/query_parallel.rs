//! `query`: what bounded the run, where the processors that it takes are more, or fewer, than its connections show.

use std::thread::available_parallelism;

use crate::support;
use crate::support::cli::Workplace;

/// Parallel workers are neither the run's connections nor other programs.
#[tokio::test]
async fn parallel_workers_are_no_other_programs() {
    let database = support::database().await;
    let client = database.connect().await;
    let workers = available_parallelism().unwrap().get();
    client
        .batch_execute(&format!(
            "CREATE TABLE big AS SELECT generate_series(1, 1000000) AS g; ANALYZE big;
             ALTER TABLE big SET (parallel_workers = {workers});
             DO $$ DECLARE setting text; BEGIN
                 FOREACH setting IN ARRAY ARRAY['parallel_setup_cost = 0', 'parallel_tuple_cost = 0',
                         'min_parallel_table_scan_size = 0', 'max_parallel_workers_per_gather = {workers}'] LOOP
                     EXECUTE format('ALTER DATABASE %I SET %s', current_database(), setting);
                 END LOOP;
             END $$"
        ))
        .await
        .unwrap();
    let workplace = Workplace::on(&database);
    let sql = "SELECT count(*) FROM big WHERE sqrt(g) > 1";
    let args = ["query", "--sql", sql, "-c", "1", "-d", "1", "--duration", "2s", "--json"];
    let report = workplace.succeed(&args).json();
    let bound = &report["bound"];
    assert_ne!(bound["by"], "others", "{bound:#}");
    // It runs where its workers do, though it waits for them, and is one backend with them.
    let running = bound["running"].as_f64().unwrap();
    assert!(running > 0.1 && running <= 1.0, "{bound:#}");
    if bound["server_cores"].is_number() {
        let sentence = bound["sentence"].as_str().unwrap();
        assert!(sentence.contains("the server with parallel workers at most "), "{bound:#}");
        let of = |figure: &str| bound[figure].as_f64().unwrap();
        assert!(of("server_cores") + of("client_cores") > of("busy_cores") - 1e-6, "{bound:#}");
    }
}

/// The machine is what it is, however little of it the client may use.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_may_use_less_than_the_machine_has() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let database = support::database().await;
    let workplace = Workplace::on(&database);
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let is_core = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
    let cores = stat.lines().filter(is_core).count();
    // A child may use what the thread may that starts it.
    let limited = std::thread::spawn(move || {
        let ours = sched_getaffinity(None).unwrap();
        let mut one = CpuSet::new();
        one.set((0..CpuSet::MAX_CPU).find(|core| ours.is_set(*core)).unwrap());
        sched_setaffinity(None, &one).unwrap();
        workplace.succeed(&["query", "--sql", "SELECT 1", "-c", "4", "--duration", "1s", "--json"]).json()
    });
    let bound = &limited.join().unwrap()["bound"];
    assert_eq!(bound["cores"], cores, "{bound:#}");
    if cores > 1 {
        let sentence = bound["sentence"].as_str().unwrap();
        assert!(sentence.contains(" of the 1 core it may use"), "{bound:#}");
    }
}

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

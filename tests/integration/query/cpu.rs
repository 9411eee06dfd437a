//! `query`: the verdict on a run whose backends use more CPUs, or whose client may use fewer, than their number
//! suggests.

use std::thread::available_parallelism;

use crate::support::workplace::Workplace;

/// Parallel workers belong to the run's backends, though they are not its connections.
#[tokio::test]
async fn parallel_workers_do_not_count_as_other_programs() {
    let workers = available_parallelism().unwrap().get();
    let workplace = Workplace::with_sql(
            &format!(
            "CREATE TABLE big AS SELECT generate_series(1, 1000000) AS g; ANALYZE big;
             ALTER TABLE big SET (parallel_workers = {workers});
             DO $$ DECLARE setting text; BEGIN
                 FOREACH setting IN ARRAY ARRAY['parallel_setup_cost = 0', 'parallel_tuple_cost = 0',
                         'min_parallel_table_scan_size = 0', 'max_parallel_workers_per_gather = {workers}'] LOOP
                     EXECUTE format('ALTER DATABASE %I SET %s', current_database(), setting);
                 END LOOP;
             END $$"
        ),
        )
        .await;
    let sql = "SELECT count(*) FROM big WHERE sqrt(g) > 1";
    let args = ["query", "--sql", sql, "-c", "1", "-d", "1", "--duration", "2s", "--json"];
    let report = workplace.succeed(&args).json();
    let bound = &report["bound"];
    assert_ne!(bound["by"], "others", "{bound:#}");
    // A leader counts as running while it waits for its workers, and as one backend together with them.
    let running = bound["running"].as_f64().unwrap();
    assert!(running > 0.1 && running <= 1.0, "{bound:#}");
    if bound["server_cores"].is_number() {
        let sentence = bound["sentence"].as_str().unwrap();
        assert!(sentence.contains("the server with parallel workers at most "), "{bound:#}");
        let of = |figure: &str| bound[figure].as_f64().unwrap();
        assert!(of("server_cores") + of("client_cores") > of("busy_cores") - 1e-6, "{bound:#}");
    }
}

/// The report counts all cores of the machine, even if the client may use only one of them.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_may_use_less_than_the_machine_has() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let workplace = Workplace::new().await;
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let is_core = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
    let cores = stat.lines().filter(is_core).count();
    // A child inherits the CPU affinity of the thread that starts it.
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

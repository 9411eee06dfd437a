//! `query`: the workloads of pgbench, on tables of `--init`; and the metrics of a run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::workplace::{ProgramOutput, Workplace};

/// Columns, storage parameters and indexes of a table of pgbench, a line each.
const DEFINITION: &str = "
    SELECT coalesce(string_agg(line, E'\\n'), '') FROM (
        SELECT attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END AS line
        FROM (SELECT * FROM pg_attribute WHERE attrelid = 'pgbench_TABLE'::regclass AND attnum > 0 ORDER BY attnum) c
        UNION ALL SELECT array_to_string(reloptions, ' ') FROM pg_class
        WHERE oid = 'pgbench_TABLE'::regclass AND reloptions IS NOT NULL
        UNION ALL SELECT indexdef FROM pg_indexes WHERE tablename = 'pgbench_TABLE') lines";

async fn sums(workplace: &Workplace) -> [i64; 4] {
    // In one snapshot: what an interrupted run has sent may be committed while the sums are read.
    let sums = "SELECT ARRAY[(SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
                             (SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history)]::bigint[]";
    workplace.value::<Vec<i64>>(sums).await.try_into().unwrap()
}

#[tokio::test]
async fn the_tables_and_the_transactions_are_those_of_pgbench() {
    let workplace = Workplace::with_sql("CREATE TABLE pgbench_tellers (who text)").await;
    let missing = workplace.fail(&["query", "tpcb", "-n", "5"], 1);
    assert!(
        missing.contains("help: create pgbench's tables: postgres-etl query --init tpcb --scale 10"),
        "{missing}"
    );
    insta::assert_snapshot!(workplace.fail(&["query", "--init", "tpcb"], 1), @r"
    error: pgbench_tellers is not a table of pgbench; its columns are who text
      help: use another database, or add --replace to lose what is in it
    ");
    let created =
        workplace.succeed(&["query", "--init", "tpcb", "--scale", "2", "--replace", "--json"]).json();
    assert_eq!((&created["scale"], &created["replaced"]), (&2.into(), &true.into()), "{created:#}");
    let mut found = String::new();
    for table in ["accounts", "branches", "tellers", "history"] {
        let definition: String = workplace.value(&DEFINITION.replace("TABLE", table)).await;
        found += &format!("{table} {}:\n{definition}\n", workplace.count(&format!("pgbench_{table}")).await);
    }
    // As `pgbench -i --scale 2` leaves them.
    insta::assert_snapshot!(found, @r"
    accounts 200000:
    aid integer NOT NULL
    bid integer
    abalance integer
    filler character(84)
    fillfactor=100
    CREATE UNIQUE INDEX pgbench_accounts_pkey ON public.pgbench_accounts USING btree (aid)
    branches 2:
    bid integer NOT NULL
    bbalance integer
    filler character(88)
    fillfactor=100
    CREATE UNIQUE INDEX pgbench_branches_pkey ON public.pgbench_branches USING btree (bid)
    tellers 20:
    tid integer NOT NULL
    bid integer
    tbalance integer
    filler character(84)
    fillfactor=100
    CREATE UNIQUE INDEX pgbench_tellers_pkey ON public.pgbench_tellers USING btree (tid)
    history 0:
    tid integer
    bid integer
    aid integer
    delta integer
    mtime timestamp without time zone
    filler character(22)
    ");
    // A row of each, the last.
    let last =
        |table: &str, key: &str| format!("SELECT t::text FROM pgbench_{table} t ORDER BY {key} DESC LIMIT 1");
    let filler = " ".repeat(84);
    for (table, key, row) in [
        ("accounts", "aid", format!("(200000,2,0,\"{filler}\")")),
        ("tellers", "tid", "(20,2,0,)".to_owned()),
        ("branches", "bid", "(2,0,)".to_owned()),
    ] {
        assert_eq!(workplace.value::<String>(&last(table, key)).await, row);
    }
    assert!(workplace.fail(&["query", "--init", "tpcb", "-n", "5"], 2).contains("in a second command"));
    assert!(workplace.fail(&["query", "--init", "tpcb", "--scale", "0"], 2).contains("from 1 to 100000"));
    transactions_change_account_teller_branch_and_history_alike(&workplace).await;
    // They are its own now, and replaced without a word.
    let again = workplace.succeed(&["query", "--init", "tpcb"]).stdout;
    assert!(again.starts_with("replaced the tables of pgbench at scale 1 in "), "{again}");
    assert_eq!(workplace.count("pgbench_history").await, 0);
}

async fn transactions_change_account_teller_branch_and_history_alike(workplace: &Workplace) {
    for (more, depth, protocol) in
        [(&[][..], 1, "prepared"), (&["-d", "8", "--protocol", "simple"], 8, "simple")]
    {
        let args = [&["query", "tpcb", "-n", "400", "-c", "4", "--json"], more].concat();
        let report = workplace.succeed(&args).json();
        assert_eq!((&report["queries"], &report["errors"]), (&400.into(), &0.into()), "{report:#}");
        assert_eq!(report["load"]["pipeline_depth"], depth);
        assert_eq!(report["load"]["protocol"], protocol);
        assert_eq!(report["workloads"][0]["is_transaction"], true);
    }
    let [accounts, tellers, branches, history] = sums(workplace).await;
    assert_eq!((accounts, tellers, branches), (history, history, history));
    let row = "SELECT count(*)::text || ' ' || count(DISTINCT bid) || ' ' || (max(aid) > 100000) FROM pgbench_history";
    assert_eq!(workplace.value::<String>(row).await, "800 2 true", "both branches are used");

    let text = workplace.succeed(&["query", "simple-update", "-n", "100", "-c", "2"]).stdout;
    assert!(text.starts_with("100 transactions in ") && text.contains(" transactions/s"), "{text}");
    assert!(text.contains("tpcb-simple, a transaction:"), "{text}");
    let sweep = workplace.succeed(&["query", "tpcb-simple", "--sweep", "connections=1,2", "-n", "20"]);
    assert_eq!(sweep.stderr.matches(" transactions/s, p99 ").count(), 2, "{sweep:#?}");
    assert!(sweep.stdout.contains("highest rate: ") && !sweep.stdout.contains("queries/s"), "{sweep:#?}");
    let [accounts, tellers, _, history] = sums(workplace).await;
    assert_eq!(accounts, history);
    assert_ne!(accounts, tellers);
    let read =
        workplace.succeed(&["query", "select-only", "-n", "100", "-d", "8", "--verify", "--json"]).json();
    assert_eq!((&read["checked"]["compared"], &read["load"]["sync_every"]), (&100.into(), &256.into()));
}

/// Wait until the metrics in the file `name` of a run in progress are there.
fn wait_for_metrics(workplace: &Workplace, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !workplace.path(name).exists() || !workplace.read(name).contains("_running{workload=\"tpcb\"} 1") {
        assert!(Instant::now() < deadline, "no metrics are written");
    }
}

/// The samples of a text in Prometheus's format by name and labels; every name must have its help and type before it.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let (mut helped, mut typed) = (String::new(), (String::new(), String::new()));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            help.split_once(' ').unwrap().0.clone_into(&mut helped);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, helped, "{text}");
            typed = (name.to_owned(), kind.to_owned());
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = sample.split_once('{').unwrap();
            let family = match &*typed.1 {
                "summary" => name.trim_end_matches("_sum").trim_end_matches("_count"),
                _ => name,
            };
            assert_eq!((family, labels.ends_with("\"}")), (&*typed.0, true), "{line}");
            assert_eq!(typed.1 == "counter", name.ends_with("_total"), "{line}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
            assert!(
                samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(),
                "{line} is there twice"
            );
        }
    }
    samples
}

#[tokio::test]
async fn an_interruption_leaves_whole_transactions_and_final_metrics() {
    let workplace = Workplace::new().await;
    workplace.succeed(&["query", "--init", "tpcb"]);
    let args =
        ["query", "tpcb", "--duration", "1h", "-c", "4", "-d", "4", "--metrics-file", "run.prom", "--json"];
    let child = workplace.start(&args);
    wait_for_metrics(&workplace, "run.prom");
    let deadline = Instant::now() + Duration::from_secs(60);
    while workplace.count("pgbench_history").await < 100 {
        assert!(Instant::now() < deadline, "no transactions arrive");
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = ProgramOutput::from_child(child);
    assert_eq!(ran.status.code(), Some(130), "{ran:#?}");
    let [accounts, tellers, branches, history] = sums(&workplace).await;
    assert_eq!((accounts, tellers, branches), (history, history, history));
    let report = ran.json();
    let answered = report["workloads"][0]["answered"].as_i64().unwrap();
    let committed = workplace.count("pgbench_history").await;
    assert!((answered..=answered + 16).contains(&committed), "{answered} reported, {committed} committed");

    let found = samples(&workplace.read("run.prom"));
    let sample = |name: &str| found[&format!("postgres_etl_query_{name}")];
    assert!((sample("running{workload=\"tpcb\"}") - 0.0).abs() < 1e-9);
    assert!((sample("answered_total{workload=\"tpcb\"}") - answered as f64).abs() < 1e-9);
    let median = sample("response_seconds{workload=\"tpcb\",quantile=\"0.5\"}");
    assert!((median - report["response_us"]["p50"].as_f64().unwrap() / 1e6).abs() < 1e-9, "{found:#?}");
}

#[tokio::test]
async fn metrics_count_errors_by_sqlstate() {
    let workplace = Workplace::new().await;
    let divide = ["query", "--sql", "SELECT 1 / ($1::int % 2)", "--arg", "sequence:1:10", "-n", "100"];
    let ran = workplace.run(&[&divide[..], &["--metrics-file", "run.prom"]].concat());
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let found = samples(&workplace.read("run.prom"));
    let name = "postgres_etl_query_errors_by_sqlstate_total{workload=\"--sql\",sqlstate=\"22012\"}";
    assert!((found[name] - 50.0).abs() < 1e-9, "{found:#?}");
    for (args, code, message) in [
        (&["--metrics-file", "no/run.prom"][..], 1, "no/run.prom"),
        (&["--metrics-file", "/dev/stdout"], 2, "--metrics-file: /dev/stdout is not a regular file"),
        (&["--metrics-file", "run.prom", "--runs", "2"], 2, "--metrics-file is for a single run"),
    ] {
        let refused = workplace.fail(&[&divide[..], args].concat(), code);
        assert!(refused.contains(message), "{refused}");
    }
    assert!(workplace.read("run.prom").contains("22012"), "a refused run leaves the file as it was");
}

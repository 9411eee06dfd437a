//! A primary and its standbys: where loads go, and what is said of standbys.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio_postgres::Client;

use crate::support::replicas::{self, Cluster};
use crate::support::workplace::{ProgramOutput, Workplace};

/// All of it over one cluster, which takes seconds to start. What changes it comes last.
#[tokio::test]
async fn a_primary_and_its_standbys() {
    if replicas::are_impossible() {
        return;
    }
    let mut cluster = Cluster::start();
    let workplace = Workplace::on(&cluster.primary()).await.csv("t.csv", "id\n1\n2\n3\n");
    workplace.execute("CREATE TABLE t (id int)").await;
    let workplace = loads_find_the_primary(&cluster, workplace).await;
    let workplace = standbys_accept_no_rows(&cluster, workplace).await;
    let workplace = a_read_only_primary_accepts_no_rows(&cluster, workplace).await;
    let workplace = loads_wait_for_standbys(&cluster, workplace).await;
    let workplace = queries_are_spread_over_hosts(&cluster, workplace);
    let workplace = the_host_that_differs_is_named(&cluster, workplace);
    queries_wait_for_the_log(&cluster, &workplace);
    a_run_survives_the_loss_and_the_promotion_of_standbys(&mut cluster, &workplace).await;
}

/// Wait until the standbys have replayed everything.
async fn until_replayed(cluster: &Cluster, standbys: &[usize]) {
    let primary = cluster.connect(0).await;
    let lsn: String =
        primary.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap().get(0);
    // A position at the end of a page is behind its header, so that only a further record reaches it.
    primary.batch_execute("SELECT pg_logical_emit_message(false, '', '')").await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    for standby in standbys {
        let client = cluster.connect(*standby).await;
        let sql = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
        while !client.query_one(sql, &[&lsn]).await.unwrap().get::<_, bool>(0) {
            assert!(Instant::now() < deadline, "the standby does not follow");
        }
    }
}

async fn loads_find_the_primary(cluster: &Cluster, workplace: Workplace) -> Workplace {
    let workplace = workplace.at(&cluster.url(&[1, 2, 0]));
    let load = ["load", "t.csv", "--json", "--table"];
    for args in [
        &["t", "--mode", "copy"][..],
        &["t", "--mode", "batch"],
        &["t", "--mode", "rows"],
        &["t", "--mode", "rows", "--autocommit"],
        &["t", "--connections", "2"],
        &["u", "--create"],
        &["t", "--import-id", "one"],
    ] {
        let server = &workplace.succeed(&[&load[..], args].concat()).json()["server"];
        assert_eq!((&server["port"], &server["standby"]), (&5501.into(), &false.into()), "{args:?}");
    }
    assert_eq!((workplace.count("t").await, workplace.count("u").await), (18, 3));
    let listed = workplace.succeed(&["imports", "--json"]).json();
    assert_eq!(listed["imports"][0]["id"], "one", "{listed:#}");
    workplace.succeed(&["imports", "--forget", "one"]);
    let checked = workplace.succeed(&["check", "t.csv", "--table", "t", "--json"]).json();
    assert_eq!((&checked["server"]["port"], &checked["read_only"]), (&5501.into(), &().into()));
    workplace
}

async fn standbys_accept_no_rows(cluster: &Cluster, workplace: Workplace) -> Workplace {
    until_replayed(cluster, &[1, 2]).await;
    let one = cluster.endpoint(1);
    let refused = format!("the server at {one} is a standby, which accepts no changes");
    let upstream = cluster.endpoint(0).replace(['[', ']'], "");
    let help = format!("connect to the primary; this one follows {upstream}");
    let load = ["load", "t.csv", "--table", "t"];
    // Chosen by the user, a standby is used even if there is a primary.
    let chosen = cluster.url(&[0, 1]) + "&target_session_attrs=standby";
    for url in [cluster.url(&[1]), chosen] {
        let ways: [&[&str]; 7] = [
            &["--mode", "copy"],
            &["--mode", "batch"],
            &["--mode", "rows"],
            &["--mode", "rows", "--autocommit"],
            &["--dry-run"],
            &["--import-id", "two"],
            &["--create"],
        ];
        for args in ways {
            let args = [&load, args, &["--database-url", &url]].concat();
            let error = workplace.fail(&args, 1);
            assert!(error.contains(&refused) && error.contains(&help), "{args:?}: {error}");
        }
    }
    let init = workplace.fail(&["query", "--init", "tpcb", "--database-url", &cluster.url(&[1])], 1);
    assert!(init.contains(&refused), "{init}");
    let none = workplace.fail(&[&load[..], &["--database-url", &cluster.url(&[1, 2])]].concat(), 4);
    assert!(
        none.contains(&format!("{one}: the server is a standby; {}: the", cluster.endpoint(2))),
        "{none}"
    );
    assert!(none.contains("help: only a primary accepts changes"), "{none}");

    let check = ["check", "t.csv", "--table", "t", "--database-url", &cluster.url(&[2, 1])];
    let checked = workplace.succeed(&check).stdout;
    let server = format!("server     WARN the server at {} is a standby, which", cluster.endpoint(2));
    assert!(checked.contains(&server) && checked.contains(", a standby, at"), "{checked}");
    let checked = workplace.succeed(&[&check[..], &["--json"]].concat()).json();
    assert_eq!((&checked["ok"], &checked["server"]["standby"]), (&true.into(), &true.into()));
    assert!(checked["read_only"]["help"].is_string(), "{checked:#}");
    workplace
}

async fn a_read_only_primary_accepts_no_rows(cluster: &Cluster, workplace: Workplace) -> Workplace {
    workplace.execute("ALTER ROLE postgres SET default_transaction_read_only = on").await;
    let url = cluster.url(&[0]);
    let refused = format!("transactions are read-only on the server at {}", cluster.endpoint(0));
    let load = ["load", "t.csv", "--table", "t", "--database-url", &url];
    let error = workplace.fail(&load, 1);
    assert!(error.contains(&refused), "{error}");
    let checked = workplace.succeed(&["check", "t.csv", "--table", "t", "--database-url", &url]).stdout;
    assert!(checked.contains(&format!("server     WARN {refused}")), "{checked}");
    // The remedy that the error gives.
    let mut command = workplace.command(&load);
    command.env("PGOPTIONS", "-c default_transaction_read_only=off");
    assert!(command.output().unwrap().status.success());
    workplace.execute("ALTER ROLE postgres RESET default_transaction_read_only").await;
    workplace
}

async fn loads_wait_for_standbys(cluster: &Cluster, workplace: Workplace) -> Workplace {
    let load = ["load", "t.csv", "--table", "t", "--wait-for-replicas=50s", "--json"];
    let report = workplace.succeed(&load).json();
    let standbys = report["replication"]["standbys"].as_array().unwrap();
    let names: Vec<&str> = standbys.iter().map(|standby| standby["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["one", "two"], "{report:#}");
    assert!(standbys.iter().all(|standby| standby["replayed_after_seconds"].is_f64()), "{report:#}");
    assert!(standbys.iter().all(|standby| standby["sync_state"] == "async"), "{report:#}");
    assert!(report["transactions"][0]["lsn"].is_string(), "{report:#}");
    // Without a further wait the rows are there.
    let rows = workplace.count("t").await;
    for standby in [1, 2] {
        let found = cluster.connect(standby).await.query_one("SELECT count(*) FROM t", &[]).await.unwrap();
        assert_eq!(found.get::<_, i64>(0), rows);
    }

    // Who may not see where they are is told so, at once.
    workplace.execute("CREATE ROLE loader LOGIN; GRANT INSERT, SELECT ON t TO loader").await;
    let as_loader = [&load[..], &["--username", "loader", "--no-analyze"]].concat();
    let ran = workplace.run(&as_loader);
    assert_eq!(ran.status.code(), Some(5), "{ran:#?}");
    assert!(
        ran.stderr.contains("role loader may not see its position; GRANT pg_monitor TO loader"),
        "{ran:#?}"
    );
    workplace.execute("GRANT pg_monitor TO loader").await;
    workplace.succeed(&as_loader);

    // A standby that does not replay, and one that is gone.
    let two = cluster.connect(2).await;
    two.batch_execute("SELECT pg_wal_replay_pause()").await.unwrap();
    let load_and_wait = || workplace.run(&["load", "t.csv", "--table", "t", "--wait-for-replicas=1s"]);
    let (mut late, deadline) = (load_and_wait(), Instant::now() + Duration::from_secs(60));
    // On a busy machine the other standby may need longer, too.
    while late.stdout.contains("  standby one, async: NOT KNOWN") && Instant::now() < deadline {
        late = load_and_wait();
    }
    assert_eq!(late.status.code(), Some(5), "{late:#?}");
    assert!(late.stdout.contains("  standby one, async: had replayed the load "), "{late:#?}");
    assert!(
        late.stdout.contains("  standby two, async: NOT KNOWN to have replayed the load: it had "),
        "{late:#?}"
    );
    assert!(late.stderr.contains("help: the rows are loaded and committed; only this failed"), "{late:#?}");
    two.batch_execute("SELECT pg_wal_replay_resume()").await.unwrap();
    drop(two);

    let dry = workplace.fail(&["load", "t.csv", "--table", "t", "--wait-for-replicas", "--dry-run"], 2);
    assert!(dry.contains("--wait-for-replicas is for rows that are committed"), "{dry}");
    let alone = Workplace::with_sql("CREATE TABLE t (id int)").await.csv("t.csv", "id\n1\n");
    let ran = alone.run(&load);
    assert_eq!(ran.status.code(), Some(5), "{ran:#?}");
    assert!(ran.stderr.contains("no standby is connected to the server"), "{ran:#?}");
    workplace
}

/// A query that says which server answered it.
const PORT: [&str; 3] = ["query", "--sql", "SELECT current_setting('port')"];

/// The same, one at a time on each connection, and so slow that no connection can answer all queries of a run before another
/// one has begun.
const SLOW_PORT: [&str; 5] =
    ["query", "--sql", "SELECT current_setting('port') FROM pg_sleep(0.01)", "-d", "1"];

/// What the report `key`s of every host have.
fn of_hosts(report: &Value, key: &str) -> Vec<Value> {
    report["hosts"].as_array().unwrap().iter().map(|host| host[key].clone()).collect()
}

fn queries_are_spread_over_hosts(cluster: &Cluster, workplace: Workplace) -> Workplace {
    let (all, standbys) = (vec![5501, 5502, 5503], vec![5502, 5503]);
    for (parameters, flags, ports) in [
        ("", &["--read-from", "replicas"][..], &standbys),
        ("&target_session_attrs=standby", &[], &standbys),
        ("&target_session_attrs=prefer-standby", &[], &standbys),
        ("&load_balance_hosts=random", &[], &all),
        ("", &["--read-from", "all"], &all),
    ] {
        let url = cluster.url(&[0, 1, 2]) + parameters;
        let run = ["-n", "120", "-c", "6", "--json", "--database-url", &url];
        let files = ["--metrics-file", "run.prom", "--html", "run.html"];
        let report = workplace.succeed(&[&SLOW_PORT[..], &run, &files, flags].concat()).json();
        assert_eq!(&of_hosts(&report, "port"), ports, "{parameters} {flags:?}");
        let connections = 6 / ports.len();
        assert_eq!(of_hosts(&report, "connections"), vec![connections; ports.len()], "{report:#}");
        let queries: Vec<u64> =
            of_hosts(&report, "queries").iter().map(|queries| queries.as_u64().unwrap()).collect();
        assert!(queries.iter().all(|queries| *queries > 0), "{report:#}");
        assert_eq!(queries.iter().sum::<u64>(), 120, "{report:#}");
        assert_eq!(report["load"]["hosts"], ports.len());
        for host in report["hosts"].as_array().unwrap() {
            let role = if host["port"] == 5501 { "primary" } else { "standby" };
            assert_eq!((&host["role"], &host["role_at_end"]), (&role.into(), &role.into()), "{host:#}");
            assert_eq!(host["lag"].is_object(), role == "standby", "{host:#}");
            assert!(host["response_us"].is_object() && host["bound"]["by"].is_string(), "{host:#}");
        }
        let (metrics, page) = (workplace.read("run.prom"), workplace.read("run.html"));
        for (port, queries) in ports.iter().zip(queries) {
            let endpoint = cluster.endpoint(usize::try_from(port - 5501).unwrap());
            let answered = format!("host=\"{endpoint}\"}} {queries}");
            let mut lines =
                metrics.lines().filter(|line| line.starts_with("postgres_etl_query_host_answered"));
            assert!(lines.any(|line| line.ends_with(&answered)), "{answered}: {metrics}");
            assert!(
                page.contains(&format!("<th scope=\"row\">{endpoint}</th>")),
                "{endpoint} is not on the page"
            );
        }
    }
    // Without a reason to spread them, all connections go to one host.
    for (hosts, flags, port) in
        [(&[1, 2, 0][..], &["--read-from", "primary"][..], 5501), (&[2, 0], &[], 5503)]
    {
        let run = ["-n", "100", "--json", "--database-url", &cluster.url(hosts)];
        let report = workplace.succeed(&[&PORT[..], &run, flags].concat()).json();
        assert_eq!((&report["server"]["port"], &report["hosts"]), (&port.into(), &Value::Null));
    }
    let none = ["--read-from", "replicas", "--database-url", &cluster.url(&[0])];
    let error = workplace.fail(&[&PORT[..], &none].concat(), 4);
    assert!(
        error.contains("the server is not a standby\n  help: replicas are wanted: add standbys"),
        "{error}"
    );
    workplace
}

fn the_host_that_differs_is_named(cluster: &Cluster, workplace: Workplace) -> Workplace {
    let url = cluster.url(&[1, 2]);
    let run = ["-n", "60", "-c", "2", "--read-from", "replicas", "--verify", "--database-url", &url];
    let ran = workplace.run(&[&SLOW_PORT[..], &run].concat());
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let two = cluster.endpoint(2);
    assert!(
        ran.stderr.contains(&format!("not as expected; first: --sql at {two}: different values")),
        "{ran:#?}"
    );
    let lines: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("  host ")).collect();
    assert!(lines[0].starts_with(&format!("  host     {}, a standby: 1 connection, ", cluster.endpoint(1))));
    assert!(!lines[0].contains("DO NOT MATCH") && lines[1].contains(" RESULTS DO NOT MATCH"), "{ran:#?}");
    let report = workplace.run(&[&SLOW_PORT[..], &run, &["--json"]].concat()).json();
    let [one, two] = &report["hosts"].as_array().unwrap()[..] else { panic!("{report:#}") };
    assert_eq!((&one["checked"]["different"], &one["checked"]["compared"]), (&0.into(), &one["queries"]));
    assert_eq!(
        (&two["checked"]["different"], &two["checked"]["compared"]),
        (&two["queries"], &two["queries"])
    );
    workplace
}

fn queries_wait_for_the_log(cluster: &Cluster, workplace: &Workplace) {
    let url = cluster.url(&[0, 1, 2]);
    // The table is on the standbys as soon as they have replayed the load, and not before.
    workplace.write("new.csv", "id\n7\n");
    let load = ["load", "new.csv", "--table", "fresh", "--create", "--json"];
    let loaded = workplace.succeed(&load).json();
    let lsn = loaded["transactions"][0]["lsn"].as_str().unwrap();
    let query = ["query", "--sql", "SELECT id FROM fresh", "--read-from", "all", "--database-url", &url];
    let run = ["-n", "30", "-c", "3", "--expect-value", "7", "--wait-for-lsn", lsn];
    workplace.succeed(&[&query[..], &run].concat());
    let late = ["--wait-for-lsn", "FFFFFF/0", "--wait-timeout", "10ms"];
    let error = workplace.fail(&[&query[..], &late].concat(), 4);
    assert!(error.contains("the server has not written its log up to FFFFFF/0, the position"), "{error}");
    let wrong = workplace.fail(&[&query[..], &["--wait-for-lsn", "now"]].concat(), 2);
    assert!(wrong.contains("--wait-for-lsn now is not a position in the write-ahead log"), "{wrong}");
}

/// Wait until `condition` holds on the server of `client`.
async fn until(client: &Client, condition: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !client.query_one(condition, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(Instant::now() < deadline, "not so after a minute: {condition}");
    }
}

async fn a_run_survives_the_loss_and_the_promotion_of_standbys(cluster: &mut Cluster, workplace: &Workplace) {
    let url = cluster.url(&[0, 1, 2]);
    let run = ["-c", "4", "-T", "10m", "--json", "--read-from", "replicas", "--database-url", &url];
    let child = workplace.start(&[&PORT[..], &run].concat());
    let (one, two) = (cluster.connect(1).await, cluster.connect(2).await);
    let sending = |number: u32, since: &str| {
        let sql = PORT[2].replace('\'', "''");
        let backends = "FROM pg_stat_activity WHERE application_name = 'postgres-etl'";
        format!(
            "SELECT count(*) >= {number} {backends} AND query = '{sql}' AND query_start > ({since} {backends})"
        )
    };
    // The connection that samples the server is the last one, and nothing is sent before it is open.
    until(&one, &sending(2, "SELECT max(backend_start)")).await;
    until(&two, &sending(2, "SELECT max(backend_start)")).await;
    drop(one);
    cluster.stop(1);
    // The connections go on with the other.
    until(&two, &sending(4, "SELECT min(backend_start)")).await;
    two.batch_execute("SELECT pg_promote()").await.unwrap();
    until(&two, "SELECT NOT pg_is_in_recovery()").await;
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = ProgramOutput::from_child(child);
    assert_eq!(ran.status.code(), Some(130), "{ran:#?}");
    let report = ran.json();
    let [one, two] = &report["hosts"].as_array().unwrap()[..] else { panic!("{report:#}") };
    assert_eq!((&one["role_at_end"], &two["role_at_end"]), (&Value::Null, &"primary".into()), "{report:#}");
    assert!(one["errors"].as_u64().unwrap() > 0 && two["errors"] == 0, "{report:#}");
    assert_eq!((&one["reconnections"], &two["reconnections"]), (&0.into(), &2.into()), "{report:#}");
    assert_eq!((&one["bound"]["by"], &report["bound"]["by"]), (&"unknown".into(), &"unknown".into()));

    // A host that is gone is not used, and the report says so.
    let run = ["-n", "100", "--read-from", "all", "--database-url", &url];
    let ran = workplace.succeed(&[&PORT[..], &run].concat());
    let gone = format!("{}: NOT USED: the socket does not exist", cluster.endpoint(1));
    assert!(ran.stdout.contains(&gone) && ran.stderr.contains("is not used: the socket"), "{ran:#?}");
    assert!(ran.stdout.contains(&format!("{}, a primary: ", cluster.endpoint(2))), "{ran:#?}");
}

//! `query --sync-every`: queries that share a Sync message.

use crate::support::workplace::Workplace;

#[tokio::test]
async fn queries_that_share_a_sync_cannot_write_and_failed_ones_are_counted_once() {
    let workload = |name: &str, sql: &str| {
        format!("[query.{name}]\nsql = \"{sql}\"\nargs = [{{ uniform = [1, 100] }}]\n")
    };
    let workloads = workload("writes", "SELECT write($1)")
        + &workload("inserts", "INSERT INTO persons VALUES ($1 + 1000) ON CONFLICT DO NOTHING")
        + &workload("divides", "SELECT 1 / ($1::int % 10)");
    let workplace = Workplace::with_sql(
        "CREATE TABLE persons (id int PRIMARY KEY); INSERT INTO persons SELECT generate_series(1, 100);
         CREATE FUNCTION write(n int) RETURNS int LANGUAGE sql AS 'INSERT INTO persons VALUES (-n) RETURNING id'",
    )
    .await
    .config(&workloads);
    let query = |more: &[&str]| workplace.run(&[&["--json", "query"], more].concat());

    let refused = query(&["writes", "-n", "50"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
    let message = &refused.stderr;
    assert!(message.contains("SQLSTATE 25006") && message.contains("--sync-every 1"), "{message}");

    let inserts = query(&["inserts", "-n", "50"]).json();
    assert_eq!((&inserts["load"]["sync_every"], &inserts["errors"]), (&1.into(), &0.into()));

    let ask = |every| query(&["divides", "-n", "2000", "-c", "2", "-d", "64", "--sync-every", every]).json();
    let (alone, shared) = (ask("1"), ask("32"));
    assert!(alone["errors"].as_u64() > Some(100), "{alone}");
    assert_eq!((&shared["errors"], &shared["queries"]), (&alone["errors"], &2000.into()));
    assert_eq!(shared["load"]["sync_every"], 32);
}

/// Queries go over the lane beside the driver, unless the report says why they do not.
#[tokio::test]
async fn why_queries_go_through_the_driver_is_reported() {
    let move_sql = "[query.move]\ntransaction = [{ sql = \"SELECT 1\" }, { sql = \"SELECT 2\" }]";
    let workplace = Workplace::new().await.config(move_sql);
    let sql = ["--sql", "SELECT 1"];
    for (flags, reason) in [
        (&sql[..], None),
        (
            &[&sql[..], &["--protocol", "unnamed"]].concat(),
            Some("the protocol is not that of prepared statements"),
        ),
        (&[&sql[..], &["--explain"]].concat(), Some("--explain looks at the plans of its statements")),
        (&["move"], Some("there are transactions")),
    ] {
        let report = workplace.succeed(&[&["query", "-n", "20", "--json"], flags].concat()).json();
        assert_eq!(report["load"]["through_driver"].as_str(), reason, "{flags:?}: {report:#}");
    }
}

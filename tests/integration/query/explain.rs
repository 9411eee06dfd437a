//! `query --explain`: the plans of the slowest queries.

use crate::support::workplace::Workplace;

#[tokio::test]
async fn the_slowest_arguments_are_explained() {
    let workplace = Workplace::with_sql(
            "CREATE TABLE numbers (id int PRIMARY KEY, n int); INSERT INTO numbers SELECT i, i FROM generate_series(1, 1000) i; ANALYZE numbers",
        )
        .await;
    let explain = ["-n", "20", "-c", "1", "--explain", "--json"];
    // The server's time decides: the queries queued after the slow one waited longer for their answers.
    let sleep = ["query", "--sql", "SELECT pg_sleep($1)", "--arg", "csv:pauses.csv:pause"];
    // So slow that no other query takes longer on a busy machine.
    workplace.write("pauses.csv", format!("pause\n0\n0\n0\n0.5\n{}", "0\n".repeat(16)));
    let report = workplace.succeed(&[&sleep[..], &explain[..], &["-d", "8"]].concat()).json();
    assert_eq!(report["plans"][0]["arguments"], "0.5", "{report:#}");
    let read = ["query", "--sql", "SELECT n FROM numbers WHERE id = $1", "--arg", "uniform:1:1000"];
    let report = workplace.succeed(&[&read[..], &explain[..]].concat()).json();
    let plan = &report["plans"][0];
    let lines: Vec<&str> =
        plan["plan"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(lines.iter().any(|line| line.contains("numbers_pkey")), "{plan:#}");
    assert!(lines.iter().any(|line| line.contains("Execution Time")), "{plan:#}");
    if workplace.client().query("SELECT generic_plans FROM pg_prepared_statements", &[]).await.is_ok() {
        // The server makes five custom plans before it considers a generic one.
        assert_eq!(plan["planned"], serde_json::json!({ "custom": 5, "generic": 15 }));
        let text = workplace.succeed(&[&read[..], &explain[..explain.len() - 1]].concat()).stdout;
        let switch = "custom plan 5 times, then generic plan 15 times";
        assert!(text.contains(switch), "{text}");
    }
    // EXPLAIN ANALYZE runs the statement once more, but its writes are rolled back.
    let write = ["query", "--sql", "UPDATE numbers SET n = n + 1 WHERE id = $1", "--arg", "7"];
    let report = workplace.succeed(&[&write[..], &explain[..]].concat()).json();
    assert!(report["plans"][0]["plan"][0].as_str().unwrap().contains("Update on numbers"), "{report:#}");
    // The statements of a transaction are explained in one transaction; a statement that cannot be explained does not
    // cost the report.
    workplace.write(
        "config.toml",
        r#"[query.both]
           transaction = [
             { sql = "INSERT INTO numbers VALUES (-1, 1)" },
             { sql = "SELECT 1 / count(*) FROM numbers WHERE id = -1" },
             { sql = "DELETE FROM numbers WHERE id = -1" },
           ]"#,
    );
    let report = workplace.succeed(&[&["query", "both"], &explain[..]].concat()).json();
    let plans = report["plans"].as_array().unwrap();
    assert!(plans.len() == 3 && plans.iter().all(|plan| plan["not_explained"].is_null()), "{report:#}");
    let report = workplace.succeed(&[&["query", "--sql", "SHOW work_mem"], &explain[..]].concat()).json();
    assert!(report["plans"][0]["not_explained"].as_str().unwrap().contains("syntax error"), "{report:#}");
    assert_eq!(workplace.value::<i32>("SELECT n FROM numbers WHERE id = 7").await, 27);
}

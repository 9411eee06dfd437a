//! `query`: several runs in search of something, plans, and runs that are kept and compared.

use crate::support::query::workplace;

#[tokio::test]
async fn a_sweep_makes_a_run_for_every_combination() {
    let (workplace, _) = workplace("").await;
    let sweep =
        ["query", "--sql", "SELECT 1", "-n", "50", "--sweep", "connections=1,3", "pipeline-depth=1,8,64"];
    let report = workplace.succeed(&[&["--json"], &sweep[..]].concat()).json();
    let points = report["points"].as_array().unwrap();
    let shapes: Vec<_> = points
        .iter()
        .map(|point| (point["connections"].as_u64().unwrap(), point["pipeline_depth"].as_u64().unwrap()))
        .collect();
    assert_eq!(shapes, [(1, 1), (1, 8), (1, 64), (3, 1), (3, 8), (3, 64)]);
    assert!(points.iter().all(|point| point["queries_per_second"].as_f64().unwrap() > 0.0), "{report:#}");
    let text = workplace.succeed(&sweep).stdout;
    assert!(text.contains("queries/s, by connections (down) and pipeline-depth (across)"), "{text}");
    assert!(text.contains("\nmost: "), "{text}");
    let one =
        workplace.succeed(&["query", "--sql", "SELECT 1", "--duration", "50ms", "--sweep", "rate=100,200"]);
    assert!(one.stdout.contains("            rate    queries/s"), "{}", one.stdout);
}

#[tokio::test]
async fn a_ramp_makes_a_run_for_every_rate() {
    let (workplace, _) = workplace("").await;
    let ramp = ["query", "--sql", "SELECT 1", "--ramp", "100:300:100", "--duration", "200ms", "--json"];
    let report = workplace.succeed(&ramp).json();
    let rates: Vec<f64> =
        report["points"].as_array().unwrap().iter().map(|point| point["rate"].as_f64().unwrap()).collect();
    assert_eq!((rates, &report["search"]), (vec![100.0, 200.0, 300.0], &"ramp".into()));
}

#[tokio::test]
async fn the_highest_rate_within_a_bound_is_found() {
    let (workplace, _) = workplace("").await;
    let find = [
        "query",
        "--sql",
        "SELECT pg_sleep(0.002)",
        "-c",
        "2",
        "--find-max",
        "--duration",
        "200ms",
        "--json",
    ];
    let report = workplace.succeed(&[&find[..], &["--p99", "10s"]].concat()).json();
    let highest = report["highest_rate"].as_f64().unwrap();
    // Two connections that take 2 ms for each query cannot do more than 1,000 a second.
    assert!((10.0..1100.0).contains(&highest), "{report:#}");
    let points = report["points"].as_array().unwrap();
    assert!(points.iter().any(|point| point["held"] == false), "{report:#}");
    assert!(points.is_sorted_by(|a, b| a["rate"].as_f64() <= b["rate"].as_f64()), "the curve is in order");
    let hopeless = workplace.succeed(&[&find[..find.len() - 1], &["--p99", "1ms"]].concat()).stdout;
    assert!(hopeless.contains("no rate from 1.0/s up kept its p99 within 1.00 ms"), "{hopeless}");
}

/// A rate at which nothing was answered in time has no percentiles that could be within any bound.
#[tokio::test]
async fn no_answer_holds_no_bound() {
    let (workplace, _) = workplace("").await;
    let find =
        ["query", "--sql", "SELECT pg_sleep(0.3)", "--find-max", "--p99", "5ms", "--duration", "100ms"];
    let report = workplace.succeed(&[&find[..], &["-c", "1", "--json"]].concat()).json();
    assert!(report["highest_rate"].is_null(), "{report:#}");
    let points = report["points"].as_array().unwrap();
    assert!(points[0]["rate"].is_null() && points.len() > 2, "the closed loop, and rates: {report:#}");
    assert!(points.iter().all(|point| point["held"] != true), "{report:#}");
    let text = workplace.succeed(&[&find[..], &["-c", "1"]].concat()).stdout;
    assert!(text.contains("closed loop") && text.contains("no rate from 1.0/s up kept its p99"), "{text}");
}

#[tokio::test]
async fn the_slowest_arguments_are_explained() {
    let (workplace, client) = workplace(
        "CREATE TABLE numbers (id int PRIMARY KEY, n int); INSERT INTO numbers SELECT i, i FROM generate_series(1, 1000) i; ANALYZE numbers",
    )
    .await;
    let explain = ["-n", "20", "-c", "1", "--explain", "--json"];
    // It is the server's time that counts: those behind the slow one waited longer for their answers.
    let sleep = ["query", "--sql", "SELECT pg_sleep($1)", "--arg", "csv:pauses.csv:pause"];
    workplace.write("pauses.csv", "pause\n0\n0\n0\n0.1\n0\n0\n0\n0\n");
    let report = workplace.succeed(&[&sleep[..], &explain[..], &["-d", "8"]].concat()).json();
    assert_eq!(report["plans"][0]["arguments"], "0.1", "{report:#}");
    let read = ["query", "--sql", "SELECT n FROM numbers WHERE id = $1", "--arg", "uniform:1:1000"];
    let report = workplace.succeed(&[&read[..], &explain[..]].concat()).json();
    let plan = &report["plans"][0];
    let lines: Vec<&str> =
        plan["plan"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(lines.iter().any(|line| line.contains("numbers_pkey")), "{plan:#}");
    assert!(lines.iter().any(|line| line.contains("Execution Time")), "{plan:#}");
    if client.query("SELECT generic_plans FROM pg_prepared_statements", &[]).await.is_ok() {
        // The server plans for the arguments five times before it considers one plan for all.
        assert_eq!(plan["planned"], serde_json::json!({ "custom": 5, "generic": 15 }));
        let text = workplace.succeed(&[&read[..], &explain[..explain.len() - 1]].concat()).stdout;
        let switch = "planned for its arguments 5 times, then with one plan for any arguments 15 times";
        assert!(text.contains(switch), "{text}");
    }
    // What is explained is run once more, but its writes do not stay.
    let write = ["query", "--sql", "UPDATE numbers SET n = n + 1 WHERE id = $1", "--arg", "7"];
    let report = workplace.succeed(&[&write[..], &explain[..]].concat()).json();
    assert!(report["plans"][0]["plan"][0].as_str().unwrap().contains("Update on numbers"), "{report:#}");
    // A transaction is explained as one; and what cannot be explained costs no report.
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
    let n: i32 = client.query_one("SELECT n FROM numbers WHERE id = 7", &[]).await.unwrap().get(0);
    assert_eq!(n, 27);
}

#[tokio::test]
async fn a_run_is_compared_with_one_that_was_kept() {
    let slowly = |seconds: f64| {
        format!("CREATE OR REPLACE FUNCTION slow() RETURNS void LANGUAGE sql AS 'SELECT pg_sleep({seconds})'")
    };
    let (workplace, client) = workplace(&slowly(0.001)).await;
    let run = |more: &[&str]| {
        let base = ["query", "--sql", "SELECT slow()", "-n", "150", "-c", "1", "-d", "1"];
        workplace.run(&[&base[..], more].concat())
    };
    assert!(run(&["--save", "kept.json"]).status.success());
    client.batch_execute(&slowly(0.005)).await.unwrap();
    let slower = run(&["--baseline", "kept.json", "--fail-if", "slower:5%", "--fail-if", "slower:95%"]);
    assert_eq!(slower.status.code(), Some(1), "{slower:#?}");
    assert!(slower.stderr.starts_with("error: rate is "), "{slower:#?}");
    assert_eq!(slower.stderr.lines().count(), 1, "{slower:#?}");
    assert!(slower.stdout.contains("  against  kept.json"), "{slower:#?}");
    let told = run(&["--baseline", "kept.json", "--seed", "2", "--json"]);
    let comparison = &told.json()["comparison"];
    assert!(told.status.success(), "{told:#?}");
    assert_eq!(comparison["different_settings"][0], "seed 2 (baseline 1)");
    let rate = &comparison["ratios"][0];
    assert!(rate["significant"] == true && rate["ratio"].as_f64().unwrap() < 0.9, "{comparison:#}");

    let few = ["query", "--sql", "SELECT slow()", "-n", "5", "-c", "1", "--baseline", "kept.json"];
    let nothing = workplace.run(&[&few[..], &["--fail-if", "slower:5%"]].concat());
    assert!(nothing.status.code() == Some(1) && nothing.stderr.contains("cannot be judged"), "{nothing:#?}");
    workplace.write("other.json", "{}");
    let wrong = run(&["--baseline", "other.json"]);
    assert!(wrong.status.code() == Some(1) && wrong.stderr.contains("is not a saved run"), "{wrong:#?}");
    assert_eq!(run(&["--baseline", "missing.json"]).status.code(), Some(1));
    // A run without answers does not take the place of one that has some.
    let failed = ["query", "--sql", "SELECT 1/0", "-n", "5", "--save", "kept.json"];
    assert!(workplace.run(&failed).stderr.contains("the run is not kept"));
    assert!(run(&["--baseline", "kept.json"]).stdout.contains("rate "));
    for (path, code) in [("nowhere/kept.json", 1), ("/dev/null", 2), ("/dev/stdout", 2)] {
        let refused = run(&["--save", path]);
        assert!(refused.status.code() == Some(code) && refused.stdout.is_empty(), "{refused:#?}");
    }
}

/// One query in 33 is slow, and the 99th percentile is one of these, so that the others may take what they need: what
/// is told of it depends on how slow these are, not on how busy the machine is.
#[tokio::test]
async fn a_run_whose_slowest_got_slower_fails() {
    let take = |seconds: f64| {
        format!(
            "CREATE OR REPLACE FUNCTION work(n int) RETURNS void LANGUAGE sql
             AS 'SELECT pg_sleep(CASE n WHEN 1 THEN {seconds} ELSE 0.002 END)'"
        )
    };
    let (workplace, client) = workplace(&take(0.1)).await;
    let run = |more: &[&str]| {
        let query = ["query", "--sql", "SELECT work($1)", "--arg", "sequence:1:33", "-n", "2000"];
        workplace.run(&[&query[..], &["-c", "10", "-d", "1"], more].concat())
    };
    let kept = run(&["--save", "fast.json"]);
    assert!(kept.status.success(), "{kept:#?}");
    // It is the same again.
    let same = run(&["--baseline", "fast.json", "--fail-if", "p99:200%"]);
    assert!(same.status.success() && same.stderr.is_empty(), "{same:#?}");

    client.batch_execute(&take(0.5)).await.unwrap();
    let fail_if = ["--fail-if", "p99:200%", "--fail-if", "p99:1000%"];
    let slower = run(&[&["--json", "--baseline", "fast.json", "--save", "slow.json"], &fail_if[..]].concat());
    assert_eq!(slower.status.code(), Some(1), "{slower:#?}");
    let report = slower.json();
    assert_eq!(report["errors"], 0, "{report:#}");
    let comparison = &report["comparison"];
    let p99 = comparison["ratios"].as_array().unwrap().iter().find(|ratio| ratio["figure"] == "p99").unwrap();
    assert!(p99["significant"] == true && p99["ratio"].as_f64().unwrap() > 3.0, "{comparison:#}");
    assert!(
        p99["baseline"].as_f64().unwrap() >= 1e5 && p99["now"].as_f64().unwrap() >= 5e5,
        "{comparison:#}"
    );
    let worse = format!("{:.1}", (p99["ratio"].as_f64().unwrap() - 1.0) * 100.0);
    let failure = format!("p99 is {worse} % worse than the baseline, more than --fail-if p99:200% allows");
    assert_eq!(comparison["failures"], serde_json::json!([failure]), "{comparison:#}");
    assert_eq!(slower.stderr, format!("error: {failure}\n"));

    // Faster is not worse, by however much it differs.
    client.batch_execute(&take(0.1)).await.unwrap();
    let faster = run(&["--json", "--baseline", "slow.json", "--fail-if", "p99:0%"]);
    assert!(faster.status.success() && faster.stderr.is_empty(), "{faster:#?}");
    assert_eq!(faster.json()["comparison"]["failures"], serde_json::json!([]));
}

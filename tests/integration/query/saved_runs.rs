//! `query --save`, `--baseline` and `--fail-if`: saved runs and comparisons with them.

use crate::support::workplace::Workplace;

#[tokio::test]
async fn a_run_is_compared_with_a_saved_one() {
    let slowly = |seconds: f64| {
        format!("CREATE OR REPLACE FUNCTION slow() RETURNS void LANGUAGE sql AS 'SELECT pg_sleep({seconds})'")
    };
    let workplace = Workplace::with_sql(&slowly(0.001)).await;
    let run = |more: &[&str]| {
        let base = ["query", "--sql", "SELECT slow()", "-n", "150", "-c", "1", "-d", "1"];
        workplace.run(&[&base[..], more].concat())
    };
    assert!(run(&["--save", "saved.json"]).status.success());
    workplace.execute(&slowly(0.005)).await;
    // However large the difference, one run says nothing of what differs from run to run.
    let slower = run(&["--baseline", "saved.json"]);
    assert!(slower.status.success() && slower.stderr.is_empty(), "{slower:#?}");
    assert!(slower.stdout.contains("  against  saved.json\n"), "{slower:#?}");
    let note = "one run: not enough to tell change from noise; use --runs";
    assert!(slower.stdout.contains(note), "{slower:#?}");
    let told = run(&["--baseline", "saved.json", "--seed", "2", "--json"]);
    let comparison = &told.json()["comparison"];
    assert!(told.status.success(), "{told:#?}");
    assert_eq!(comparison["different_settings"][0], "seed 2 (baseline 1)");
    assert_eq!(comparison["basis"], "within-runs");
    assert!(comparison["note"].as_str().unwrap().starts_with(note), "{comparison:#}");
    let ratios = comparison["ratios"].as_array().unwrap();
    assert!(ratios[0]["ratio"].as_f64().unwrap() < 0.9, "{comparison:#}");
    assert!(ratios.iter().all(|ratio| ratio["significant"] == false), "{comparison:#}");
    // Before anything is measured.
    for (runs, code) in [(&[][..], 2), (&["--runs", "5"], 1)] {
        let judged = run(&[&["--baseline", "saved.json", "--fail-if", "slower:5%"], runs].concat());
        assert!(judged.status.code() == Some(code) && judged.stdout.is_empty(), "{judged:#?}");
        assert!(judged.stderr.contains("--fail-if needs 5 runs or more on both sides"), "{judged:#?}");
        assert!(judged.stderr.contains("--runs 5 or more"), "{judged:#?}");
    }
    let other = workplace.run(&["query", "--sql", "SELECT 2", "-n", "5", "--baseline", "saved.json"]);
    assert!(other.status.code() == Some(2) && other.stdout.is_empty(), "{other:#?}");
    let both = "it measured `SELECT slow()`, and this run would measure `SELECT 2`";
    assert!(other.stderr.contains(both), "{other:#?}");
    for (content, reason) in [
        (&b"{}"[..], "missing field"),
        (b"\x1f\x8b\xff", "it is not JSON"),
        (br#"{"command": "load"}"#, "it is the report of a load, as --receipt writes"),
        (br#"{"command": "query"}"#, "--save writes runs"),
    ] {
        std::fs::write(workplace.path("other.json"), content).unwrap();
        let wrong = run(&["--baseline", "other.json"]);
        assert!(wrong.status.code() == Some(1) && wrong.stderr.contains("is not a saved run"), "{wrong:#?}");
        assert!(wrong.stderr.contains(reason), "{wrong:#?}");
    }
    assert_eq!(run(&["--baseline", "missing.json"]).status.code(), Some(1));
    // A run without answers does not overwrite one that has some.
    let failed = ["query", "--sql", "SELECT 1/0", "-n", "5", "--save", "saved.json"];
    assert!(workplace.run(&failed).stderr.contains("the run is not saved"));
    assert!(run(&["--baseline", "saved.json"]).stdout.contains("rate "));
    for (path, code) in [("nowhere/saved.json", 1), ("/dev/null", 2), ("/dev/stdout", 2)] {
        let refused = run(&["--save", path]);
        assert!(refused.status.code() == Some(code) && refused.stdout.is_empty(), "{refused:#?}");
    }
}

/// One query in 33 is slow, so the 99th percentile is the latency of a slow one: the comparison depends on how slow
/// these are, not on how busy the machine is.
#[tokio::test]
async fn runs_whose_slowest_queries_got_slower_fail() {
    let take = |seconds: f64| {
        format!(
            "CREATE OR REPLACE FUNCTION work(n int) RETURNS void LANGUAGE sql
             AS 'SELECT pg_sleep(CASE n WHEN 1 THEN {seconds} ELSE 0.002 END)'"
        )
    };
    let workplace = Workplace::with_sql(&take(0.1)).await;
    let run = |more: &[&str]| {
        let query = ["query", "--sql", "SELECT work($1)", "--arg", "sequence:1:33", "-n", "330"];
        workplace.run(&[&query[..], &["-c", "10", "-d", "1", "--runs", "5"], more].concat())
    };
    let fast = run(&["--save", "fast.json"]);
    assert!(fast.status.success(), "{fast:#?}");
    // An unchanged server passes.
    let same = run(&["--baseline", "fast.json", "--fail-if", "p99:200%"]);
    assert!(same.status.success() && same.stderr.is_empty(), "{same:#?}");
    assert!(same.stdout.contains("--fail-if p99:200%: "), "{same:#?}");

    workplace.execute(&take(0.5)).await;
    let fail_if = ["--fail-if", "p99:200%", "--fail-if", "p99:1000%"];
    let slower = run(&[&["--json", "--baseline", "fast.json", "--save", "slow.json"], &fail_if[..]].concat());
    assert_eq!(slower.status.code(), Some(1), "{slower:#?}");
    let report = slower.json();
    let comparison = &report["comparison"];
    assert_eq!(comparison["basis"], "between-runs");
    assert_eq!((&comparison["runs"], &comparison["baseline_runs"]), (&5.into(), &5.into()), "{comparison:#}");
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

    // A faster server is never worse, however large the difference.
    workplace.execute(&take(0.1)).await;
    let faster = run(&["--json", "--baseline", "slow.json", "--fail-if", "p99:0%"]);
    assert!(faster.status.success() && faster.stderr.is_empty(), "{faster:#?}");
    assert_eq!(faster.json()["comparison"]["failures"], serde_json::json!([]));

    // What was saved is what was reported.
    let saved = workplace.read_json("slow.json");
    let saved: Vec<&serde_json::Value> =
        saved["runs"].as_array().unwrap().iter().map(|run| &run["report"]).collect();
    let reported: Vec<&serde_json::Value> = report["runs"].as_array().unwrap().iter().collect();
    assert_eq!(saved, reported);
}

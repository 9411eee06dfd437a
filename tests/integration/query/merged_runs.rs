//! `report --merge`: saved runs of several machines as one.

use serde_json::Value;

use crate::support::workplace::{ProgramOutput, Workplace};

/// The value of the histogram `counts` below or at which `share` of its latencies are, in nanoseconds.
fn quantile(counts: &[(u64, u64)], share: f64) -> f64 {
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let wanted = ((total as f64 * share).ceil() as u64).max(1);
    let mut below = 0;
    let found = counts.iter().find(|(_, count)| {
        below += count;
        below >= wanted
    });
    found.unwrap().0 as f64
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[tokio::test]
#[expect(clippy::float_cmp, reason = "counts are whole, and the times are of one form")]
async fn two_runs_at_the_same_time_are_merged_to_one() {
    // Until the test opens the gate, every query waits: both runs have begun then.
    let workplace = Workplace::with_sql(
        "CREATE FUNCTION passed(int) RETURNS int LANGUAGE sql AS
         'SELECT $1 FROM (SELECT pg_advisory_xact_lock_shared(7)) gate'",
    )
    .await;
    let gate = workplace.client();
    gate.batch_execute("SELECT pg_advisory_lock(7)").await.unwrap();
    let query =
        ["query", "--sql", "SELECT 1 / (passed($1) % 50)", "--arg", "uniform:1:100", "--max-errors", "5000"];
    let run = |name: &str, more: &[&str]| {
        workplace.start(&[&query[..], &["--sync-every", "1", "-d", "2", "--save", name], more].concat())
    };
    let runs =
        [run("a.json", &["-n", "3000", "-c", "2"]), run("b.json", &["-n", "2000", "-c", "3", "--seed", "2"])];
    let waiting = "SELECT count(DISTINCT pid) = 5 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while !gate.query_one(waiting, &[]).await.unwrap().get::<_, bool>(0) {
        tokio::task::yield_now().await;
    }
    gate.batch_execute("SELECT pg_advisory_unlock(7)").await.unwrap();
    for run in runs {
        let run = ProgramOutput::from_child(run);
        assert!(run.status.success(), "{run:#?}");
    }
    let merged = workplace.succeed(&["report", "a.json", "b.json", "--merge", "--json"]).json();
    let saved = [workplace.read_json("a.json"), workplace.read_json("b.json")];
    let sum = |pointer: &str| saved.iter().map(|run| number(run.pointer(pointer).unwrap())).sum::<f64>();
    for key in ["queries", "errors", "retries"] {
        assert_eq!(number(&merged[key]), sum(&format!("/report/{key}")), "{key}");
    }
    assert!(number(&merged["errors"]) > 0.0 && merged["queries"] == 5000 && merged["connections"] == 5);
    let division = "/errors_by_sqlstate/22012/count";
    assert_eq!(number(merged.pointer(division).unwrap()), sum(&format!("/report{division}")));
    assert_eq!(number(&merged["workloads"][0]["answered"]), sum("/report/workloads/0/answered"));

    for (time, samples) in
        [("response_us", "response_ns"), ("waiting_us", "waiting_ns"), ("server_us", "server_ns")]
    {
        let pairs = saved.iter().flat_map(|run| run["samples"][samples].as_array().unwrap());
        let mut counts: Vec<(u64, u64)> =
            pairs.map(|pair| (pair[0].as_u64().unwrap(), pair[1].as_u64().unwrap())).collect();
        counts.sort_unstable();
        for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
            let expected = (quantile(&counts, share) / 100.0).round() / 10.0;
            assert_eq!(number(&merged[time][name]), expected, "{time} {name}");
        }
    }
    // Times of one form compare as texts.
    let times = |key: &str| saved.each_ref().map(|run| run["report"][key].as_str().unwrap().to_owned());
    assert_eq!(merged["common_from"], *times("started_at").iter().max().unwrap());
    assert_eq!(merged["common_to"], *times("ended_at").iter().min().unwrap());
    let rates =
        merged["runs"].as_array().unwrap().iter().map(|run| number(&run["common_queries_per_second"]));
    let rate = number(&merged["queries_per_second"]);
    assert!((rates.sum::<f64>() / rate - 1.0).abs() < 1e-9, "{merged:#}");
    let in_common = rate * number(&merged["common_seconds"]);
    let answered = number(&merged["queries"]) - number(&merged["errors"]);
    assert!(in_common > 0.0 && in_common <= answered + 1e-6, "{in_common} of {answered}");
    assert_eq!(merged["note"], Value::Null, "the seeds differ");

    let text = workplace.succeed(&["report", "a.json", "b.json", "--merge"]).stdout;
    for part in [
        "of 5,000 queries answered in 2 runs; ",
        "\n  run      b.json: 3 connections, seed 2, ",
        "\n  setup    5 connections, up to 2 queries",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let mut twin = workplace.read_json("a.json");
    twin["report"]["reconnections"] = 1.into();
    workplace.write("twin.json", twin.to_string());
    let same = workplace.succeed(&["report", "a.json", "twin.json", "--merge"]).stdout;
    assert!(same.contains("a.json and twin.json sent the same arguments in the same order"), "{same}");

    refusals(&workplace, &query);
}

/// What cannot be merged with the run in `a.json`, which is like `query`.
fn refusals(workplace: &Workplace, query: &[&str]) {
    let save = |name: &str, more: &[&str]| {
        workplace.succeed(&[query, &["-n", "100", "--save", name], more].concat());
    };
    let alike = ["--sync-every", "1", "-d", "2"];
    save("later.json", &alike);
    save("deeper.json", &["--sync-every", "1", "-d", "4"]);
    save("several.json", &[&alike[..], &["--runs", "2"]].concat());
    workplace.succeed(&[
        "query",
        "--sql",
        "SELECT 1",
        "--sync-every",
        "1",
        "-d",
        "2",
        "-n",
        "9",
        "--save",
        "other.json",
    ]);
    let mut old = workplace.read_json("a.json");
    old["report"].as_object_mut().unwrap().remove("started_at");
    workplace.write("old.json", old.to_string());
    for (file, code, message) in [
        ("later.json", 1, "later.json began at 20"),
        ("deeper.json", 2, "pipeline_depth is 2 in the first, and 4 in the second"),
        ("other.json", 2, "a workload is {"),
        ("several.json", 2, "several.json has 2 runs"),
        ("old.json", 1, "did not save when a run began"),
        ("a.json", 2, "a.json and a.json hold the same run"),
    ] {
        let error = workplace.fail(&["report", "a.json", file, "--merge"], code);
        assert!(error.contains(message), "{file}: {error}");
    }
    let error = workplace.fail(&["report", "a.json", "--merge"], 2);
    assert!(error.contains("--merge needs two runs or more"), "{error}");
    workplace.fail(&["report", "a.json", "later.json", "--merge", "--html", "page.html"], 2);
}

//! Pages of small documents: well-formed, self-contained, and without markup of the documents' own.

use serde_json::{Value, json};

use super::*;
use crate::cli::bench::report::BenchReport;

const BENCH: &str = include_str!("../../../tests/integration/page/bench.json");

/// Text that would be markup, a script or a request if it were not escaped.
const HOSTILE: &str = r#"<script>alert("1")</script>&'"><img src=x onerror=y>]]>"#;

fn bench() -> BenchReport {
    serde_json::from_str(BENCH).unwrap()
}

fn run() -> Value {
    let times = json!({"mean": 210.0, "p50": 180.0, "p90": 350.0, "p95": 420.0, "p99": 900.0, "p999": 2100.0, "max": 5e3});
    let second = |number: u64| json!({"second": number, "answered": 5000 - number, "errors": 0, "p50_us": 1.0, "p99_us": 900.0});
    json!({
        "command": "query", "interrupted": false, "ended_by": null,
        "workloads": [{"name": "by-id", "statements": [{"sql": "SELECT 1"}], "answered": 25_000, "errors": 0, "response_us": times}],
        "queries": 25_000, "errors": 0, "seconds": 5.0, "queries_per_second": 5000.0, "rate_interval": {"low": 4900.0, "high": 5100.0},
        "response_us": times, "service_us": null, "waiting_us": times, "server_us": times,
        "series": (0..5).map(second).collect::<Vec<_>>(),
        "load": {"connections": 4, "pipeline_depth": 8, "rate": null},
        "bound": {"sentence": "the server used all cores"}, "table": {"name": "persons", "rows": 1000},
        "server": {"version": "17.2", "address": null, "pooler": false},
        "comparison": {"baseline": "before.json", "different_settings": ["seed 2 (baseline 1)"], "ratios": [
            {"figure": "rate", "baseline": 4000.0, "now": 5000.0, "ratio": 1.25, "interval": {"low": 1.2, "high": 1.3}, "significant": true},
            {"figure": "p99", "baseline": 890.0, "now": 900.0, "ratio": 1.01, "interval": null, "significant": false},
        ]},
    })
}

/// Three runs, and three of another side, compared on this `basis`.
fn runs(basis: &str) -> Value {
    let at = |rate: f64| {
        let mut run = run();
        (run["queries_per_second"], run["comparison"]) = (rate.into(), Value::Null);
        run
    };
    let runs = [5000.0, 5200.0, 4800.0].map(at);
    let mut comparison = run()["comparison"].clone();
    comparison["basis"] = basis.into();
    (comparison["runs"], comparison["baseline_runs"]) = (3.into(), 3.into());
    json!({"command": "query", "interrupted": false, "ended_by": null, "requested_runs": 4, "runs": runs,
           "against": (basis == "pairs").then(|| json!({"name": "SELECT 2", "runs": runs})), "comparison": comparison})
}

fn load() -> Value {
    json!({
        "command": "load", "mode": "copy", "table": "persons", "path": "persons.csv", "rows_read": 1000, "rows_loaded": 999,
        "rows_rejected": 1, "seconds": 0.5, "failed_afterwards": ["ANALYZE failed"],
        "phases": {"prepare_seconds": 0.1, "write_seconds": 0.3, "finish_seconds": 0.0, "commit_seconds": 0.1, "analyze_seconds": 0.2},
        "files": [{"path": "persons.csv", "bytes": 5000, "sha256": "00ff"}],
        "columns": [{"name": "id", "type": "integer", "format": "binary", "text_from": null}],
        "server": {"version": "17.2"},
    })
}

fn search(axes: &Value, rate: Option<f64>) -> Value {
    let point = |connections: u64, depth: u64| {
        json!({"connections": connections, "pipeline_depth": depth, "rate": rate.map(|rate| rate * connections as f64),
               "queries_per_second": connections * depth * 1000, "mean_us": 90.0, "p99_us": 100 * depth, "errors": 0,
               "kept": true, "held": null, "bound": "client"})
    };
    json!({"command": "query", "search": "sweep", "workloads": ["by-id"], "axes": axes,
           "points": [point(1, 1), point(1, 8), point(4, 1), point(4, 8)],
           "p99_bound_us": rate.map(|_| 500.0), "highest_rate": rate, "ended_by": null, "server": {}})
}

fn page(documents: &[Value]) -> String {
    let documents: Vec<Document> = documents.iter().map(Document::from_report).collect();
    render(&documents).0
}

fn bench_page(report: &BenchReport) -> String {
    render(&[Document::from_report(report)]).0
}

/// Every string of `value` with hostile text after it, except where the kind of document is said.
fn poisoned(value: &mut Value) {
    match value {
        Value::String(text) => text.push_str(HOSTILE),
        Value::Array(items) => items.iter_mut().for_each(poisoned),
        Value::Object(map) => {
            let kinds = ["command", "kind", "contender", "baseline", "name", "setting"];
            map.iter_mut()
                .filter(|(key, _)| !kinds.contains(&key.as_str()))
                .for_each(|(_, value)| poisoned(value));
        }
        _ => {}
    }
}

/// Check that `page` is well-formed: tags are balanced, attributes are quoted and differ, references are known.
fn check_well_formed(page: &str) {
    let (mut open, mut rest) = (Vec::new(), page.strip_prefix("<!DOCTYPE html>").unwrap());
    let mut ids = std::collections::BTreeSet::new();
    while let Some(at) = rest.find('<') {
        check_text(&rest[..at]);
        let (tag, after) = rest[at + 1..].split_once('>').expect("a tag is closed");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "before {rest:.80}");
            continue;
        }
        let (tag, is_empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
        for (name, value) in attributes_of(attributes) {
            check_text(value);
            assert!(!name.starts_with("on"), "{tag}");
            if name == "id" {
                assert!(ids.insert(value), "{value} is the id of several elements");
            }
        }
        if name == "style" {
            rest = rest.split_once("</style>").expect("the style ends").1;
        } else if !is_empty {
            open.push(name);
        }
    }
    check_text(rest);
    assert_eq!(open, Vec::<&str>::new());
}

/// The names and values in `a="1" b="2"`.
fn attributes_of(mut attributes: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    while !attributes.is_empty() {
        let (name, rest) = attributes.split_once("=\"").expect("an attribute has a quoted value");
        let (value, rest) = rest.split_once('"').expect("the quote ends");
        assert!(found.iter().all(|(other, _)| *other != name), "{name} comes twice");
        found.push((name, value));
        attributes = rest.trim_start();
    }
    found
}

fn check_text(text: &str) {
    assert!(!text.contains(['<', '>']) && !text.contains("NaN") && !text.contains("inf\""), "{text}");
    assert!(text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()), "{text:?}");
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        assert!(known.iter().any(|known| text[at..].starts_with(known)), "{:.20}", &text[at..]);
    }
}

/// Nothing in `page` makes a browser run or load anything.
fn check_self_contained(page: &str) {
    for forbidden in
        ["<script", "http:", "https:", "src=\"", "href=", "@import", "url(", "<img", "<link", "<iframe"]
    {
        assert!(!page.to_lowercase().contains(forbidden), "{forbidden}");
    }
}

fn every_page() -> Vec<(&'static str, String, usize)> {
    let axes = json!([{"setting": "connections", "values": [1, 4]}, {"setting": "pipeline-depth", "values": [1, 8]}]);
    let one = json!([{"setting": "connections", "values": [1, 4]}]);
    vec![
        ("bench", bench_page(&bench()), 8),
        ("query", page(&[run()]), 3),
        ("pairs of runs", page(&[runs("pairs")]), 5),
        ("runs", page(&[runs("between-runs")]), 4),
        ("load", page(&[load()]), 1),
        ("sweep", page(&[search(&axes, None)]), 2),
        ("sweep of one setting", page(&[search(&one, None)]), 2),
        ("find-max", page(&[search(&json!([]), Some(100.0))]), 1),
        ("several", page(&[run(), load(), run(), load(), search(&axes, None)]), 12),
        ("none", page(&[]), 0),
    ]
}

#[test]
fn pages_are_well_formed_and_self_contained() {
    for (name, page, figures) in every_page() {
        check_well_formed(&page);
        check_self_contained(&page);
        assert_eq!(page.matches("<figure ").count(), figures, "{name}");
        // Each is drawn for wide windows and for phones, named and described, and has a table.
        for part in ["<svg class=\"wide\"", "<svg class=\"narrow\"", "The figures behind this chart"] {
            assert_eq!(page.matches(part).count(), figures, "{name}: {part}");
        }
        assert_eq!(page.matches("<title id=").count(), 2 * figures, "{name}");
        assert_eq!(page.matches("<desc id=").count(), 2 * figures, "{name}");
        assert_eq!(page.matches("<p class=\"verdict\"></p>").count(), 0, "{name}: a chart without a verdict");
    }
}

#[test]
fn names_from_outside_are_text() {
    let mut documents = [run(), load()];
    documents.iter_mut().for_each(poisoned);
    documents[1]["table"] = HOSTILE.into();
    let mut whole: Value = serde_json::from_str(BENCH).unwrap();
    poisoned(&mut whole);
    let report = serde_json::from_value(whole).unwrap();
    for page in [page(&documents), bench_page(&report)] {
        check_well_formed(&page);
        check_self_contained(&page.replace("src=x", ""));
        assert!(page.contains("&lt;script&gt;"));
    }
}

/// A report may be damaged, or written by hand.
#[test]
fn absurd_figures_make_a_page_all_the_same() {
    for absurd in [0.0, -1.0, 1e308, 5e-324] {
        let mut report = bench();
        for result in report.sections.iter_mut().flat_map(|section| &mut section.results) {
            result.rate.iter_mut().for_each(|rate| rate.median = absurd);
            (result.ratio, result.ratio_interval) = (Some(absurd), Some((absurd, 1e300)));
            for run in &mut result.runs {
                run.seconds = absurd;
                run.phases.values_mut().for_each(|phase| *phase = absurd);
                run.latency_us.values_mut().for_each(|time| *time = absurd);
            }
        }
        check_well_formed(&bench_page(&report));
        let mut run = run();
        (run["seconds"], run["response_us"]["p99"]) = (absurd.into(), absurd.into());
        run["series"][1]["p99_us"] = absurd.into();
        run["comparison"]["ratios"][0]["ratio"] = absurd.into();
        check_well_formed(&page(&[run]));
    }
    let mut report = bench();
    report.sections.iter_mut().for_each(|section| section.results.clear());
    check_well_formed(&bench_page(&report));
}

#[test]
fn verdicts_say_what_the_figures_say() {
    let page = bench_page(&bench());
    for verdict in [
        "postgres-etl copy is the fastest: ",
        "psql \\copy failed (load 1,000 rows): it left 999 of 1,000 rows",
        "postgres-etl query is clearly the fastest in 6 of 9 settings",
        "Its highest rate is ",
    ] {
        assert!(page.contains(verdict), "{verdict}");
    }
    let page = super::tests::page(&[run()]);
    assert!(page.contains(
        "Half of the queries took at most 180 µs, and 99\u{a0}% at most 900 µs: 5.00 times as long."
    ));
    assert!(page.contains("Significantly different from the baseline: rate 1.25×."));
    assert!(page.contains("The rate stayed between 4,996 and 5,000 queries/s."));
}

#[test]
fn several_runs_are_shown_with_their_spread_and_their_comparison() {
    let spread = "3 runs: median 5,000 queries/s (4,800 to 5,200)";
    for (basis, parts) in [
        ("pairs", [&format!("by-id: {spread}; SELECT 2: {spread}."), "Against before.json, 3 pairs of runs"]),
        ("between-runs", [spread, "Against before.json, 3 runs with 3"]),
    ] {
        let page = page(&[runs(basis)]);
        let all = ["3 of 4 runs are complete.", "Significantly different from the baseline: rate 1.25×."];
        for part in parts.into_iter().chain(all) {
            assert!(page.contains(part), "{basis}: {part}");
        }
    }
    let of_sides = page(&[runs("pairs")]);
    assert!(of_sides.contains("Of each side, this is the run") && !of_sides.contains("The lowest p99"));
    let saved: Vec<Value> = [1000.0, 3000.0, 2000.0]
        .map(|rate| {
            let report = json!({"queries": 9, "errors": 0, "seconds": 1.0, "queries_per_second": rate});
            json!({"report": report, "samples": {"response_ns": [[1000, 9]]}})
        })
        .into();
    assert!(page(&[json!({"runs": saved})]).contains("3 runs: median 2,000 queries/s (1,000 to 3,000)"));
}

/// A single run says nothing of what differs from run to run.
#[test]
fn of_a_single_run_no_verdict_is_given() {
    let mut run = run();
    run["comparison"]["basis"] = "within-runs".into();
    let page = page(&[run]);
    assert!(
        page.contains("One run: not enough to tell change from noise. The intervals cover this run only.")
    );
    assert!(!page.contains("Significantly") && !page.contains("not significant"));
}

#[test]
fn no_contender_is_called_the_fastest_that_the_runs_cannot_tell_from_another() {
    let level = "but these runs do not tell it apart from postgres-etl batch.";
    let mut report = bench();
    report.sections.drain(..2);
    report.sections.truncate(1);
    let results = &mut report.sections[0].results;
    results.truncate(2);
    results[0].ratio_interval = Some((50.0, 60.0));
    results[1].ratio_interval = Some((45.0, 51.0));
    assert!(bench_page(&report).contains(level));
    // Without intervals, the ranges of the runs decide.
    report.sections[0].results[0].ratio_interval = None;
    assert!(bench_page(&report).contains("postgres-etl copy is the fastest"));
    let least = report.sections[0].results[0].rate.unwrap().min;
    report.sections[0].results[1].rate.as_mut().unwrap().max = least;
    assert!(bench_page(&report).contains(level));
}

/// The value of `key`, wherever it is in `value`, taken away.
fn strip(value: &mut Value, key: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| strip(item, key)),
        Value::Object(map) => {
            map.remove(key);
            map.values_mut().for_each(|value| strip(value, key));
        }
        _ => {}
    }
}

/// Older versions wrote fewer fields, and 0 for the rate of a contender without runs.
#[test]
fn what_an_older_comparison_does_not_tell_is_not_shown_as_zero() {
    let mut old: Value = serde_json::from_str(BENCH).unwrap();
    let new: [&str; 13] = [
        "wal_bytes",
        "bytes_per_second",
        "client_cpu_seconds",
        "server_cpu_seconds",
        "client_peak_bytes",
        "server_peak_bytes",
        "phases",
        "latency_us",
        "memory_bytes",
        "load_average",
        "governor",
        "ratio_interval",
        "server",
    ];
    for key in &new {
        strip(&mut old, key);
    }
    let page = page(&[old]);
    check_well_formed(&page);
    for zero in [">0<", ">0 bytes<", ">0 µs<", "< 10 ms", "Load before", "Governor", "Where the time went"] {
        assert!(!page.contains(zero), "{zero}");
    }
    assert!(!bench_page(&bench()).contains("<td class=\"number\">0</td>"));
}

/// The percentiles of a table, and the curve, are those that the document has.
#[test]
fn every_percentile_of_a_comparison_is_shown() {
    let mut report = bench();
    for run in report
        .sections
        .iter_mut()
        .flat_map(|section| &mut section.results)
        .flat_map(|result| &mut result.runs)
    {
        if !run.latency_us.is_empty() {
            run.latency_us.extend([("p95".to_owned(), 1234.0), ("p99.99".to_owned(), 98_765.0)]);
        }
    }
    let page = bench_page(&report);
    assert!(page.contains(">1.23 ms</td>") && page.contains(">99 ms</td>"));
    let mut run = run();
    run["response_us"]["p9999"] = 4321.0.into();
    run["queries"] = 100_000.into();
    assert!(super::tests::page(&[run]).contains(">4.32 ms</td>"));
}

/// The baseline has no interval of its own.
#[test]
fn a_contender_whose_interval_holds_1_is_not_told_from_the_baseline() {
    let mut report = bench();
    report.sections.drain(..3);
    report.sections.truncate(1);
    let results = &mut report.sections[0].results;
    let (best, baseline) = (results[0].contender.clone(), report.sections[0].baseline.clone());
    let results = &mut report.sections[0].results;
    results.retain(|result| [&best, &baseline].contains(&&result.contender));
    results[0].ratio_interval = Some((0.99, 1.2));
    assert!(bench_page(&report).contains("do not tell it apart from pgbench plain."));
    report.sections[0].results[0].ratio_interval = Some((1.01, 1.2));
    assert!(bench_page(&report).contains("postgres-etl query is the fastest"));
}

/// The name that documents of older versions give to the loop in the server, too.
#[test]
fn the_limit_of_all_clients_is_no_contender() {
    let mut report = bench();
    report.sections.drain(..3);
    let limit = report.contenders.iter_mut().find(|info| info.name == "pgbench-pipeline").unwrap();
    limit.name = "server-loop".to_owned();
    limit.title = "loop in the server".to_owned();
    for section in &mut report.sections {
        for result in &mut section.results {
            if result.contender == "pgbench-pipeline" {
                result.contender = "server-loop".to_owned();
                (result.ratio, result.ratio_interval) = (Some(50.0), Some((45.0, 55.0)));
                result.rate.as_mut().unwrap().median = 1e6;
            }
        }
    }
    let page = bench_page(&report);
    assert!(page.contains("postgres-etl query is clearly the fastest in "), "{page:.4000}");
    let limit = "The limit is the loop in the server, which needs no client: 1,000,000 queries/s, where the fastest client, \
                 postgres-etl query, makes ";
    assert!(page.contains(limit) && page.contains("class=\"hollow\""));
    report.sections.truncate(1);
    let page = bench_page(&report);
    assert!(
        page.contains("The limit is the loop in the server, which needs no client: 1,000,000 queries/s.")
    );
}

#[test]
fn no_limit_is_the_cheapest_way_to_load() {
    let mut report = bench();
    let cheapest = |report: &BenchReport| {
        let page = bench_page(report);
        let (_, rest) = page.split_once("the cheapest is ").unwrap();
        rest.split_once(':').unwrap().0.to_owned()
    };
    let before = cheapest(&report);
    let limit = report.contenders.iter_mut().find(|info| before.ends_with(&info.title)).unwrap();
    limit.is_limit = true;
    assert_ne!(cheapest(&report), before);
}

#[test]
fn response_times_of_all_settings_are_shown() {
    let page = bench_page(&bench());
    for setting in ["1 × 1", "1 × 64", "4 × 8", "16 × 64"] {
        assert!(page.contains(&format!(">{setting}</text>")), "{setting}");
        assert!(page.contains(&format!("<th scope=\"row\">{setting}: postgres-etl query</th>")), "{setting}");
    }
    assert!(page.contains("postgres-etl query has the lowest p99 in "), "{page:.200}");
}

/// Too few queries for a 99th percentile still tell who is the fastest for most of them.
#[test]
fn percentiles_are_compared_as_far_as_all_have_them() {
    let mut report = bench();
    report.sections.drain(..3);
    report.sections.truncate(1);
    let runs = report.sections[0].results.iter_mut().flat_map(|result| &mut result.runs);
    runs.for_each(|run| run.latency_us.retain(|name, _| ["p50", "p90"].contains(&name.as_str())));
    assert!(bench_page(&report).contains("The lowest p90 is that of "));
}

/// The order is that of the figure that is drawn, which is not that of the medians.
#[test]
fn bars_are_in_the_order_of_what_they_show() {
    let mut report = bench();
    report.sections.truncate(1);
    report.sections[0].results[0].ratio = Some(2.0);
    let page = bench_page(&report);
    let at = |name: &str| page.find(&format!("text-anchor=\"start\">{name}</text>")).unwrap();
    assert!(at("postgres-etl rows") < at("postgres-etl copy"));
}

/// What is too slow for the most rows is shown with the most that it has loaded.
#[test]
fn phases_of_every_way_to_load_are_shown() {
    let mut report = bench();
    report.sections[2].results.retain(|result| result.contender != "autocommit");
    let page = bench_page(&report);
    assert!(page.contains("<th scope=\"row\">postgres-etl rows --autocommit, 100,000 rows</th>"));
    assert!(page.contains(", while the server used "));
    assert!(page.contains("<th scope=\"col\" class=\"number\">CPU of the server</th>"));
}

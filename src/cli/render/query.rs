//! Reports of `query` for people.

use std::collections::BTreeMap;

use postgres_etl::query::{Arrivals, Protocol, Setting, with_arguments};
use postgres_etl::query::{
    ErrorCount, HostReport, HostRole, Interval, LagReport, LatencySummary, LoadShape, MeasuredPoint,
    OfferedReport, PlanCounts, ResultCheck, RunReport, SearchPoint, SearchReport, ServerStatement, SlowPlan,
    TableReport, TablesReport, Verdict, WorkloadReport,
};

use crate::cli::render::Report;
use crate::cli::render::comparison::comparison;
use crate::cli::render::units::{
    INDENT, count, counted, micros, one_line, queries_or_transactions, rate, seconds, server, warnings,
};
use crate::cli::terminal::left;

/// "5,000 queries", or how many of them were answered if not all were; `unit` is one of them.
pub(super) fn answered(queries: u64, errors: u64, unit: &str) -> String {
    let all = counted(queries, unit);
    if errors == 0 { all } else { format!("{} of {all} answered", count(queries - errors)) }
}

impl Report for RunReport {
    fn text(&self) -> String {
        let (one, many) = unit(&self.workloads);
        let answered = answered(self.queries, self.errors, one);
        let mut lines = vec![format!(
            "{answered} in {}: {} {many}/s{}",
            seconds(self.seconds),
            rate(self.queries_per_second),
            confidence(self.rate_interval)
        )];
        lines.extend(asked(&self.workloads));
        lines.extend(mix_note(&self.workloads, &self.load));
        lines.extend(errors((self.errors, self.retries, self.reconnections), &self.errors_by_sqlstate));
        lines.extend(latencies([&self.response_us, &self.service_us, &self.waiting_us, &self.server_us]));
        lines.push(format!("  setup    {}", load(&self.load, (one, many))));
        lines.extend(self.offered.iter().map(|offered| format!("  rate     {}", sent(offered, many))));
        for connection in self.connections.iter().flatten() {
            let latency = connection.response_us.map_or_else(String::new, |latency| {
                format!(
                    ", mean {}, p50 {}, p99 {}",
                    micros(latency.mean),
                    micros(latency.p50),
                    micros(latency.p99)
                )
            });
            lines.push(format!(
                "  conn {:<3} {} answered, {}{latency}",
                connection.connection,
                count(connection.answered),
                counted(connection.errors, "error")
            ));
        }
        lines.extend(self.hosts.iter().flatten().flat_map(host));
        lines.extend(self.checked.iter().map(|checked| format!("  answers  {}", answers(checked))));
        lines.extend(self.table.iter().map(|counted| format!("  table    {}", table(counted))));
        lines.push(format!("  server   {}", server(&self.server)));
        lines.extend(warnings(&self.warnings));
        lines.extend(bounded(&self.bound));
        lines.extend(self.plans.iter().flatten().flat_map(plan));
        lines.extend(self.comparison.iter().flat_map(comparison));
        lines.join("\n")
    }
}

/// The figures of a host.
fn host(host: &HostReport) -> Vec<String> {
    let name = host.endpoint();
    if let Some(problem) = &host.problem {
        return vec![format!("  host     {name}: NOT USED: {problem}")];
    }
    let is_gone = host.bound.as_ref().is_some_and(|bound| bound.activity.ended_early);
    let role = match (host.role, host.role_at_end) {
        (Some(HostRole::Standby), Some(HostRole::Primary)) => ", a standby that was PROMOTED",
        (Some(HostRole::Standby), _) if is_gone => ", a standby that was LOST",
        (Some(HostRole::Standby), _) => ", a standby",
        _ if is_gone => ", a primary that was LOST",
        _ => ", a primary",
    };
    let mut figures = vec![
        counted(host.connections as u64, "connection"),
        format!("{} answered, {}/s", count(host.queries - host.errors), rate(host.queries_per_second)),
        counted(host.errors, "error"),
    ];
    if host.reconnections > 0 {
        figures.push(format!("{} reopened", counted(host.reconnections, "connection")));
    }
    figures.extend(host.response_us.map(|latency| {
        format!("mean {}, p50 {}, p99 {}", micros(latency.mean), micros(latency.p50), micros(latency.p99))
    }));
    figures.extend(host.checked.iter().filter(|checked| checked.different > 0).map(|checked| {
        format!("{} OF {} RESULTS DO NOT MATCH", count(checked.different), count(checked.compared))
    }));
    figures.extend(host.lag.map(|LagReport { mean_seconds, max_seconds }| {
        if max_seconds == 0.0 {
            return "never behind".to_owned();
        }
        format!("behind by {} on average, at most {}", seconds(mean_seconds), seconds(max_seconds))
    }));
    let mut lines = vec![format!("  host     {name}{role}: {}", figures.join(", "))];
    lines.extend(host.bound.iter().flat_map(bounded).take(1).map(|line| format!("{INDENT}{}", line.trim())));
    lines
}

/// What a query of these workloads is called, and several.
pub(super) fn unit(workloads: &[WorkloadReport]) -> (&'static str, &'static str) {
    queries_or_transactions(workloads.iter().all(|workload| workload.is_transaction))
}

/// The interval of a rate, after it: " (95 % confidence: 9,800–10,200)".
pub(super) fn confidence(interval: Option<Interval>) -> String {
    interval.map_or_else(String::new, |interval| format!(" (95 % confidence:{})", range(interval, rate)))
}

/// The ends of an interval: " 148–171 µs", the unit once where both share it.
fn range(interval: Interval, show: impl Fn(f64) -> String) -> String {
    let (low, high) = (show(interval.low), show(interval.high));
    match (low.rsplit_once(' '), high.rsplit_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => format!(" {number}–{high}"),
        _ => format!(" {low}–{high}"),
    }
}

pub(super) fn table(table: &TableReport) -> String {
    let distribution = table.distribution.iter().map(|distribution| format!(", {distribution}"));
    let distribution: String = distribution.collect();
    let TableReport { name, rows, count_seconds, .. } = table;
    format!("{name}, {}, counted in {}{distribution}", counted(*rows, "row"), seconds(*count_seconds))
}

/// The workloads, and in a mix the figures of each.
pub(super) fn asked(workloads: &[WorkloadReport]) -> Vec<String> {
    let mut lines = Vec::new();
    for WorkloadReport { name, statements, answered, errors, response_us, .. } in workloads {
        if let [statement] = &statements[..] {
            lines.push(format!("  query    {name}: {}", one_line(&statement.sql)));
        } else {
            lines.push(format!("  query    {name}, a transaction:"));
            for statement in statements {
                let took = statement.took_us.map_or_else(String::new, |took| {
                    format!("   mean {}, p99 {}", micros(took.mean), micros(took.p99))
                });
                lines.push(format!("{INDENT}  {}{took}", one_line(&statement.sql)));
            }
        }
        if let ([_, _, ..], Some(latency)) = (workloads, response_us) {
            lines.push(format!(
                "{INDENT}  {} answered, {}, mean {}, p50 {}, p99 {}",
                count(*answered),
                counted(*errors, "error"),
                micros(latency.mean),
                micros(latency.p50),
                micros(latency.p99)
            ));
        }
    }
    lines
}

/// What the latencies of the workloads of a mix include.
pub(super) fn mix_note(workloads: &[WorkloadReport], load: &LoadShape) -> Option<String> {
    (workloads.len() > 1 && load.pipeline_depth > 1).then(|| {
        format!(
            "{INDENT}latencies of a mix include waiting for the others in the pipeline; -d 1 --sync-every 1 separates them"
        )
    })
}

/// The number of errors, of retries and of reconnections, and the errors `by_sqlstate`.
pub(super) fn errors(
    (errors, retries, reconnections): (u64, u64, u64),
    by_sqlstate: &BTreeMap<String, ErrorCount>,
) -> Vec<String> {
    let mut text = format!("  errors   {}", count(errors));
    if retries > 0 {
        text += &format!(", {} retried", count(retries));
    }
    if reconnections > 0 {
        let replaced = counted(reconnections, "connection");
        text += &format!(", {replaced} reopened");
    }
    let mut lines = vec![text];
    for (code, error) in by_sqlstate {
        let first = error.first.replace('\n', &format!("\n{INDENT}"));
        lines.push(format!("  {code:<8} {}; the first: {first}", counted(error.count, "time")));
        lines.extend(error.help.iter().map(|help| format!("{INDENT}help: {help}")));
    }
    lines
}

/// The table of latencies: response, service, waiting and server times.
pub(super) fn latencies([response, service, waiting, server]: [&Option<LatencySummary>; 4]) -> Vec<String> {
    let Some(response) = response else { return Vec::new() };
    let row = |name: &str, latency: &LatencySummary| {
        let LatencySummary { mean, p50, p90, p95, p99, p999, max, .. } = *latency;
        let cells = [mean, p50, p90, p95, p99, p999, max].map(|value| format!("{:>9}", micros(value)));
        format!("  {name:<8} {}", cells.join(" "))
    };
    let heads = ["mean", "p50", "p90", "p95", "p99", "p99.9", "max"].map(|head| format!("{head:>9}"));
    let mut lines = vec![format!("  latency  {}", heads.join(" ")), row("response", response)];
    let parts = [("service", service), ("waiting", waiting), ("server", server)];
    lines.extend(parts.iter().filter_map(|(name, latency)| Some(row(name, latency.as_ref()?))));
    if let Some(mean) = response.mean_interval {
        lines.push(format!("{INDENT}mean, 95 % confidence interval:{}", range(mean, micros)));
    }
    lines
}

/// The settings of a load of what is called this, one and several.
pub(super) fn load(load: &LoadShape, unit: (&str, &str)) -> String {
    let mut parts = sending(load, unit);
    parts.push(format!("seed {}", load.seed));
    if load.warm_up_seconds > 0.0 {
        parts.push(format!("after a warm-up of {}", seconds(load.warm_up_seconds)));
    }
    parts.join(", ")
}

/// How many queries, which are called `one` and `many`, were sent at once, and how.
pub(super) fn sending(load: &LoadShape, (one, many): (&str, &str)) -> Vec<String> {
    let mut parts = vec![counted(load.connections as u64, "connection")];
    parts.push(match load.pipeline_depth {
        1 => format!("one {one} in flight on each"),
        depth => format!("up to {depth} {many} in flight on each"),
    });
    match (load.protocol, load.sync_every.get()) {
        (Protocol::Prepared, 1) => parts.push("prepared, one Sync per query".to_owned()),
        (Protocol::Prepared, many) => parts.push(format!("prepared, up to {many} per Sync, read-only")),
        (Protocol::Unnamed, _) => parts.push("parsed every time".to_owned()),
        (Protocol::Simple, _) => parts.push("sent as text".to_owned()),
    }
    parts.extend(load.through_driver.as_ref().map(|reason| format!("through the driver, as {reason}")));
    if let (Some(per_second), Some(arrivals)) = (load.rate, load.arrivals) {
        let spread = match arrivals {
            Arrivals::Poisson => "at random",
            Arrivals::Constant => "evenly spaced",
        };
        parts.push(format!("{}/s {spread}", rate(per_second)));
    }
    parts
}

fn sent(offered: &OfferedReport, many: &str) -> String {
    let OfferedReport { due, unsent, kept, lag_p99_us, lag_max_us, late_p99_us, late_max_us } = *offered;
    let late = format!(
        "{many} were sent {} (p99) to {} (max) after they were due; the client's timer was late by {} (p99), {} (max)",
        micros(late_p99_us),
        micros(late_max_us),
        micros(lag_p99_us),
        micros(lag_max_us)
    );
    match (unsent, kept) {
        (0, true) => format!("kept: all {} were sent; {late}", count(due)),
        (_, true) => {
            format!("kept: all but {} of {} were sent by the end; {late}", count(unsent), count(due))
        }
        (0, false) => format!("NOT KEPT: all {} were sent, but too late; {late}", count(due)),
        _ => format!(
            "NOT KEPT: {} OF {} {} COULD NOT BE SENT IN TIME and are not in the figures; {late}",
            count(unsent),
            count(due),
            many.to_uppercase()
        ),
    }
}

pub(super) fn answers(checked: &ResultCheck) -> String {
    let ResultCheck { compared, different, first_difference } = checked;
    match first_difference {
        None => format!("{} compared, all match", count(*compared)),
        Some(first) => {
            format!("{} compared, {} DO NOT MATCH; the first: {first}", count(*compared), count(*different))
        }
    }
}

pub(super) fn bounded(bound: &Verdict) -> Vec<String> {
    let mut lines = vec![format!("  {}", bound_by(&bound.sentence))];
    let (Some(running), Some(idle)) = (bound.activity.running, bound.activity.waiting_for_client) else {
        return lines;
    };
    let waited: Vec<String> =
        bound.activity.waiting.iter().take(4).map(|(event, mean)| format!("{event} {mean:.1}")).collect();
    let mut numbers = format!(
        "sampled {} times; backends on average: {running:.1} running, {idle:.1} idle",
        count(bound.activity.samples)
    );
    if !waited.is_empty() {
        numbers += &format!(", waiting for {}", waited.join(", "));
    }
    if let Some(busy) = bound.activity.busy_cores {
        numbers += &format!("; {busy:.2} of {} cores busy", bound.activity.cores);
    }
    lines.push(format!("{INDENT}{numbers}"));
    for ServerStatement { query, calls, mean_us, rows } in bound.statements.iter().flatten().take(5) {
        lines.push(format!(
            "{INDENT}pg_stat_statements: {} calls, {} each, {rows:.1} rows: {}",
            count(u64::try_from(*calls).unwrap_or(0)),
            micros(*mean_us),
            one_line(query)
        ));
    }
    lines
}

/// What bounded a run, from the `sentence` of its verdict.
pub(super) fn bound_by(sentence: &str) -> String {
    match sentence.strip_prefix("unknown: ") {
        Some(why) => format!("bottleneck unknown: {why}"),
        None => format!("bound by {sentence}"),
    }
}

fn plan(plan: &SlowPlan) -> Vec<String> {
    let SlowPlan { workload, sql, arguments, took_us, plan, not_explained, planned } = plan;
    let mut lines = vec![format!(
        "  slowest  {}, {}: {}",
        with_arguments(workload, arguments),
        micros(*took_us),
        one_line(sql)
    )];
    lines.extend(planned.map(|PlanCounts { custom, generic }| {
        let what = match (custom, generic) {
            (custom, 0) => format!("custom plan in all {} executions", count(custom)),
            (0, generic) => format!("generic plan in all {} executions", count(generic)),
            (custom, generic) => format!(
                "custom plan {} times, then generic plan {} times, over all connections",
                count(custom),
                count(generic)
            ),
        };
        format!("{INDENT}{what}")
    }));
    lines.extend(not_explained.iter().map(|why| format!("{INDENT}no plan: {why}")));
    lines.extend(plan.iter().map(|line| format!("{INDENT}  {line}")));
    lines
}

impl Report for TablesReport {
    fn text(&self) -> String {
        let rows = self.tables.iter().map(|table| format!("{} {}", table.name, count(table.rows)));
        let created = if self.replaced { "replaced" } else { "created" };
        format!(
            "{created} the tables of pgbench at scale {} in {}\n  rows     {}\n  server   {}",
            count(u64::from(self.scale)),
            seconds(self.seconds),
            rows.collect::<Vec<_>>().join(", "),
            server(&self.server)
        )
    }
}

/// A run of a search, as soon as it is measured.
pub(crate) fn measured_point(measured: &MeasuredPoint<'_>) -> String {
    let MeasuredPoint { point, number, at_most, may_end_earlier, counts_transactions, left: time } = measured;
    let (_, many) = queries_or_transactions(*counts_transactions);
    let SearchPoint { connections, pipeline_depth, .. } = point;
    let mut text = format!("run {number} of {}{at_most}: ", if *may_end_earlier { "at most " } else { "" });
    text += &counted(*connections as u64, "connection");
    text += &format!(", pipeline depth {pipeline_depth}");
    text += &point.rate.map_or_else(String::new, |per_second| format!(", {}/s offered", rate(per_second)));
    text += &format!(": {} {many}/s, p99 {}", rate(point.queries_per_second), or_none(point.p99_us));
    if let Some(verdict) = bound_verdict(point) {
        text += &format!(", {verdict}");
    }
    if number < at_most {
        let most = if *may_end_earlier { "at most " } else { "" };
        text += &format!(" · {most}{}", left(*time));
    }
    text
}

impl Report for SearchReport {
    fn value_column(&self) -> usize {
        "server ".len()
    }

    fn text(&self) -> String {
        let mut lines = vec![format!("{} of {}", self.search, self.workloads.join(", "))];
        let (_, many) = queries_or_transactions(self.counts_transactions);
        let unit = format!("{many}/s");
        if let [rows, columns] = &self.axes[..]
            && self.points.len() == rows.values.len() * columns.values.len()
        {
            for (what, is_rate) in [(unit.as_str(), true), ("p99", false)] {
                lines.push(String::new());
                lines.extend(map(self, what, is_rate, rows.values.len(), columns.values.len()));
            }
        } else {
            lines.extend(list(self, &unit));
        }
        if let Some(error) = &self.ended_by {
            lines.push(format!("NOT FINISHED: {error}"));
        }
        lines.extend(caveats(self));
        lines.push(String::new());
        if let Some(bound) = self.p99_bound_us {
            lines.push(if let Some(highest) = self.highest_rate {
                format!("highest rate with p99 within {}: {} {unit}", micros(bound), rate(highest))
            } else {
                let tried = self.points.iter().filter_map(|point| point.rate);
                let lowest = tried.min_by(f64::total_cmp).unwrap_or_default();
                format!(
                    "p99 exceeded {} at every rate tried; the lowest was {}/s",
                    micros(bound),
                    rate(lowest)
                )
            });
        } else if let Some(best) =
            self.points.iter().max_by(|a, b| a.queries_per_second.total_cmp(&b.queries_per_second))
        {
            lines.push(format!(
                "highest rate: {} {unit}, with p99 {}, at {}, pipeline depth {}",
                rate(best.queries_per_second),
                or_none(best.p99_us),
                counted(best.connections as u64, "connection"),
                best.pipeline_depth
            ));
        }
        lines.extend(self.table.iter().map(|counted| format!("table  {}", table(counted))));
        lines.push(format!("server {}", server(&self.server)));
        lines.join("\n")
    }
}

/// What falsified runs of a search.
fn caveats(report: &SearchReport) -> Vec<String> {
    let runs = report.points.len();
    let by_client = report.points.iter().filter(|point| point.bound == "client").count();
    let disturbed = report.points.iter().filter(|point| point.disturbed).count();
    let mut lines = Vec::new();
    if by_client > 0 {
        lines.push(String::new());
        lines.push(format!(
            "THE CLIENT, NOT THE SERVER, bounded {by_client} of {runs} runs: measure from a larger machine or from several"
        ));
    }
    if disturbed > 0 {
        lines.push(String::new());
        lines.push(format!(
            "OTHER PROGRAMS left no core idle in {disturbed} of {runs} runs, so a higher rate may be possible: measure on an otherwise idle machine"
        ));
    }
    lines
}

/// `time`, or a dash when no query was answered.
fn or_none(time: Option<f64>) -> String {
    time.map_or_else(|| "-".into(), micros)
}

/// Darker is more.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

fn shade(value: f64, most: f64) -> char {
    SHADES[((value / most.max(f64::MIN_POSITIVE)) * 4.0).round().clamp(0.0, 4.0) as usize]
}

/// A map of two settings: one down, one across.
fn map(report: &SearchReport, what: &str, is_rate: bool, rows: usize, columns: usize) -> Vec<String> {
    const WIDTH: usize = 12;
    let (down, across) = (&report.axes[0], &report.axes[1]);
    let value =
        |point: &SearchPoint| if is_rate { point.queries_per_second } else { point.p99_us.unwrap_or(0.0) };
    let most = report.points.iter().map(value).fold(0.0, f64::max);
    let heads: Vec<String> = across.values.iter().map(|value| format!("{value:>WIDTH$}")).collect();
    let mut lines = vec![
        format!("{what}, by {} (down) and {} (across)", down.setting, across.setting),
        format!("{:>8} {}", "", heads.join("")),
    ];
    for row in 0..rows {
        let cells: Vec<String> = report.points[row * columns..(row + 1) * columns]
            .iter()
            .map(|point| {
                let shown = if is_rate { rate(value(point)) } else { or_none(point.p99_us) };
                format!("{:>width$} {}", shown, shade(value(point), most), width = WIDTH - 2)
            })
            .collect();
        lines.push(format!("{:>8} {}", down.values[row], cells.join("")));
    }
    lines
}

/// One line a run, with a bar for its rate.
fn list(report: &SearchReport, unit: &str) -> Vec<String> {
    const BAR: f64 = 30.0;
    let width = unit.len().max(12);
    let most = report.points.iter().map(|point| point.queries_per_second).fold(0.0, f64::max);
    let swept = match &report.axes[..] {
        [axis] => axis.setting,
        _ => Setting::Rate,
    };
    let mut lines = vec![format!("{:>16} {unit:>width$} {:>10} {:>10}", swept.to_string(), "mean", "p99")];
    for point in &report.points {
        let setting = match swept {
            Setting::Connections => point.connections.to_string(),
            Setting::PipelineDepth => point.pipeline_depth.to_string(),
            Setting::Rate => point.rate.map_or_else(|| "closed loop".into(), rate),
        };
        let mut notes: Vec<String> = Vec::new();
        notes.extend(bound_verdict(point).map(str::to_owned));
        if point.unsent > 0 && point.kept != Some(true) {
            notes.push(format!("{} not sent in time", count(point.unsent)));
        }
        if point.errors > 0 {
            notes.push(counted(point.errors, "error"));
        }
        if point.different > 0 {
            notes.push(format!("{} RESULTS DO NOT MATCH", count(point.different)));
        }
        if point.bound != "unknown" {
            notes.push(format!("bound by {}", point.bound));
        }
        if point.disturbed && point.bound != "others" {
            notes.push("other programs used the CPU".to_owned());
        }
        let bar = "█".repeat((point.queries_per_second / most.max(f64::MIN_POSITIVE) * BAR).round() as usize);
        lines.push(format!(
            "{setting:>16} {:>width$} {:>10} {:>10}  {bar:<30}  {}",
            rate(point.queries_per_second),
            or_none(point.mean_us),
            or_none(point.p99_us),
            notes.join(", ")
        ));
    }
    lines
}
/// Whether `point` holds the bound, and what is wrong if it does not; `None` without a bound.
fn bound_verdict(point: &SearchPoint) -> Option<&'static str> {
    Some(match point.held? {
        true => "p99 within bound",
        false if point.errors > 0 => "errors",
        false if point.kept != Some(true) => "rate not kept",
        false => "p99 above bound",
    })
}

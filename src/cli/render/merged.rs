//! The report of merged runs for people.

use std::collections::BTreeSet;

use postgres_etl::query::{LoadShape, MergedReport, MergedRun};

use crate::cli::render::Report;
use crate::cli::render::query::{
    answered, answers, asked, bound_by, confidence, errors, latencies, sending, unit,
};
use crate::cli::render::units::{INDENT, count, counted, rate, seconds, server};

impl Report for MergedReport {
    fn text(&self) -> String {
        let (one, many) = unit(&self.workloads);
        let answered = answered(self.queries, self.errors, one);
        let mut lines = vec![format!(
            "{answered} in {} runs; {} {many}/s{} while all of them ran, {}",
            self.runs.len(),
            rate(self.queries_per_second),
            confidence(self.rate_interval),
            seconds(self.common_seconds),
        )];
        lines.extend(self.runs.iter().flat_map(run));
        lines.extend(asked(&self.workloads));
        lines.extend(errors((self.errors, self.retries, self.reconnections), &self.errors_by_sqlstate));
        lines.extend(latencies([&self.response_us, &self.service_us, &self.waiting_us, &self.server_us]));
        let together =
            LoadShape { connections: self.connections, rate: self.rate, ..self.runs[0].load.clone() };
        lines.push(format!("  setup    {}", sending(&together, (one, many)).join(", ")));
        lines.extend(self.kept.map(|kept| {
            format!("  rate     {}", if kept { "kept by every run" } else { "NOT KEPT by every run" })
        }));
        lines.extend(self.checked.iter().map(|checked| format!("  answers  {}", answers(checked))));
        let servers: BTreeSet<String> = self.runs.iter().map(|run| server(&run.server)).collect();
        lines.extend(servers.iter().map(|server| format!("  server   {server}")));
        lines.extend(self.note.iter().map(|note| format!("  note     {note}")));
        lines.join("\n")
    }
}

/// The figures of one of the runs.
fn run(run: &MergedRun) -> [String; 2] {
    let MergedRun { file, environment, started_at, ended_at, load, queries, errors, bound, .. } = run;
    [
        format!(
            "  run      {file}: {}, seed {}, {} answered, {}, {}/s while all ran; from {started_at} to {ended_at}",
            counted(load.connections as u64, "connection"),
            load.seed,
            count(queries - errors),
            counted(*errors, "error"),
            rate(run.common_queries_per_second),
        ),
        format!(
            "{INDENT}on {}, {}; {}",
            environment.system,
            counted(environment.cores as u64, "core"),
            bound_by(bound),
        ),
    ]
}

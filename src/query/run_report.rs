//! A run's figures, put together for its report.

use crate::query::drive::sender::QuerySender;
use crate::query::drive::worker::RunResult;
use crate::query::measure::batch_means::BatchMeans;
use crate::query::measure::latency::{Latencies, LatencySummary};
use crate::query::measure::tally::WorkloadStats;
use crate::query::report::{StatementReport, WorkloadReport};
use crate::query::workload;
use crate::query::workload::spec::ArgSpec;

pub(crate) fn summary(latencies: &Latencies) -> Option<LatencySummary> {
    (!latencies.is_empty()).then(|| latencies.summary())
}

pub(crate) fn with_interval(latencies: &Latencies, batches: &BatchMeans) -> Option<LatencySummary> {
    let summary = summary(latencies)?;
    Some(LatencySummary { mean_interval: batches.mean_interval(summary.mean), ..summary })
}

pub(crate) fn workloads(sender: &QuerySender, run: &RunResult) -> Vec<WorkloadReport> {
    let nothing = WorkloadStats::default();
    let only = sender.mix.workloads.len() == 1;
    let report = |(index, workload): (usize, &workload::Workload)| {
        let tally = run.total.workloads.get(index).unwrap_or(&nothing);
        let statement = |sql: &str, args: Vec<ArgSpec>, at: usize| StatementReport {
            sql: sql.to_owned(),
            args,
            took_us: tally.statements.get(at).and_then(summary),
        };
        let own = |text: &workload::WorkloadStatement, at: usize| {
            statement(&text.sql, workload.arguments_of(text).cloned().collect(), at)
        };
        let statements = match &workload.begin {
            None => workload.statements.iter().map(|text| own(text, usize::MAX)).collect(),
            Some(begin) => {
                let last = workload.statements.len() + 1;
                let texts = workload.statements.iter().zip(1..).map(|(text, at)| own(text, at));
                let begin = std::iter::once(statement(begin, Vec::new(), 0));
                begin.chain(texts).chain([statement("COMMIT", Vec::new(), last)]).collect()
            }
        };
        let total = &run.total;
        WorkloadReport {
            name: workload.name.clone(),
            weight: workload.weight,
            statements,
            answered: if only { total.answered } else { tally.answered },
            errors: if only { total.error_count() } else { tally.errors },
            response_us: if only {
                with_interval(&total.response, &total.batches)
            } else {
                with_interval(&tally.response, &tally.batches)
            },
        }
    };
    sender.mix.workloads.iter().enumerate().map(report).collect()
}

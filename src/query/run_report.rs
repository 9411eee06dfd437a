//! The report of a run, assembled from its statistics.

use std::borrow::Cow;
use std::time::SystemTime;

use crate::query::drive::plan::{Offered, RunResult};
use crate::query::drive::sender::QuerySender;
use crate::query::measure::latency::Latencies;
use crate::query::measure::run_stats::{RunStats, WorkloadStats, summary, with_interval};
use crate::query::meter::{OpenMeter, RunShape};
use crate::query::report::{
    ConnectionReport, LoadShape, OfferedReport, ResultCheck, RunReport, StatementReport, WorkloadReport,
};
use crate::query::verdict::Verdict;
use crate::query::workload::spec::ArgSpec;
use crate::query::workload::{Workload, WorkloadStatement};

impl OpenMeter<'_> {
    /// The report of `run`.
    pub(super) fn report(
        &self,
        shape: &RunShape,
        sender: &QuerySender,
        run: &RunResult,
        bound: Verdict,
    ) -> RunReport {
        let RunResult { total, connections, started_at, elapsed, timeline, offered, .. } = run;
        let shown = |time: SystemTime| humantime::format_rfc3339_millis(time).to_string();
        let seconds = elapsed.as_secs_f64();
        let queries_per_second = total.answered as f64 / seconds;
        RunReport {
            command: "query",
            interrupted: self.progress.is_cancelled(),
            ended_by: None,
            workloads: workloads(sender, run),
            queries: total.answered + total.error_count(),
            errors: total.error_count(),
            errors_by_sqlstate: total.errors.clone(),
            retries: total.retries,
            reconnections: total.reconnections,
            started_at: shown(*started_at),
            ended_at: shown(*started_at + *elapsed),
            seconds,
            queries_per_second,
            rate_interval: total.batch_means.rate_interval(queries_per_second),
            response_us: with_interval(&total.response, &total.batch_means),
            service_us: summary(&total.service),
            waiting_us: summary(&total.split.waiting),
            server_us: summary(&total.split.server),
            load: self.load(shape),
            limits: self.settings.limits,
            offered: offered.as_ref().map(|offered| {
                let kept = shape.rate.is_some_and(|rate| run.kept(rate));
                offered_report(offered, kept, &total.late)
            }),
            series: timeline.seconds(),
            connections: self.settings.per_connection.then(|| per_connection(connections)),
            hosts: None,
            checked: self.expected.is_some().then(|| ResultCheck::new(total)),
            bound,
            plans: None,
            table: self.table.clone(),
            server: self.hosts.server().clone(),
            warnings: self.hosts.warnings(),
            comparison: None,
        }
    }

    fn load(&self, shape: &RunShape) -> LoadShape {
        let settings = self.settings;
        LoadShape {
            connections: shape.connections,
            pipeline_depth: shape.depth,
            sync_every: settings.sync_every,
            protocol: settings.protocol,
            through_driver: self.through_driver().map(Cow::Borrowed),
            seed: settings.seed,
            rate: shape.rate,
            arrivals: shape.rate.map(|_| settings.arrivals),
            warm_up_seconds: settings.warm_up.as_secs_f64(),
            retries: settings.retries,
            verify: settings.verify,
            hosts: self.hosts.count(),
        }
    }
}

fn offered_report(offered: &Offered, kept: bool, late: &Latencies) -> OfferedReport {
    OfferedReport {
        due: offered.due,
        unsent: offered.due - offered.sent,
        kept,
        lag_p99_us: offered.lag.quantile(0.99),
        lag_max_us: offered.lag.quantile(1.0),
        late_p99_us: late.quantile(0.99),
        late_max_us: late.quantile(1.0),
    }
}

fn per_connection(connections: &[RunStats]) -> Vec<ConnectionReport> {
    let report = |(index, stats): (usize, &RunStats)| ConnectionReport {
        connection: index + 1,
        answered: stats.answered,
        errors: stats.error_count(),
        response_us: with_interval(&stats.response, &stats.batch_means),
    };
    connections.iter().enumerate().map(report).collect()
}

fn workloads(sender: &QuerySender, run: &RunResult) -> Vec<WorkloadReport> {
    let nothing = WorkloadStats::default();
    let is_only = sender.mix.workloads.len() == 1;
    let report = |(index, workload): (usize, &Workload)| {
        let stats = run.total.workloads.get(index).unwrap_or(&nothing);
        let total = &run.total;
        WorkloadReport {
            name: workload.name.clone(),
            weight: workload.weight,
            is_transaction: workload.begin.is_some(),
            statements: statements(workload, stats),
            answered: if is_only { total.answered } else { stats.answered },
            errors: if is_only { total.error_count() } else { stats.errors },
            response_us: if is_only {
                with_interval(&total.response, &total.batch_means)
            } else {
                with_interval(&stats.response, &stats.batch_means)
            },
        }
    };
    sender.mix.workloads.iter().enumerate().map(report).collect()
}

/// The statements of `workload`, with BEGIN and COMMIT in a transaction.
fn statements(workload: &Workload, stats: &WorkloadStats) -> Vec<StatementReport> {
    let statement = |sql: &str, args: Vec<ArgSpec>, took: Option<&Latencies>| StatementReport {
        sql: sql.to_owned(),
        args,
        took_us: took.and_then(summary),
    };
    let own = |text: &WorkloadStatement, took: Option<&Latencies>| {
        statement(&text.sql, workload.arguments_of(text).cloned().collect(), took)
    };
    let Some(begin) = &workload.begin else {
        return workload.statements.iter().map(|text| own(text, None)).collect();
    };
    let took = |index: usize| stats.statements.get(index);
    let mut reports = vec![statement(begin, Vec::new(), took(0))];
    reports.extend(workload.statements.iter().zip(1..).map(|(text, index)| own(text, took(index))));
    reports.push(statement("COMMIT", Vec::new(), took(workload.statements.len() + 1)));
    reports
}

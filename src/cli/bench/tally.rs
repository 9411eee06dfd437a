//! The runs so far, and the report that is made of them.

use std::collections::BTreeMap;

use postgres_etl::statistics::{bootstrap_ratio, median};
use postgres_etl::{Error, ErrorKind, Result};

use crate::cli::bench::contender::QueryLoad;
use crate::cli::bench::plan::{BenchOptions, QUERIED_ROWS, Work};
use crate::cli::bench::report::{BenchReport, ContenderInfo, ContenderResult, Machine, Run, Section, Spread};

/// The runs of each contender in each section.
pub(super) struct Tally {
    options: BenchOptions,
    sections: Vec<(Work, BTreeMap<usize, Outcome>)>,
    /// The setting with which each contender is as fast as it can.
    settings: BTreeMap<usize, QueryLoad>,
}

/// The runs of one contender in one section.
#[derive(Default)]
struct Outcome {
    runs: Vec<Run>,
    failed: Option<String>,
}

impl Tally {
    pub(super) fn new(options: &BenchOptions) -> Tally {
        let sections = options.works().into_iter().map(|work| (work, BTreeMap::new())).collect();
        Tally { options: options.clone(), sections, settings: BTreeMap::new() }
    }

    /// What is compared, in order.
    pub(super) fn works(&self) -> Vec<Work> {
        self.sections.iter().map(|(work, _)| *work).collect()
    }

    /// Let `contender` be measured with `setting` where it is to be as fast as it can.
    pub(super) fn choose(&mut self, contender: usize, setting: QueryLoad) {
        self.settings.insert(contender, setting);
    }

    /// The setting chosen for `contender`.
    pub(super) fn chosen(&self, contender: usize) -> QueryLoad {
        self.settings.get(&contender).copied().unwrap_or(QueryLoad::Fastest)
    }

    /// Whether `contender` has failed in `section`, so that it need not run there again.
    pub(super) fn has_failed(&self, section: usize, contender: usize) -> bool {
        self.sections[section].1.get(&contender).is_some_and(|outcome| outcome.failed.is_some())
    }

    /// Add the outcome of a run; a warm-up only counts if it failed, and a failure only if the run was not `cancelled`.
    pub(super) fn add(
        &mut self,
        section: usize,
        contender: usize,
        outcome: Result<Run>,
        is_warm_up: bool,
        cancelled: bool,
    ) {
        let so_far = self.sections[section].1.entry(contender).or_default();
        match outcome {
            Ok(run) if !is_warm_up => so_far.runs.push(run),
            Ok(_) => {}
            Err(error) if cancelled || error.kind() == ErrorKind::Interrupted => {}
            Err(error) => so_far.failed = Some(describe(&error)),
        }
    }

    /// The report of all runs so far.
    pub(super) fn report(
        self,
        infos: &[ContenderInfo],
        server: BTreeMap<String, String>,
        machine: Machine,
        started_at: String,
    ) -> BenchReport {
        let Tally { options, sections, settings } = self;
        BenchReport {
            command: "bench".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at,
            seconds: 0.0,
            seed: options.seed,
            runs: options.runs,
            machine,
            server,
            contenders: infos.iter().filter(|info| options.wants(&info.name)).cloned().collect(),
            // Without those in which nobody takes part.
            sections: sections
                .into_iter()
                .filter(|(_, outcomes)| !outcomes.is_empty())
                .map(|(work, outcomes)| section(&options, work, outcomes, (infos, &settings)))
                .collect(),
            ended_by: None,
            lost_server: false,
        }
    }
}

fn describe(error: &Error) -> String {
    match error.help() {
        Some(help) => format!("{error} ({help})"),
        None => error.to_string(),
    }
}

fn section(
    options: &BenchOptions,
    work: Work,
    outcomes: BTreeMap<usize, Outcome>,
    (infos, settings): (&[ContenderInfo], &BTreeMap<usize, QueryLoad>),
) -> Section {
    let wanted = options.baseline.as_deref().unwrap_or_else(|| work.baseline());
    let named = |name: &str| {
        outcomes.iter().find(|(index, outcome)| infos[**index].name == name && !outcome.runs.is_empty())
    };
    let baseline = named(wanted).or_else(|| named(work.baseline())).or_else(|| outcomes.iter().next());
    let rates = |outcome: &Outcome| outcome.runs.iter().map(|run| run.rate).collect::<Vec<f64>>();
    let (baseline, base_rates) = match baseline {
        Some((index, outcome)) => (infos[*index].name.clone(), rates(outcome)),
        None => (wanted.to_owned(), Vec::new()),
    };
    let mut results: Vec<ContenderResult> = outcomes
        .into_iter()
        .map(|(index, outcome)| {
            let (rates, name) = (rates(&outcome), infos[index].name.clone());
            let is_baseline = name == baseline;
            let ratio = median(&rates).zip(median(&base_rates)).map(|(rate, base)| rate / base);
            let interval = bootstrap_ratio(&rates, &base_rates, options.seed);
            let setting = settings.get(&index).filter(|_| matches!(work, Work::Query(_, QueryLoad::Fastest)));
            ContenderResult {
                contender: name,
                setting: setting.and_then(QueryLoad::shape),
                rate: spread(&rates),
                ratio: ratio.filter(|_| !is_baseline),
                ratio_interval: interval
                    .filter(|_| !is_baseline)
                    .map(|interval| (interval.low, interval.high)),
                runs: outcome.runs,
                failed: outcome.failed,
            }
        })
        .collect();
    results.sort_by(|a, b| b.rate.median.total_cmp(&a.rate.median));
    let (kind, rows, shape) = match work {
        Work::Load(rows) => ("load", rows, None),
        Work::Query(_, load) => ("query", QUERIED_ROWS, load.shape()),
    };
    Section {
        kind: kind.to_owned(),
        title: work.title(),
        rows,
        connections: shape.map(|(connections, _)| connections),
        pipeline_depth: shape.map(|(_, depth)| depth),
        baseline,
        results,
    }
}

fn spread(values: &[f64]) -> Spread {
    Spread {
        median: median(values).unwrap_or_default(),
        min: values.iter().copied().reduce(f64::min).unwrap_or_default(),
        max: values.iter().copied().reduce(f64::max).unwrap_or_default(),
    }
}

/// The time in UTC: `2026-01-31T12:00:00Z`.
pub(super) fn now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

/// A time in words, as precise as an estimate deserves.
pub(super) fn roughly(seconds: f64) -> String {
    match seconds.round() as u64 {
        seconds @ 0..100 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

//! The runs so far, and the report that is made of them.

use std::collections::BTreeMap;
use std::time::Duration;

use postgres_etl::statistics::{median, paired_ratio};
use postgres_etl::{Error, ErrorKind, Result};

use crate::cli::bench::contender::QueryLoad;
use crate::cli::bench::plan::{BenchOptions, QUERIED_ROWS, Work};
use crate::cli::bench::report::{
    BenchReport, ContenderInfo, ContenderResult, Machine, Run, Section, Spread, Unfinished,
};

/// The runs of each contender in each section.
pub(super) struct Tally {
    options: BenchOptions,
    sections: Vec<(Work, BTreeMap<usize, Outcome>)>,
    /// In each section, the contenders for which it is too much.
    too_slow: BTreeMap<usize, Vec<usize>>,
    /// The setting with which each contender is as fast as it can.
    settings: BTreeMap<usize, QueryLoad>,
    /// The longest run of each contender in each section, in seconds; a warm-up, too.
    longest: BTreeMap<(usize, usize), f64>,
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
        Tally {
            options: options.clone(),
            sections,
            too_slow: BTreeMap::new(),
            settings: BTreeMap::new(),
            longest: BTreeMap::new(),
        }
    }

    /// What is compared, in order.
    pub(super) fn works(&self) -> Vec<Work> {
        self.sections.iter().map(|(work, _)| *work).collect()
    }

    /// Let `contenders` take part in `section`, so that those are known that are not reached. It is too much for those
    /// that are `too_slow`.
    pub(super) fn expect(&mut self, section: usize, contenders: &[usize], too_slow: Vec<usize>) {
        self.too_slow.insert(section, too_slow);
        self.sections[section].1.extend(contenders.iter().map(|contender| (*contender, Outcome::default())));
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

    /// The time after which a run of `contender` in `section` is ended: generous, as it is only to end what hangs.
    pub(super) fn run_limit(&self, section: usize, contender: usize) -> Duration {
        let others = self.longest.iter().filter(|((of, who), _)| *of == section && *who != contender);
        let longest = others.map(|(_, seconds)| *seconds).fold(0.0, f64::max);
        let rows = match self.sections[section].0 {
            Work::Load(rows) => rows,
            Work::Query(..) => 0,
        };
        self.options.run_limit.unwrap_or_else(|| run_limit(rows, longest))
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
        if let Ok(run) = &outcome {
            let longest = self.longest.entry((section, contender)).or_default();
            *longest = longest.max(run.seconds);
        }
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
        let Tally { options, sections, too_slow, settings, .. } = self;
        let names = |section: usize| {
            let too_slow = too_slow.get(&section).into_iter().flatten();
            too_slow.map(|index| infos[*index].name.clone()).collect::<Vec<String>>()
        };
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
            // Without those that nobody could take part in.
            sections: sections
                .into_iter()
                .enumerate()
                .map(|(index, (work, outcomes))| (work, outcomes, names(index)))
                .filter(|(_, outcomes, too_slow)| !outcomes.is_empty() || !too_slow.is_empty())
                .map(|(work, outcomes, too_slow)| Section {
                    too_slow,
                    ..section(&options, work, outcomes, (infos, &settings))
                })
                .collect(),
            ended_by: None,
            lost_server: false,
        }
    }
}

/// The limit of a run that loads `rows`, where the longest run of another contender took this many seconds: no peer that loads
/// row by row, over a slow network, takes so long.
fn run_limit(rows: u64, longest: f64) -> Duration {
    const LEAST: Duration = Duration::from_secs(300);
    let by_others = Duration::try_from_secs_f64(10.0 * longest).unwrap_or(Duration::MAX);
    LEAST.max(Duration::from_millis(rows)).max(by_others)
}

fn describe(error: &Error) -> String {
    match error.help() {
        Some(help) => format!("{error} ({help})"),
        None => error.to_string(),
    }
}

/// The contender to which the others of a section are compared.
struct Reference {
    name: String,
    /// The rates of its runs; without any, there are no ratios.
    rates: Vec<f64>,
    note: Option<String>,
}

impl Reference {
    /// The baseline among the `outcomes` of `work`: the one that was asked for, which no other replaces where it takes
    /// part, or else the usual one, or else the first that has runs.
    fn find(
        options: &BenchOptions,
        work: Work,
        outcomes: &BTreeMap<usize, Outcome>,
        infos: &[ContenderInfo],
    ) -> Reference {
        let index_of = |name: &str| outcomes.keys().copied().find(|index| infos[*index].name == name);
        let new = |index: usize, note: Option<String>| Reference {
            name: infos[index].name.clone(),
            rates: rates(&outcomes[&index]),
            note,
        };
        let title = |name: &str| {
            let info = infos.iter().find(|info| info.name == name);
            info.map_or_else(|| name.to_owned(), |info| info.title.clone())
        };
        let chosen = options.baseline.as_deref();
        if let Some(index) = chosen.and_then(index_of) {
            let outcome = &outcomes[&index];
            let note =
                || format!("There are no ratios: {}, the baseline, {}.", infos[index].title, outcome.state());
            return new(index, outcome.runs.is_empty().then(note));
        }
        let usual = work.baseline();
        if let Some(index) = index_of(usual).filter(|index| !outcomes[index].runs.is_empty()) {
            let note =
                |chosen| format!("{} does not do this: {} is the baseline.", title(chosen), title(usual));
            return new(index, chosen.map(note));
        }
        let why = match index_of(usual).map(|index| &outcomes[&index]) {
            Some(outcome) => outcome.state(),
            None if options.wants(usual) => "is missing",
            None => "is left out by --only",
        };
        match outcomes.iter().find(|(_, outcome)| !outcome.runs.is_empty()) {
            Some((index, _)) => {
                let note = format!("{} {why}: {} is the baseline.", title(usual), infos[*index].title);
                new(*index, Some(note))
            }
            None => Reference { name: usual.to_owned(), rates: Vec::new(), note: None },
        }
    }
}

impl Outcome {
    /// What became of a contender without runs.
    fn state(&self) -> &'static str {
        if self.failed.is_some() { "failed" } else { "has no runs" }
    }
}

fn rates(outcome: &Outcome) -> Vec<f64> {
    outcome.runs.iter().map(|run| run.rate).collect()
}

fn section(
    options: &BenchOptions,
    work: Work,
    outcomes: BTreeMap<usize, Outcome>,
    (infos, settings): (&[ContenderInfo], &BTreeMap<usize, QueryLoad>),
) -> Section {
    let reference = Reference::find(options, work, &outcomes, infos);
    let is_compared = |(index, outcome): &(&usize, &Outcome)| {
        !outcome.runs.is_empty() && infos[**index].name != reference.name
    };
    let comparisons =
        if reference.rates.is_empty() { 0 } else { outcomes.iter().filter(is_compared).count() };
    let unfinished = outcomes
        .iter()
        .filter(|(_, outcome)| outcome.failed.is_none() && outcome.runs.len() < options.runs)
        .map(|(index, outcome)| Unfinished {
            contender: infos[*index].name.clone(),
            runs: outcome.runs.len(),
            requested_runs: options.runs,
        })
        .collect();
    let mut results: Vec<ContenderResult> = outcomes
        .into_iter()
        .map(|(index, outcome)| {
            let setting = settings.get(&index).filter(|_| matches!(work, Work::Query(_, QueryLoad::Fastest)));
            let setting = setting.and_then(QueryLoad::shape);
            result(infos[index].name.clone(), setting, outcome, &reference, comparisons)
        })
        .collect();
    let median = |result: &ContenderResult| result.rate.map_or(f64::NEG_INFINITY, |rate| rate.median);
    results.sort_by(|a, b| median(b).total_cmp(&median(a)));
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
        baseline: reference.name,
        baseline_note: reference.note,
        comparisons: Some(comparisons),
        unfinished,
        too_slow: Vec::new(),
        results,
    }
}

/// The interval of fewer rounds would be from a thousandth to a thousand times.
const FEWEST_ROUNDS: usize = 3;

/// The result of a contender, one of `comparisons` that are compared with `reference`.
fn result(
    contender: String,
    setting: Option<(usize, usize)>,
    outcome: Outcome,
    reference: &Reference,
    comparisons: usize,
) -> ContenderResult {
    let rates = rates(&outcome);
    // Whoever was not stopped in this round has one run more.
    let rounds = rates.len().min(reference.rates.len());
    let (now, before) = (&rates[..rounds], &reference.rates[..rounds]);
    let (ratio, interval) = match paired_ratio(now, before, comparisons) {
        Some(found) => (Some(found.ratio), (rounds >= FEWEST_ROUNDS).then_some((found.low, found.high))),
        None => (now.first().zip(before.first()).map(|(now, before)| now / before), None),
    };
    let is_compared = contender != reference.name;
    ContenderResult {
        contender,
        setting,
        rate: spread(&rates),
        ratio: ratio.filter(|_| is_compared),
        ratio_interval: interval.filter(|_| is_compared),
        runs: outcome.runs,
        failed: outcome.failed,
    }
}

/// The median, the least and the most of `values`; `None` without any.
fn spread(values: &[f64]) -> Option<Spread> {
    Some(Spread {
        median: median(values)?,
        min: values.iter().copied().reduce(f64::min)?,
        max: values.iter().copied().reduce(f64::max)?,
    })
}

/// The time in UTC: `2026-01-31T12:00:00Z`.
pub(super) fn now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

/// What runs while `done` of `all` runs have ended in the time `elapsed`, and how much longer all take: an estimate that
/// only runs that have ended allow, at most what is left of the time `limit`.
pub(super) fn position(
    done: usize,
    all: usize,
    (elapsed, limit): (Duration, Option<Duration>),
    what: &str,
) -> String {
    let by_runs = (done > 0).then(|| elapsed.as_secs_f64() / done as f64 * all.saturating_sub(done) as f64);
    let by_limit = limit.map(|limit| limit.saturating_sub(elapsed).as_secs_f64());
    let left = by_runs.into_iter().chain(by_limit).reduce(f64::min);
    let left = left.map_or_else(String::new, |left| format!(" · {} left", roughly(left)));
    format!("run {} of {all} · {what}{left}", done + 1)
}

/// A time in words, as precise as an estimate deserves.
pub(super) fn roughly(seconds: f64) -> String {
    match seconds.round().max(1.0) as u64 {
        seconds @ ..100 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_estimated_from_runs_that_have_ended() {
        for (done, seconds, expected) in [
            (0, 0.0, "run 1 of 4 · load"),
            (0, 9.0, "run 1 of 4 · load"),
            (1, 10.0, "run 2 of 4 · load · 30 s left"),
            (3, 0.3, "run 4 of 4 · load · 1 s left"),
            (3, 600.0, "run 4 of 4 · load · 4 min left"),
        ] {
            assert_eq!(position(done, 4, (Duration::from_secs_f64(seconds), None), "load"), expected);
        }
        let limit = Some(Duration::from_secs(55));
        for (done, expected) in [(0, "45 s"), (1, "30 s"), (3, "3 s")] {
            let shown = position(done, 4, (Duration::from_secs(10), limit), "load");
            assert!(shown.ends_with(&format!(" · {expected} left")), "{shown}");
        }
    }

    #[test]
    fn what_hangs_is_ended_but_nothing_that_is_only_slow() {
        let seconds = |rows, longest| run_limit(rows, longest).as_secs();
        assert_eq!([seconds(0, 1.0), seconds(1_000_000, 30.0), seconds(1000, 90.0)], [300, 1000, 900]);
        assert_eq!(run_limit(1, f64::INFINITY), Duration::MAX);
    }
}

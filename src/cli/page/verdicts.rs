//! The sentences above the charts of a comparison: who is the fastest, if the runs can tell, and how far the limit is.

use std::collections::BTreeMap;

use crate::cli::bench::report::{BenchReport, ContenderResult, Section};
use crate::cli::page::charts::latency::LatencyCurve;
use crate::cli::page::units::{micros, rate, ratio};

/// The name of the loop in the server, in documents that do not say that it is the limit.
const SERVER_LOOP: &str = "server-loop";

impl BenchReport {
    pub(super) fn is_ours(&self, name: &str) -> bool {
        self.info(name).is_some_and(|contender| contender.is_ours)
    }

    /// Whether `name` has no client, so that it is no contender, but what none of them can exceed.
    pub(super) fn is_limit(&self, name: &str) -> bool {
        name == SERVER_LOOP || self.info(name).is_some_and(|contender| contender.is_limit)
    }

    /// What the contender `name` is called in a sentence, in which commas mean something else:
    /// `postgres-etl copy (index kept)`.
    pub(super) fn spoken(&self, name: &str) -> String {
        spoken(self.title_of(name), self.is_ours(name))
    }
}

/// As [`BenchReport::spoken`], by the title.
pub(super) fn spoken(title: &str, is_ours: bool) -> String {
    let title = match title.split_once(", ") {
        Some((head, tail)) => format!("{head} ({tail})"),
        None => title.to_owned(),
    };
    if is_ours && !title.contains("postgres-etl") { format!("postgres-etl {title}") } else { title }
}

impl ContenderResult {
    /// The median rate; 0 without runs.
    pub(super) fn median(&self) -> f64 {
        self.rate.map_or(0.0, |rate| rate.median)
    }
}

impl Section {
    /// The results, those without a failure.
    pub(super) fn valid(&self) -> impl Iterator<Item = &ContenderResult> {
        self.results.iter().filter(|result| result.failed.is_none() && !result.runs.is_empty())
    }

    /// By what `result` is ranked: its ratio, in which the rounds are paired, or else its rate.
    pub(super) fn score(&self, result: &ContenderResult) -> f64 {
        if !self.has_ratios() {
            return result.median();
        }
        let of_baseline = (result.contender == self.baseline).then_some(1.0);
        result.ratio.or(of_baseline).unwrap_or_default()
    }

    /// The results of those that have a client, the best first.
    fn clients(&self, report: &BenchReport) -> Vec<&ContenderResult> {
        let mut clients: Vec<_> = self.valid().filter(|result| !report.is_limit(&result.contender)).collect();
        clients.sort_by(|a, b| self.score(b).total_cmp(&self.score(a)));
        clients
    }

    /// The result of what no client can exceed.
    fn limit(&self, report: &BenchReport) -> Option<&ContenderResult> {
        self.valid().find(|result| report.is_limit(&result.contender))
    }

    fn unit(&self) -> &'static str {
        if self.kind == "load" { "rows/s" } else { "queries/s" }
    }
}

/// Which contender is the fastest in `sections`, which have the same work, if the runs can tell.
pub(super) fn fastest(report: &BenchReport, sections: &[&Section]) -> String {
    match sections {
        [section] => fastest_in(report, section),
        sections => fastest_in_most(report, sections),
    }
}

fn fastest_in(report: &BenchReport, section: &Section) -> String {
    let clients = section.clients(report);
    let Some((best, others)) = clients.split_first() else { return "Nothing was measured.".to_owned() };
    let baseline = report.spoken(&section.baseline);
    let times = match (best.ratio, best.ratio_interval) {
        (Some(value), Some((low, high))) => {
            format!(", {}× {baseline} ({}–{})", ratio(value), ratio(low), ratio(high))
        }
        (Some(value), None) => format!(", {}× {baseline}", ratio(value)),
        (None, _) => String::new(),
    };
    let (name, figure) = (report.spoken(&best.contender), rate(best.median()));
    let unit = section.unit();
    let level: Vec<String> = others
        .iter()
        .filter(|other| is_level(section, best, other))
        .map(|other| report.spoken(&other.contender))
        .collect();
    let first = if others.is_empty() {
        format!("{name} makes {figure} {unit}{times}.")
    } else if level.is_empty() {
        format!("{name} is the fastest: {figure} {unit}{times}.")
    } else {
        let level = listed(&level);
        format!(
            "{name} has the highest rate, {figure} {unit}{times}, but these runs do not tell it apart from {level}."
        )
    };
    let limit = section.limit(report).map(|limit| {
        let is_reached = is_level(section, limit, best);
        let but = if is_reached { ", not clearly more" } else { "" };
        let (title, rate) = (report.title_of(&limit.contender), rate(limit.median()));
        format!(" The limit is the {title}, which needs no client: {rate} {unit}{but}.")
    });
    first + &limit.unwrap_or_default()
}

/// How a contender does in several sections.
#[derive(Default)]
struct Standing<'a> {
    /// The sections in which it is clearly the fastest, with its ratio.
    wins: Vec<(&'a Section, Option<f64>)>,
    /// The number of sections in which the runs do not tell it from the fastest, or from the second.
    level: usize,
    behind: usize,
}

fn fastest_in_most(report: &BenchReport, sections: &[&Section]) -> String {
    let mut standings: BTreeMap<&str, Standing<'_>> = BTreeMap::new();
    let mut settings = 0;
    for &section in sections {
        let clients = section.clients(report);
        let Some((best, others)) = clients.split_first().filter(|(_, others)| !others.is_empty()) else {
            continue;
        };
        settings += 1;
        let is_sure = !others.iter().any(|other| is_level(section, best, other));
        for client in &clients {
            let standing = standings.entry(&client.contender).or_default();
            if client.contender != best.contender && !is_level(section, best, client) {
                standing.behind += 1;
            } else if is_sure {
                standing.wins.push((section, client.ratio));
            } else {
                standing.level += 1;
            }
        }
    }
    let rank = |(name, standing): &(&&str, &Standing<'_>)| {
        (standing.wins.len(), standing.level, report.is_ours(name))
    };
    let Some((name, standing)) = standings.iter().max_by_key(rank) else {
        return "Nothing was measured that can be compared.".to_owned();
    };
    let mut parts = vec![format!("is clearly the fastest in {} of {settings} settings", standing.wins.len())];
    let more = [(standing.level, "level with the fastest"), (standing.behind, "slower")];
    parts.extend(
        more.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{what} in {number}")),
    );
    let leads = standing.wins.iter().filter_map(|(section, ratio)| Some((section, (*ratio)?)));
    let lead = leads.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(section, lead)| {
        let baseline = report.spoken(&section.baseline);
        format!("; its largest lead is {}× {baseline} ({})", ratio(lead), section.settings())
    });
    let first = format!("{} {}{}.", report.spoken(name), listed(&parts), lead.unwrap_or_default());
    first + &limit_of(report, sections).unwrap_or_default()
}

/// How far the fastest client is from what no client can exceed.
fn limit_of(report: &BenchReport, sections: &[&Section]) -> Option<String> {
    let highest = |results: &mut dyn Iterator<Item = &ContenderResult>| {
        let rates: Vec<(String, f64)> =
            results.map(|result| (result.contender.clone(), result.median())).collect();
        rates.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))
    };
    let (limit, most) = highest(&mut sections.iter().filter_map(|section| section.limit(report)))?;
    let (client, best) = highest(&mut sections.iter().flat_map(|section| section.clients(report)))?;
    let (title, client) = (report.title_of(&limit), report.spoken(&client));
    let unit = sections.first()?.unit();
    Some(format!(
        " The limit is the {title}, which needs no client: {} {unit}, where the fastest client, {client}, makes {}.",
        rate(most),
        rate(best)
    ))
}

/// Whether the runs of `section` do not tell `best` from `other`: the intervals of their ratios overlap or, without
/// these, the ranges of their runs.
fn is_level(section: &Section, best: &ContenderResult, other: &ContenderResult) -> bool {
    let interval = |result: &ContenderResult| {
        if result.contender == section.baseline { Some((1.0, 1.0)) } else { result.ratio_interval }
    };
    match (interval(best), interval(other)) {
        (Some((low, _)), Some((_, high))) => high >= low,
        _ => other.rate.zip(best.rate).is_none_or(|(other, best)| other.max >= best.min),
    }
}

/// Whose response times are the shortest in `panels`, of sections with the same work, and how long they are there.
pub(super) fn shortest(panels: &[(String, Vec<LatencyCurve>)]) -> String {
    let mut wins: BTreeMap<&str, usize> = BTreeMap::new();
    let mut compared = 0;
    for (_, curves) in panels.iter().filter(|(_, curves)| curves.len() > 1) {
        let p99s: Option<Vec<(&str, f64)>> =
            curves.iter().map(|curve| Some((curve.name.as_str(), curve.at(0.99)?))).collect();
        let best = p99s.and_then(|p99s| p99s.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)));
        if let Some((name, _)) = best {
            compared += 1;
            *wins.entry(name).or_default() += 1;
        }
    }
    let all = panels.iter().flat_map(|(_, curves)| curves).map(|curve| curve.name.as_str());
    let most = wins.iter().max_by_key(|(_, wins)| **wins).map(|(name, wins)| (*name, *wins));
    let Some(name) = most.map(|(name, _)| name).or_else(|| all.into_iter().next()) else {
        return "Nothing was measured.".to_owned();
    };
    let p99 = |(panel, curves): &'_ (String, Vec<LatencyCurve>)| {
        let curve = curves.iter().find(|curve| curve.name == name)?;
        Some((curve.at(0.99)?, panel.clone()))
    };
    let mut p99s: Vec<(f64, String)> = panels.iter().filter_map(p99).collect();
    p99s.sort_by(|a, b| a.0.total_cmp(&b.0));
    let first = match most {
        Some((_, wins)) if compared > 1 => {
            format!(
                "{name} has the lowest p99 in {wins} of the {compared} settings that can be compared; its p99"
            )
        }
        Some(_) => format!("{name} has the lowest p99 in the one setting that can be compared; its p99"),
        None => format!("The p99 of {name}"),
    };
    match (p99s.first(), p99s.last()) {
        (Some((least, at_least)), Some((longest, at_most))) => {
            format!("{first} is from {} ({at_least}) to {} ({at_most}).", micros(*least), micros(*longest))
        }
        _ => "There are too few queries for a 99th percentile.".to_owned(),
    }
}

/// `a, b and c`.
pub(super) fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

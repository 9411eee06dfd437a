//! Who took part in a comparison, in which version, and on what terms.

use std::collections::HashSet;

use crate::cli::bench::report::{BenchReport, ContenderInfo, Fairness};
use crate::cli::page::table::{NOTHING, Table};

/// The terms of those that load and of those that query, how durable their commits are, and their versions: tables, each
/// with a summary of it.
pub(super) fn tables(report: &BenchReport) -> Vec<(&'static str, Table)> {
    let mut tables = Vec::new();
    for (kind, summary) in [("load", "Loading: the terms of each"), ("query", "Querying: the terms of each")]
    {
        let names: HashSet<&str> = report
            .sections
            .iter()
            .filter(|section| section.kind == kind)
            .flat_map(|section| {
                let measured = section.results.iter().map(|result| result.contender.as_str());
                measured.chain(section.too_slow.iter().map(String::as_str))
            })
            .collect();
        let taking_part: Vec<&ContenderInfo> =
            report.contenders.iter().filter(|info| names.contains(info.name.as_str())).collect();
        if !taking_part.is_empty() {
            tables.push((summary, terms(summary, &taking_part)));
        }
    }
    let taking_part: Vec<&ContenderInfo> =
        report.contenders.iter().filter(|info| info.missing.is_none()).collect();
    tables.extend(durability(&taking_part).map(|table| ("What a commit waits for", table)));
    let summary = "Versions, and who is missing";
    let mut versions = Table::new(summary, ["contender", "version", "missing because"]);
    for info in &report.contenders {
        let missing = info.missing.clone().unwrap_or_default();
        let own = format!("postgres-etl {}", report.version);
        let version = if info.is_ours { own } else { info.version.clone() };
        versions.row([info.title.clone(), version, missing]);
    }
    tables.push((summary, versions));
    tables
}

/// One of the terms.
type Term = fn(&Fairness) -> &String;

/// The terms of `contenders`, one in each row; durability has a table of its own, as its texts are long and the same for many.
fn terms(caption: &str, contenders: &[&ContenderInfo]) -> Table {
    let of = |info: &ContenderInfo, text: Term| {
        info.fairness.as_ref().map_or_else(|| NOTHING.to_owned(), |terms| text(terms).clone())
    };
    let columns: [(&str, Term); 3] = [
        ("connections", |terms| &terms.connections),
        ("transactions", |terms| &terms.transactions),
        ("indexes", |terms| &terms.indexes),
    ];
    // What all have in common is said once.
    let (mut caption, mut shown) = (caption.to_owned(), Vec::new());
    for (name, text) in columns {
        let all: HashSet<String> = contenders.iter().map(|info| of(info, text)).collect();
        match all.iter().next() {
            Some(common) if all.len() == 1 && contenders.len() > 1 && common != NOTHING => {
                caption += &format!("; {name} of all: {common}");
            }
            _ => shown.push((name, text)),
        }
    }
    let mut table = Table::new(caption, ["contender", "method"]).of_text();
    table.head.extend(shown.iter().map(|(name, _)| (*name).to_owned()));
    for info in contenders {
        let title = match (info.is_ours, info.is_limit) {
            (true, _) => format!("{} (ours)", info.title),
            (_, true) => format!("{} (the limit)", info.title),
            _ => info.title.clone(),
        };
        let texts = shown.iter().map(|(_, text)| of(info, *text));
        table.rows.push([title, info.terms.clone()].into_iter().chain(texts).collect());
    }
    table
}

/// How durable commits are, with those of whom each is true; `None` in older documents.
fn durability(contenders: &[&ContenderInfo]) -> Option<Table> {
    let mut kinds: Vec<(&str, Vec<&str>)> = Vec::new();
    for info in contenders {
        let Some(terms) = &info.fairness else { continue };
        match kinds.iter_mut().find(|(kind, _)| *kind == terms.durability) {
            Some((_, titles)) => titles.push(&info.title),
            None => kinds.push((&terms.durability, vec![&info.title])),
        }
    }
    let mut table = Table::new("What a commit waits for", ["durability", "contenders"]).of_text();
    for (kind, titles) in &kinds {
        table.row([(*kind).to_owned(), titles.join("; ")]);
    }
    (!kinds.is_empty()).then_some(table)
}

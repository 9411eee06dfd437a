//! Links, chapters and names of tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::{documents, read, root};

/// The targets of the links in `text`, outside of code.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        is_code ^= line.starts_with("```");
        if is_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let target = &line[at + 2..];
            links.push(target[..target.find(')').expect("the link ends on its line")].to_owned());
        }
    }
    links
}

/// The anchors of the headings in `text`, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        is_code ^= line.starts_with("```");
        if is_code || !line.starts_with('#') {
            continue;
        }
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        anchors.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
    }
    anchors
}

/// `path` without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{} leaves the repository", path.display()),
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn links_lead_somewhere() {
    let others = ["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "data/README.md"].map(PathBuf::from);
    let mut broken = Vec::new();
    let mut count = 0;
    for document in documents().into_iter().chain(others) {
        let text = read(&document);
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            count += 1;
            let (file, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = match file {
                "" => document.clone(),
                file => plain(&document.parent().unwrap().join(file)),
            };
            let is_found = root().join(&target).exists()
                && anchor.is_none_or(|anchor| anchors(&read(&target)).contains(anchor));
            // The book has nothing of what is outside of its directory.
            let is_in_book = !document.starts_with("docs") || target.starts_with("docs");
            if !is_found || !is_in_book {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(count > 50, "{count} links");
}

#[test]
fn the_book_has_every_chapter() {
    let summary: BTreeSet<PathBuf> =
        links(&read("docs/SUMMARY.md")).iter().map(|link| Path::new("docs").join(link)).collect();
    let chapters = documents().into_iter().skip(1).filter(|path| !path.ends_with("SUMMARY.md")).collect();
    assert_eq!(summary, chapters);
}

#[test]
fn tables_have_cells_that_can_be_read() {
    for document in documents() {
        for cell in
            read(&document).lines().filter(|line| line.starts_with('|')).flat_map(|line| line.split(" | "))
        {
            assert!(cell.len() < 400, "{}: {cell}", document.display());
        }
    }
    let lines = read("README.md").lines().count();
    assert!(lines <= 200, "the README has {lines} lines");
}

#[test]
fn every_event_has_a_test() {
    let mut tests = BTreeSet::new();
    collect(&root().join("tests"), &mut tests);
    let text = read("docs/events.md");
    let rows = text.lines().filter(|line| {
        line.starts_with("| ") && !line.starts_with("| event |") && !line.starts_with("| --- |")
    });
    let has_test = |row: &str| row.rsplit('`').nth(1).is_some_and(|name| tests.contains(name));
    let missing: Vec<&str> = rows.clone().filter(|row| !has_test(row)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(rows.count() > 50);
}

/// The names of the functions in the Rust files below `directory`.
fn collect(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let functions = text.split("fn ").skip(1).filter_map(|rest| rest.split_once('('));
            names.extend(functions.map(|(name, _)| name.to_owned()));
        }
    }
}

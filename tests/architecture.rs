//! The directions of imports inside the library: no circles, and every room knows only those below it.
//!
//! Between the binary and the library the compiler keeps the wall; here the same is kept between the library's own
//! modules, by reading the paths that they write.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each room at the top of the library may import, besides itself and [`EVERYWHERE`].
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("load", &["catalog", "csv", "encode", "postgres"]),
    ("query", &["catalog", "csv", "encode", "postgres"]),
    ("dataset", &[]),
    ("catalog", &["encode"]),
    ("csv", &[]),
    ("postgres", &[]),
    ("encode", &[]),
    ("blocking", &[]),
    ("count", &[]),
    ("document", &[]),
    ("error", &[]),
    ("escape", &[]),
    ("output_file", &[]),
    ("progress", &[]),
    ("sql", &[]),
    ("statistics", &[]),
    ("suggest", &[]),
];

/// Small modules that know nothing of the others.
const EVERYWHERE: &[&str] = &[
    "blocking",
    "count",
    "document",
    "error",
    "escape",
    "output_file",
    "progress",
    "sql",
    "statistics",
    "suggest",
];

/// Crates that only the binary may use; `Cargo.toml` puts them behind the feature `cli`.
const OF_THE_BINARY: &[&str] = &[
    "anstream",
    "anstyle",
    "clap",
    "clap_complete",
    "clap_mangen",
    "indicatif",
    "toml",
    "tracing_subscriber",
];

/// A module of the library: its path without `crate`, and its code without tests and comments.
struct Module {
    path: Vec<String>,
    code: String,
}

/// Every module of the library.
fn library() -> Vec<Module> {
    modules_below("src")
}

/// Every module of the library in `source`.
fn modules_below(source: &str) -> Vec<Module> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let mut files = Vec::new();
    collect(&source, &mut files);
    let module = |file: PathBuf| {
        let relative = file.strip_prefix(&source).expect("it is below src").with_extension("");
        let mut path: Vec<String> = relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        path.retain(|part| part != "mod" && part != "lib");
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code =
            code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        Module { path, code }
    };
    let is_test = |file: &Path| file.iter().any(|part| part == "tests.rs" || part == "tests");
    let is_binary = |file: &Path| file.starts_with(source.join("cli")) || file.ends_with("main.rs");
    files.into_iter().filter(|file| !is_test(file) && !is_binary(file)).map(module).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// A path that a module writes.
#[derive(Debug, Clone, PartialEq)]
struct Written {
    path: Vec<String>,
    /// `pub use`: a façade names what it shows, and depends on nothing by that.
    is_shown: bool,
}

/// The paths that `code` imports, and those that it writes out in the middle.
fn paths(code: &str) -> Vec<Written> {
    let mut paths = Vec::new();
    let mut rest = code.to_owned();
    for statement in code.split(';') {
        let Some((before, tree)) = statement.rsplit_once("use ") else { continue };
        let last_line = before.rsplit('\n').next().unwrap_or_default().trim();
        // "use" is also a word of messages.
        let is_path = tree.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "_:{},*".contains(c));
        if !is_path || !(last_line.is_empty() || last_line.starts_with("pub")) {
            continue;
        }
        let is_shown = last_line == "pub";
        paths.extend(leaves(tree).into_iter().map(|path| Written { path, is_shown }));
        rest = rest.replacen(&format!("use {tree};"), "", 1);
    }
    for (at, _) in rest.match_indices("crate::") {
        let path = rest[at..]
            .split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
            .next()
            .unwrap_or_default();
        let path = path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        paths.push(Written { path, is_shown: false });
    }
    paths
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn leaves(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((prefix, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.split("::").map(|part| part.trim().to_owned()).collect()];
    };
    let prefix: Vec<String> =
        prefix.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let group = &group[..group.rfind('}').expect("the braces are balanced")];
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[start..]);
    let whole =
        |part: &str| leaves(part).into_iter().map(|leaf| [prefix.clone(), leaf].concat()).collect::<Vec<_>>();
    parts.into_iter().filter(|part| !part.trim().is_empty()).flat_map(whole).collect()
}

/// The modules that each module imports, by their paths; what a façade shows counts as imported from where it is.
fn imports(modules: &[Module]) -> BTreeMap<String, BTreeSet<String>> {
    let written: Vec<(String, Vec<Written>)> =
        modules.iter().map(|module| (module.path.join("::"), paths(&module.code))).collect();
    let names: BTreeSet<&str> = written.iter().map(|(name, _)| name.as_str()).collect();
    let shown: BTreeMap<String, &[String]> = written
        .iter()
        .flat_map(|(module, paths)| paths.iter().map(move |written| (module, written)))
        .filter(|(_, written)| written.is_shown && written.path[0] == "crate")
        .map(|(module, written)| (join(module, written.path.last().unwrap()), &written.path[1..]))
        .collect();
    let owner = |path: &[String]| {
        let mut path = path;
        loop {
            let (length, module) = (0..=path.len())
                .rev()
                .map(|length| (length, path[..length].join("::")))
                .find(|(_, module)| names.contains(module.as_str()))
                .unwrap();
            match path.get(length).and_then(|item| shown.get(&join(&module, item))) {
                Some(behind) => path = behind,
                None => return module,
            }
        }
    };
    let of = |(name, paths): &(String, Vec<Written>)| {
        let imported = paths
            .iter()
            .filter(|written| written.path[0] == "crate" && !written.is_shown)
            .map(|written| owner(&written.path[1..]))
            .filter(|imported| imported != name);
        (name.clone(), imported.collect())
    };
    written.iter().map(of).collect()
}

/// `module::item`; at the root just `item`.
fn join(module: &str, item: &str) -> String {
    if module.is_empty() { item.to_owned() } else { format!("{module}::{item}") }
}

/// For every module that leads back to itself, the way there.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let circle = |start: &String| {
        let mut waiting = vec![vec![start]];
        let mut seen = BTreeSet::new();
        while let Some(way) = waiting.pop() {
            for next in &imports[way[way.len() - 1]] {
                if next == start {
                    let way: Vec<&str> = way.iter().map(|module| module.as_str()).collect();
                    return Some(format!("{} -> {start}", way.join(" -> ")));
                }
                if seen.insert(next) {
                    waiting.push([way.clone(), vec![next]].concat());
                }
            }
        }
        None
    };
    imports.keys().filter_map(circle).collect()
}

/// The imports against [`MAY_IMPORT`].
fn out_of_order(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let room = |path: &str| path.split("::").next().unwrap_or_default().to_owned();
    let mut wrong = Vec::new();
    for (module, imported) in imports {
        let own = room(module);
        if own.is_empty() {
            continue;
        }
        let (_, allowed) = MAY_IMPORT
            .iter()
            .find(|(room, _)| *room == own)
            .unwrap_or_else(|| panic!("{own} is new: say in this test what it may import"));
        for other in imported {
            let other_room = room(other);
            let may = own == other_room || allowed.iter().chain(EVERYWHERE).any(|room| *room == other_room);
            if !may {
                wrong.push(format!("{module} imports {other}"));
            }
        }
    }
    wrong
}

#[test]
fn no_module_imports_itself_by_way_of_others() {
    for (source, fewest) in [("src", 80), ("crates/sync-batching/src", 15)] {
        let modules = modules_below(source);
        assert!(modules.len() >= fewest, "{source} was not found: {} modules", modules.len());
        let circles = circles(&imports(&modules));
        assert!(circles.is_empty(), "modules import each other in a circle:\n{}", circles.join("\n"));
        // Which would hide from what is read here.
        let relative = modules.iter().find(|module| module.code.contains("super::"));
        assert!(relative.is_none(), "write paths from crate:: on: {:?}", relative.map(|module| &module.path));
    }
}

#[test]
fn rooms_import_only_what_is_below_them() {
    let wrong = out_of_order(&imports(&library()));
    assert!(wrong.is_empty(), "against the order of the rooms:\n{}", wrong.join("\n"));
}

#[test]
fn the_library_does_without_the_binarys_crates() {
    for module in library() {
        for written in paths(&module.code) {
            let name = written.path[0].as_str();
            assert!(!OF_THE_BINARY.contains(&name), "{} imports {name}", module.path.join("::"));
        }
        for name in OF_THE_BINARY {
            let inline = format!("{name}::");
            let used = module.code.match_indices(&inline).any(|(at, _)| {
                !module.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
            });
            assert!(!used, "{} uses {name}", module.path.join("::"));
        }
    }
}

#[test]
fn paths_are_read_as_the_compiler_reads_them() {
    let code = "use crate::a::{self, b::{C, d::E}};\npub use crate::f::G;\nfn x() { crate::h::i() }\n";
    let written =
        |path: &str, is_shown| Written { path: path.split("::").map(str::to_owned).collect(), is_shown };
    assert_eq!(
        paths(code),
        [
            written("crate::a::self", false),
            written("crate::a::b::C", false),
            written("crate::a::b::d::E", false),
            written("crate::f::G", true),
            written("crate::h::i", false),
        ]
    );
}

#[test]
fn what_is_wrong_is_found() {
    let module = |path: &str, code: &str| Module {
        path: path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        code: code.to_owned(),
    };
    let circle = [
        module("", ""),
        module("a", "use crate::b::B;"),
        module("b", "use crate::{c, d};"),
        module("c", "fn f() { crate::a::g() }"),
        module("d", ""),
    ];
    assert_eq!(circles(&imports(&circle))[0], "a -> b -> c -> a");
    // By way of a façade, which by itself depends on nothing.
    let facade = [
        module("", ""),
        module("csv", "pub use crate::csv::files::Files;"),
        module("csv::files", "use crate::csv::scan::scan;"),
        module("csv::scan", "use crate::csv::Files;"),
    ];
    assert_eq!(circles(&imports(&facade))[0], "csv::files -> csv::scan -> csv::files");
    let upward = [module("", ""), module("load", ""), module("csv", "use crate::load::Mode;")];
    assert_eq!(out_of_order(&imports(&upward)), ["csv imports load"]);
    let shown =
        [module("", "pub use crate::load::Mode;"), module("load", ""), module("csv", "use crate::Mode;")];
    assert_eq!(out_of_order(&imports(&shown)), ["csv imports load"]);
}

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
    ("error", &[]),
    ("output_file", &[]),
    ("progress", &[]),
    ("sql", &[]),
    ("suggest", &[]),
];

/// Small modules that know nothing of the others.
const EVERYWHERE: &[&str] = &["blocking", "error", "output_file", "progress", "sql", "suggest"];

/// Crates that only the binary may use; `Cargo.toml` puts them behind the feature `cli`.
const OF_THE_BINARY: &[&str] =
    &["clap", "clap_complete", "clap_mangen", "indicatif", "toml", "tracing_subscriber"];

/// A module of the library: its path without `crate`, and its code without tests and comments.
struct Module {
    path: Vec<String>,
    code: String,
}

/// Every module of the library.
fn library() -> Vec<Module> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
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
        if !(last_line.is_empty() || last_line.starts_with("pub")) {
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

/// The modules that each module imports, by their paths.
fn imports(modules: &[Module]) -> BTreeMap<String, BTreeSet<String>> {
    let names: BTreeSet<String> = modules.iter().map(|module| module.path.join("::")).collect();
    let owner = |path: &[String]| {
        (0..=path.len())
            .rev()
            .map(|length| path[..length].join("::"))
            .find(|name| names.contains(name))
            .unwrap()
    };
    let of = |module: &Module| {
        let name = module.path.join("::");
        let imported = paths(&module.code).into_iter().filter(|written| written.path[0] == "crate");
        let imported = imported
            .map(|written| (owner(&written.path[1..]), written.is_shown))
            .filter(|(imported, is_shown)| *imported != name && !(*is_shown && imported.starts_with(&name)))
            .map(|(imported, _)| imported);
        (name.clone(), imported.collect())
    };
    modules.iter().map(of).collect()
}

/// Every module that leads back to itself, with all that it leads to.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let reaches = |from: &str| {
        let (mut seen, mut waiting) = (BTreeSet::new(), vec![from]);
        while let Some(module) = waiting.pop() {
            for next in &imports[module] {
                if seen.insert(next.as_str()) {
                    waiting.push(next);
                }
            }
        }
        seen
    };
    imports
        .keys()
        .map(String::as_str)
        .filter(|module| reaches(module).contains(module))
        .map(str::to_owned)
        .collect()
}

#[test]
fn no_module_imports_itself_by_way_of_others() {
    let modules = library();
    assert!(modules.len() > 80, "the library was not found: {} modules", modules.len());
    let circles = circles(&imports(&modules));
    assert!(circles.is_empty(), "these modules import each other in a circle: {}", circles.join(", "));
}

#[test]
fn rooms_import_only_what_is_below_them() {
    let mut wrong = Vec::new();
    for (module, imported) in imports(&library()) {
        let room = |path: &str| path.split("::").next().unwrap_or_default().to_owned();
        let own = room(&module);
        if own.is_empty() {
            continue;
        }
        let (_, allowed) = MAY_IMPORT
            .iter()
            .find(|(room, _)| *room == own)
            .unwrap_or_else(|| panic!("{own} is new: say in this test what it may import"));
        for other in imported {
            let other_room = room(&other);
            let is_below =
                allowed.contains(&other_room.as_str()) || EVERYWHERE.contains(&other_room.as_str());
            // The root names only what the small modules define.
            if !(is_below || other_room == own || other_room.is_empty()) {
                wrong.push(format!("{module} imports {other}"));
            }
        }
    }
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
fn a_circle_is_found() {
    let module = |path: &str, code: &str| Module { path: vec![path.to_owned()], code: code.to_owned() };
    let modules = [
        Module { path: Vec::new(), code: String::new() },
        module("a", "use crate::b::B;"),
        module("b", "use crate::{c, d};"),
        module("c", "fn f() { crate::a::g() }"),
        module("d", ""),
    ];
    assert_eq!(circles(&imports(&modules)), ["a", "b", "c"]);
}

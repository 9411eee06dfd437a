//! What the program says of itself: `docs/commands.md` from its help, `docs/schemas` and `docs/json.md` from its schemas.
//!
//! `just snapshots` writes them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use super::{is_updating, root};
use crate::support::workplace::Workplace;

/// Check that the file `path` is `current`, or write it where snapshots are updated.
fn check(path: &str, current: &str) {
    let file = root().join(path);
    if is_updating() {
        fs::write(&file, current).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == current, "{path} is not current; `just snapshots` writes it anew");
}

#[test]
fn the_chapter_of_commands_is_current() {
    let workplace = Workplace::without_database();
    let mut chapter = "# Commands and flags\n\nWhat `postgres-etl COMMAND --help` prints.\n".to_owned();
    let commands = [
        "load",
        "imports",
        "query",
        "check",
        "bench",
        "report",
        "generate",
        "server",
        "completions",
        "man",
        "schema",
    ];
    for command in [""].into_iter().chain(commands) {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = workplace.succeed(&arguments).stdout;
        let name = if command.is_empty() { "postgres-etl" } else { command };
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        write!(chapter, "\n## {name}\n\n```text\n{}\n```\n", lines.join("\n").trim_end()).unwrap();
    }
    check("docs/commands.md", &chapter);
}

/// The names of the documents, what each is, and its schema.
fn schemas() -> Vec<(String, String, Value)> {
    let workplace = Workplace::without_database();
    let list = workplace.succeed(&["schema"]).stdout;
    let schema = |line: &str| {
        let (name, what) = line.split_once(' ').unwrap();
        let schema = workplace.succeed(&["schema", name]).json();
        (name.to_owned(), what.trim().to_owned(), schema)
    };
    list.lines().map(schema).collect()
}

#[test]
fn the_schemas_are_current() {
    for (name, _, schema) in schemas() {
        check(&format!("docs/schemas/{name}.json"), &format!("{schema:#}\n"));
    }
    let count = fs::read_dir(root().join("docs/schemas")).unwrap().count();
    assert_eq!(count, schemas().len(), "docs/schemas has a schema of no document");
}

/// Writes the tables of keys.
struct Reference<'a> {
    /// The parts that several documents share, by name.
    parts: BTreeMap<&'a str, &'a Value>,
    /// The parts that have been referred to, and need a table.
    wanted: BTreeSet<&'a str>,
    text: String,
}

/// Keys of the server's settings, which speak for themselves.
const SETTINGS: [&str; 8] = [
    "version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "shared_buffers",
    "max_wal_size",
    "synchronous_standby_names",
];

/// The documents whose report is a part of another document.
const DOCUMENTS: [(&str, &str); 1] = [("RunReport", "query")];

impl<'a> Reference<'a> {
    /// The type of a value, as the tables say it.
    fn type_of(&mut self, schema: &'a Value) -> String {
        if let Some(name) = schema["$ref"].as_str() {
            return self.part(name.trim_start_matches("#/$defs/"));
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(choices) = schema[choice].as_array() {
                let types: Vec<String> = choices.iter().map(|choice| self.type_of(choice)).collect();
                return types.join(" or ");
            }
        }
        if let Some(values) = schema["enum"].as_array() {
            return values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" or ");
        }
        if !schema["const"].is_null() {
            return format!("`{}`", schema["const"]);
        }
        match &schema["type"] {
            Value::String(name) => self.plain_type(name, schema),
            Value::Array(names) => {
                let names = names.iter().filter_map(Value::as_str);
                names.map(|name| self.plain_type(name, schema)).collect::<Vec<_>>().join(" or ")
            }
            _ => "any".to_owned(),
        }
    }

    fn plain_type(&mut self, name: &str, schema: &'a Value) -> String {
        match name {
            "array" if schema["prefixItems"].is_array() => {
                let items = schema["prefixItems"].as_array().unwrap();
                let items: Vec<String> = items.iter().map(|item| self.type_of(item)).collect();
                format!("[{}]", items.join(", "))
            }
            "array" => match self.type_of(&schema["items"]) {
                choice if choice.contains(" or ") => format!("array of ({choice})"),
                item => format!("array of {item}"),
            },
            "object" if schema["additionalProperties"].is_object() => {
                format!("object of {}", self.type_of(&schema["additionalProperties"]))
            }
            "object" => match schema["properties"].as_object() {
                Some(properties) => {
                    let keys: Vec<String> = properties.keys().map(|key| format!("`{key}`")).collect();
                    format!("{{{}}}", keys.join(", "))
                }
                None => "object".to_owned(),
            },
            name => name.to_owned(),
        }
    }

    /// The part `name`: its values if it is a plain value, and otherwise a link to its table.
    fn part(&mut self, name: &'a str) -> String {
        if let Some((_, document)) = DOCUMENTS.iter().find(|(part, _)| *part == name) {
            return format!("[{document}](#{document})");
        }
        let schema = self.parts[name];
        if schema["properties"].is_object() {
            self.wanted.insert(name);
            return format!("[{name}](#{})", name.to_lowercase());
        }
        self.type_of(schema)
    }

    fn head(&mut self) {
        self.text.push_str("| key | type | |\n| --- | --- | --- |\n");
    }

    /// A row of a table for each of the keys in `properties`.
    fn rows(&mut self, properties: impl IntoIterator<Item = (&'a String, &'a Value)>) {
        for (key, schema) in properties {
            let is_of = self.type_of(schema);
            let what = match schema["description"].as_str() {
                Some(what) => what,
                None if !schema["const"].is_null() => "",
                None if SETTINGS.contains(&key.as_str()) => "The server's setting of this name.",
                None => panic!("{key} has no doc comment: {schema:#}"),
            };
            writeln!(self.text, "| `{key}` | {} | {} |", is_of.replace('|', "\\|"), what.replace('|', "\\|"))
                .unwrap();
        }
    }

    /// The tables of a document with this `schema`; `known` are the keys of another one, which need no second table.
    fn document(&mut self, schema: &'a Value, known: Option<&Value>) {
        if let Some(properties) = schema["properties"].as_object() {
            self.head();
            self.rows(properties);
        }
        let variants = ["anyOf", "oneOf"].iter().filter_map(|choice| schema[choice].as_array()).flatten();
        for variant in variants {
            if known == Some(&variant["properties"]) {
                self.text.push_str("\nThe keys of [load](#load), if it succeeded.\n");
                continue;
            }
            let what = variant["description"].as_str().expect("a variant has a doc comment");
            writeln!(self.text, "\n{what}\n").unwrap();
            let part = variant["$ref"].as_str().map(|name| self.parts[name.trim_start_matches("#/$defs/")]);
            self.head();
            for schema in [Some(variant), part].into_iter().flatten() {
                self.rows(schema["properties"].as_object().into_iter().flatten());
            }
        }
    }
}

/// The part of the chapter that precedes the tables.
const INTRODUCTION: &str = "\
# JSON documents

With `--json` the result is one document on standard output; notes and errors stay on standard error. Receipts and saved
runs are files. Each document has `schema`, the version of its shape, and `postgres_etl`, that of the program. Keys are only
added, as long as `schema` stays the same. Null: not requested, or not applicable. Units are in the names of the keys.

`postgres-etl schema NAME` prints the JSON Schema (2020-12) of a document, `postgres-etl schema` the names.
Documents without `schema`, from before it was introduced, are read as well; those with a later one are refused.

The tables are made from the schemas.
";

#[test]
fn the_reference_of_json_documents_is_current() {
    let schemas = schemas();
    let mut parts = BTreeMap::new();
    for (name, part) in schemas.iter().filter_map(|(_, _, schema)| schema["$defs"].as_object()).flatten() {
        let other = parts.insert(name.as_str(), part);
        assert!(other.is_none_or(|other| other == part), "several types are called {name}");
    }
    let mut reference = Reference { parts, wanted: BTreeSet::new(), text: INTRODUCTION.to_owned() };
    let load = schemas.iter().find(|(name, ..)| name == "load").map(|(_, _, schema)| &schema["properties"]);
    for (name, what, schema) in &schemas {
        let schema_file = format!("[schema](schemas/{name}.json)");
        writeln!(reference.text, "\n## {name}\n\nThis is {what}; {schema_file}.").unwrap();
        if schema["properties"].is_object() {
            reference.text.push('\n');
        }
        reference.document(schema, load.filter(|_| name == "receipt"));
    }
    reference.text.push_str("\n## Parts of documents\n");
    let mut written = BTreeSet::new();
    while let Some(name) = reference.wanted.iter().copied().find(|name| !written.contains(name)) {
        written.insert(name);
        let schema = reference.parts[name];
        let what = schema["description"].as_str().unwrap_or_default();
        writeln!(reference.text, "\n### {name}\n\n{what}\n").unwrap();
        reference.document(schema, None);
    }
    check("docs/json.md", &reference.text);
}

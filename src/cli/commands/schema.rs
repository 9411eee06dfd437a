//! `schema`: the shapes of the JSON documents.

use clap::ValueEnum as _;
use postgres_etl::Result;
use postgres_etl::document::JsonDocument;
use postgres_etl::load::{LoadReport, RejectSchema};
use postgres_etl::query::{MergedReport, RunReport, RunsReport, SavedRuns, SearchReport, TablesReport};
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::cli::args::SchemaName;
use crate::cli::bench::report::{BenchReport, ContendersReport};
use crate::cli::commands::check::CheckReport;
use crate::cli::commands::generate::GenerateReport;
use crate::cli::commands::imports::ImportsReport;
use crate::cli::commands::load::{FailedLoad, UnstartedLoad};
use crate::cli::commands::print;
use crate::cli::commands::report::PageReport;
use crate::cli::commands::server::ServerReport;
use crate::cli::exit;
use crate::cli::render::Failure;

/// Print the schema of `document`, or the names of all documents.
///
/// # Errors
/// When standard output cannot be written to.
pub(super) fn run(document: Option<SchemaName>) -> Result<u8> {
    print(&match document {
        Some(name) => serde_json::to_string_pretty(&schema(name))
            .expect("a schema has only string keys and finite numbers"),
        None => SchemaName::value_variants().iter().map(|name| listed(*name)).collect::<Vec<_>>().join("\n"),
    })?;
    Ok(exit::DONE)
}

/// The name of a document, and what it is.
fn listed(name: SchemaName) -> String {
    let value = name.to_possible_value().expect("no document is hidden");
    let what = value.get_help().map(ToString::to_string).unwrap_or_default();
    format!("{:<10} {what}", value.get_name())
}

/// The schema of the document `name`.
fn schema(name: SchemaName) -> Schema {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let parts = match name {
        SchemaName::Load => vec![document::<LoadReport>(&mut generator)],
        SchemaName::Receipt => vec![
            document::<LoadReport>(&mut generator),
            document::<FailedLoad<'_>>(&mut generator),
            document::<UnstartedLoad<'_>>(&mut generator),
        ],
        SchemaName::Reject => vec![RejectSchema::json_schema(&mut generator)],
        SchemaName::Query => vec![document::<RunReport>(&mut generator)],
        SchemaName::Runs => vec![document::<RunsReport>(&mut generator)],
        SchemaName::Search => vec![document::<SearchReport>(&mut generator)],
        SchemaName::Init => vec![document::<TablesReport>(&mut generator)],
        SchemaName::Saved => vec![SavedRuns::json_schema(&mut generator)],
        SchemaName::Bench => vec![document::<BenchReport>(&mut generator)],
        SchemaName::Contenders => vec![document::<ContendersReport>(&mut generator)],
        SchemaName::Check => vec![document::<CheckReport>(&mut generator)],
        SchemaName::Imports => vec![document::<ImportsReport>(&mut generator)],
        SchemaName::Generate => vec![document::<GenerateReport>(&mut generator)],
        SchemaName::Report => vec![document::<PageReport>(&mut generator)],
        SchemaName::Merged => vec![document::<MergedReport>(&mut generator)],
        SchemaName::Server => vec![document::<ServerReport>(&mut generator)],
        SchemaName::Error => vec![document::<Failure<'_>>(&mut generator)],
    };
    let mut schema = match <[Schema; 1]>::try_from(parts) {
        Ok([schema]) => schema,
        Err(parts) => json_schema!({ "anyOf": parts }),
    };
    let definitions = generator.take_definitions(true);
    if !definitions.is_empty() {
        schema.insert("$defs".into(), Value::Object(definitions));
    }
    RecursiveTransform(describe_to_users).transform(&mut schema);
    let value = name.to_possible_value().expect("no document is hidden");
    schema.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".into(), value.get_name().into());
    schema.insert("description".into(), value.get_help().map(ToString::to_string).into());
    schema
}

/// The schema of a document that holds the report `T`.
fn document<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = JsonDocument::<T>::json_schema(generator);
    if let Some(description) = T::json_schema(generator).get("description") {
        schema.insert("description".into(), description.clone());
    }
    schema
}

/// Turn the description, which is written for readers of the code, into one for readers of the document.
fn describe_to_users(schema: &mut Schema) {
    let Some(Value::String(description)) = schema.get("description") else { return };
    let mut text = String::new();
    let mut rest = description.as_str();
    // Links to items of the code become their names.
    while let Some((before, after)) = rest.split_once('[') {
        let Some((label, behind)) = after.split_once(']').filter(|(label, _)| label.starts_with('`')) else {
            text.push_str(before);
            text.push('[');
            rest = after;
            continue;
        };
        text.push_str(before);
        text.push_str(label);
        rest = match behind.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((_, behind)) => behind,
            None => behind,
        };
    }
    text.push_str(rest);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.replace(". `None`", ". Null").replace("`None`", "null");
    schema.insert("description".into(), text.into());
}

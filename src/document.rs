//! What all JSON documents have in common: the version of their shape.

use serde::Serialize;
use serde_json::Value;

/// The version of the documents' shape. It grows when a key is removed or changes its meaning, not when one is added.
pub const SCHEMA: u32 = 1;

/// A report as a JSON document.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JsonDocument<T> {
    /// The version of the document's shape. It grows when a key is removed or changes its meaning.
    pub schema: u32,
    /// The version of the program that wrote the document.
    pub postgres_etl: &'static str,
    /// The report itself.
    #[serde(flatten)]
    pub report: T,
}

impl<T> JsonDocument<T> {
    /// The document of `report`.
    pub fn new(report: T) -> JsonDocument<T> {
        JsonDocument { schema: SCHEMA, postgres_etl: env!("CARGO_PKG_VERSION"), report }
    }
}

/// Check that the shape of `document` is known; a document without a version is older than all that have one.
///
/// # Errors
/// What is wrong, to be read after the name of the file.
pub fn check_schema(document: &Value) -> Result<(), String> {
    match document["schema"].as_u64() {
        Some(schema) if schema > u64::from(SCHEMA) => {
            let writer = document["postgres_etl"].as_str().unwrap_or("of a later version");
            Err(format!(
                "was written by postgres-etl {writer}, with schema {schema}; version {} reads schemas up to {SCHEMA}",
                env!("CARGO_PKG_VERSION")
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_of_later_versions_are_refused() {
        for known in [json!({}), json!({"schema": 1}), json!({"schema": null}), json!([])] {
            assert_eq!(check_schema(&known), Ok(()), "{known}");
        }
        let refusal = check_schema(&json!({"schema": 2, "postgres_etl": "9.1.0"})).unwrap_err();
        assert!(
            refusal.starts_with("was written by postgres-etl 9.1.0, with schema 2; version "),
            "{refusal}"
        );
    }

    #[test]
    fn a_document_holds_its_report() {
        let document = serde_json::to_value(JsonDocument::new(json!({"rows": 7}))).unwrap();
        assert_eq!(document, json!({"schema": 1, "postgres_etl": env!("CARGO_PKG_VERSION"), "rows": 7}));
    }
}

//! Every JSON document that a test reads is checked against its published schema.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

use serde_json::Value;

/// Check that `document`, if it is one of this program's, is as `docs/schemas` says.
pub(crate) fn check(document: &Value) {
    static SCHEMAS: LazyLock<Mutex<BTreeMap<&str, Value>>> = LazyLock::new(Mutex::default);
    let Some(name) = name(document) else { return };
    let mut schemas = SCHEMAS.lock().unwrap();
    let schema = schemas.entry(name).or_insert_with(|| {
        let path = format!("{}/docs/schemas/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    });
    let problems = problems(document, schema, schema, "");
    assert!(problems.is_empty(), "not as docs/schemas/{name}.json says: {problems:#?}\n{document:#}");
}

/// The name of the schema of `document`; `None` if it is no document of this program, or older than the schemas.
fn name(document: &Value) -> Option<&'static str> {
    if !document["schema"].is_u64() {
        return None;
    }
    let has = |key: &str| document.get(key).is_some();
    Some(match document["command"].as_str() {
        None if has("report") || has("runs") => "saved",
        None => return None,
        Some("load") if has("outcome") && has("error") => "receipt",
        Some(_) if has("error") => "error",
        Some("query") if has("search") => "search",
        Some("query") if has("runs") => "runs",
        Some("query") if has("init") => "init",
        Some("report") if has("runs") => "merged",
        Some("bench") if !has("sections") => "contenders",
        Some(command) => {
            let known = ["load", "imports", "query", "bench", "check", "generate", "report", "server"];
            known.into_iter().find(|known| *known == command)?
        }
    })
}

/// Where `value` is not as `schema`, a part of `root`, says; `path` is where it is.
fn problems(value: &Value, schema: &Value, root: &Value, path: &str) -> Vec<String> {
    let part = schema["$ref"].as_str().map(|name| root.pointer(&name[1..]).expect("the part is there"));
    let mut found = part.map_or_else(Vec::new, |part| problems(value, part, root, path));
    if !has_type(value, &schema["type"]) {
        found.push(format!("{path}: {value} is not of type {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|values| !values.contains(value))
        || schema.get("const").is_some_and(|constant| constant != value)
    {
        found.push(format!("{path}: {value} is not one of {schema}"));
    }
    for choices in ["anyOf", "oneOf"].iter().filter_map(|choice| schema[choice].as_array()) {
        let of_each: Vec<Vec<String>> =
            choices.iter().map(|choice| problems(value, choice, root, path)).collect();
        if !of_each.iter().any(Vec::is_empty) {
            found.push(format!("{path}: {value} is none of the choices: {of_each:?}"));
        }
    }
    if let Some(object) = value.as_object() {
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        found.extend(
            required.filter(|key| !object.contains_key(*key)).map(|key| format!("{path}.{key} is missing")),
        );
        for (key, value) in object {
            let schema = schema["properties"].get(key).or(schema.get("additionalProperties"));
            found.extend(
                schema.into_iter().flat_map(|schema| problems(value, schema, root, &format!("{path}.{key}"))),
            );
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        let schema = schema["prefixItems"].get(index).or(schema.get("items"));
        found.extend(
            schema.into_iter().flat_map(|schema| problems(item, schema, root, &format!("{path}[{index}]"))),
        );
    }
    found
}

/// Whether `value` has one of the types `expected`: a name, several, or null for any.
fn has_type(value: &Value, expected: &Value) -> bool {
    match expected {
        Value::Array(names) => names.iter().any(|name| has_type(value, name)),
        Value::String(name) => match name.as_str() {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "string" => value.is_string(),
            "number" => value.is_number(),
            "integer" => value.is_i64() || value.is_u64(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("an unknown type: {other}"),
        },
        _ => true,
    }
}

#[test]
fn what_is_not_as_the_schema_says_is_found() {
    use serde_json::json;

    let schema = json!({
        "type": "object",
        "required": ["a"],
        "properties": {
            "a": {"$ref": "#/$defs/A"},
            "b": {"type": "array", "items": {"type": ["number", "null"]}},
            "c": {"anyOf": [{"const": "x"}, {"enum": [1, 2]}]},
        },
        "$defs": {"A": {"type": "integer"}},
    });
    for (value, count) in [
        (json!({"a": 1, "b": [1.5, null], "c": 2, "more": true}), 0),
        (json!({"a": 1, "c": "x"}), 0),
        (json!({}), 1),
        (json!([]), 1),
        (json!({"a": 1.5}), 1),
        (json!({"a": 1, "b": [1, "2", true]}), 2),
        (json!({"a": 1, "c": 3}), 1),
    ] {
        let found = problems(&value, &schema, &schema, "");
        assert_eq!(found.len(), count, "{value}: {found:?}");
    }
}

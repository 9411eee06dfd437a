//! The shape of the JSON documents that `--json` prints.

use crate::support::workplace::{ProgramOutput, Workplace};

/// The documents that `docs/json.md` promises: every key, with the type of its value.
#[tokio::test]
async fn json_documents_keep_their_shape() {
    let workplace = Workplace::new().await;
    let shape = |ran: &ProgramOutput| shape_of(&ran.json());
    let generated = workplace.succeed(&["generate", "-n", "50", "-o", "people.csv", "--json"]);
    insta::assert_snapshot!("generate", shape(&generated));
    insta::assert_snapshot!("load", shape(&workplace.succeed(&["load", "people.csv", "--json"])));
    let mut query = workplace.succeed(&["query", "--duration", "1s", "--json"]).json();
    // Which events were waited for varies from run to run, and so does whether there are enough data for an interval.
    query["bound"]["waiting"] = "chance".into();
    for pointer in ["/rate_interval", "/response_us/mean_interval"] {
        *query.pointer_mut(pointer).unwrap() = "chance".into();
    }
    insta::assert_snapshot!("query", shape_of(&query));
    insta::assert_snapshot!("check", shape(&workplace.succeed(&["check", "people.csv", "--json"])));
    workplace.succeed(&["load", "people.csv", "--truncate", "--receipt", "load.json"]);
    let report = ["report", "load.json", "--html", "load.html", "--json"];
    insta::assert_snapshot!("report", shape(&workplace.succeed(&report)));
    let failed = workplace.run(&["load", "nothing.csv", "--json"]);
    assert_eq!(failed.status.code(), Some(1));
    insta::assert_snapshot!("error", shape(&failed));
    // An error of the command line itself has the same shape.
    let misspelt = workplace.run(&["query", "--json", "--pipline-depth", "3"]);
    insta::assert_snapshot!("error", shape(&misspelt));
    assert_eq!((&misspelt.json()["command"], misspelt.status.code()), (&"query".into(), Some(2)));
    let told = misspelt.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(told.starts_with("unexpected argument '--pipline-depth' found"), "{told}");
    let help = misspelt.json()["error"]["help"].as_str().unwrap().to_owned();
    assert_eq!(help, "a similar argument exists: '--pipeline-depth'");
}

/// The paths of all values and their types, one value per line.
fn shape_of(value: &serde_json::Value) -> String {
    fn walk(path: &str, value: &serde_json::Value, lines: &mut Vec<String>) {
        use serde_json::Value;
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    walk(&format!("{path}.{key}"), value, lines);
                }
            }
            Value::Array(items) => match items.first() {
                Some(first) => walk(&format!("{path}[]"), first, lines),
                None => lines.push(format!("{path}[]")),
            },
            Value::Null => lines.push(format!("{path}: null")),
            Value::Bool(_) => lines.push(format!("{path}: boolean")),
            Value::Number(_) => lines.push(format!("{path}: number")),
            Value::String(_) => lines.push(format!("{path}: string")),
        }
    }
    let mut lines = Vec::new();
    walk("", value, &mut lines);
    lines.join("\n")
}

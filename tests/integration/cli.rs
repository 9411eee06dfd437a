//! Flags, configuration, help and the shape of the JSON documents.

use crate::support;
use crate::support::cli::{Ran, Workplace};

#[test]
fn help_teaches() {
    let workplace = Workplace::nowhere();
    for command in ["", "generate", "load", "query", "check", "server"] {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let name = if command.is_empty() { "help" } else { command };
        insta::assert_snapshot!(format!("help_{name}"), workplace.succeed(&args).stdout);
    }
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    let workplace = Workplace::nowhere();
    for shell in ["bash", "zsh", "fish"] {
        assert!(workplace.succeed(&["completions", shell]).stdout.contains("--autocommit"), "{shell}");
    }
    let page = workplace.succeed(&["man"]).stdout;
    assert!(page.starts_with(".ie") && page.contains(".TH postgres-etl 1"), "{page:.300}");
    assert!(page.contains("autocommit"));
}

/// The documents that the README promises: every key, with the type of its value.
#[tokio::test]
async fn json_documents_keep_their_shape() {
    let database = support::database().await;
    let workplace = Workplace::on(&database);
    let shape = |ran: &Ran| shape_of(&ran.json());
    let generated = workplace.succeed(&["generate", "-n", "50", "-o", "people.csv", "--json"]);
    insta::assert_snapshot!("json_generate", shape(&generated));
    insta::assert_snapshot!("json_load", shape(&workplace.succeed(&["load", "people.csv", "--json"])));
    let mut query = workplace.succeed(&["query", "-n", "5", "--json"]).json();
    // What was waited for is chance, and so is whether it was enough for an interval.
    query["bound"]["waiting"] = "chance".into();
    for pointer in ["/rate_interval", "/response_us/mean_interval"] {
        *query.pointer_mut(pointer).unwrap() = "chance".into();
    }
    insta::assert_snapshot!("json_query", shape_of(&query));
    insta::assert_snapshot!("json_check", shape(&workplace.succeed(&["check", "people.csv", "--json"])));
    let failed = workplace.run(&["load", "nothing.csv", "--json"]);
    assert_eq!(failed.status.code(), Some(1));
    insta::assert_snapshot!("json_error", shape(&failed));
    // What is wrong with the command line itself is told in the same shape.
    let misspelt = workplace.run(&["query", "--json", "--pipline-depth", "3"]);
    insta::assert_snapshot!("json_error", shape(&misspelt));
    assert_eq!((&misspelt.json()["command"], misspelt.status.code()), (&"query".into(), Some(2)));
    let told = misspelt.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(told.starts_with("unexpected argument '--pipline-depth' found"), "{told}");
    let help = misspelt.json()["error"]["help"].as_str().unwrap().to_owned();
    assert_eq!(help, "a similar argument exists: '--pipeline-depth'");
}

/// One line a value: its path and its type.
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

#[tokio::test]
async fn flags_win_over_environment_over_file() {
    let database = support::database().await;
    let workplace = Workplace::on(&database);
    workplace.write("people.csv", "id\n1\n");
    workplace.write("config.toml", "[load]\nmode = \"batch\"\n[database]\nurl = \"host=nowhere.invalid\"\n");
    let mode = |args: &[&str], env: &[(&str, &str)]| {
        let mut command =
            workplace.command(&[&["load", "people.csv", "--truncate", "--json"], args].concat());
        command.envs(env.iter().copied());
        Ran::of(command).json()["mode"].as_str().unwrap().to_owned()
    };
    assert_eq!(mode(&[], &[]), "batch");
    assert_eq!(mode(&[], &[("POSTGRES_ETL_MODE", "rows")]), "rows");
    assert_eq!(mode(&["--mode", "copy"], &[("POSTGRES_ETL_MODE", "rows")]), "copy");
    let named = Workplace::nowhere();
    named.write("people.csv", "id\n1\n");
    named.write("config.toml", format!("[database]\nurl = {:?}\n", database.url()));
    named.succeed(&["load", "people.csv", "--truncate"]);
    let message =
        named.fail(&["load", "people.csv", "--database-url", "postgresql://nobody@127.0.0.1:1/x"], 4);
    assert!(message.contains("127.0.0.1:1"), "{message}");
}

#[test]
fn a_wrong_configuration_names_line_and_nearest_key() {
    let workplace = Workplace::nowhere();
    workplace.write("config.toml", "[load]\nbatchsize = 5\n");
    insta::assert_snapshot!(workplace.fail(&["load"], 2), @r"
    error: config.toml, line 2: unknown key `batchsize`
      help: did you mean `batch_size`? Valid here: input, delimiter, quote, escape, null, header, comment, encoding, sniff, max_record_bytes, mode, truncate, defer_indexes, analyze, batch_size, pipeline_depth, sync_every, autocommit, connections
    ");
    insta::assert_snapshot!(workplace.fail(&["load", "--config", "none.toml"], 2), @r"
    error: there is no configuration file none.toml
      help: leave --config out to use ./config.toml, or the defaults if that is missing
    ");
}

#[test]
fn output_that_cannot_be_written_is_said_at_once() {
    let workplace = Workplace::nowhere();
    let message = workplace.fail(&["generate", "-n", "1000000", "-o", "no/such/place.csv"], 1);
    assert!(message.contains("no/such/place.csv"), "{message}");
    insta::assert_snapshot!(workplace.fail(&["generate", "-n", "0"], 2), @r"
    error: -n 0 asks for no people
      help: give a number from 1 up
    ");
    // Standard output that is full.
    let mut command = workplace.command(&["generate", "-n", "1000", "-o", "-"]);
    command.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let ran = Ran::of(command);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("No space left on device"), "{ran:#?}");
}

#[test]
fn our_own_server_is_started_and_stopped_by_hand() {
    let workplace = Workplace::nowhere();
    // The server's user has to reach it when root runs the tests.
    let dir = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let server = |action: &[&str]| {
        let mut command = workplace.command(&[&["server"], action].concat());
        command.env("POSTGRES_ETL_SERVER_DIR", dir.path());
        Ran::of(command)
    };
    let status = server(&["status"]);
    assert!(status.stdout.starts_with("not running") && status.status.code() == Some(3), "{status:#?}");
    let started = server(&["start", "--json"]);
    assert!(started.status.success(), "{started:#?}");
    assert_eq!(started.json()["origin"], "initialised");
    let url = server(&["url"]).stdout;
    assert!(url.starts_with("postgresql:///postgres?host="), "{url}");
    let status = server(&["status"]);
    assert!(status.stdout.starts_with("running") && status.status.success(), "{status:#?}");
    // A command that is told of no server uses it.
    workplace.write("people.csv", "id\n1\n");
    let mut load = workplace.command(&["load", "people.csv"]);
    load.env("POSTGRES_ETL_SERVER_DIR", dir.path());
    let loaded = Ran::of(load);
    assert!(loaded.stdout.starts_with("loaded 1 row "), "{loaded:#?}");
    assert_eq!(server(&["stop"]).stdout, "stopped\n");
    assert_eq!(server(&["stop"]).stdout, "it was not running\n");
}

//! `bench`: contenders are checked before their time counts, and what went wrong is reported.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::workplace::{ProgramOutput, Workplace};

/// Install `script` as the program `name` of a peer.
fn install(workplace: &Workplace, name: &str, script: &str) {
    let path = format!("peers/build/release/{name}");
    workplace.write(&path, format!("#!/usr/bin/env bash\nset -e\n{script}\n"));
    fs::set_permissions(workplace.path(&path), Permissions::from_mode(0o755)).unwrap();
}

/// `bench` with `flags`, and the peers of the workplace.
fn bench(workplace: &Workplace, flags: &[&str]) -> Command {
    let mut command = workplace.command(&[&["bench", "--runs", "1", "--rows", "200"], flags].concat());
    command.env("POSTGRES_ETL_PEERS_DIR", workplace.path("peers"));
    command
}

fn run(workplace: &Workplace, flags: &[&str]) -> ProgramOutput {
    ProgramOutput::from_command(bench(workplace, flags))
}

/// The result of `contender` in the first section of a report.
fn result<'a>(report: &'a serde_json::Value, contender: &str) -> &'a serde_json::Value {
    let results = report["sections"][0]["results"].as_array().unwrap();
    results.iter().find(|result| result["contender"] == contender).unwrap_or_else(|| panic!("{report:#}"))
}

#[tokio::test]
async fn a_peer_that_leaves_a_wrong_table_fails_and_the_others_go_on() {
    let workplace = Workplace::new().await;
    // The file but for its last row.
    let load = r#"head -n -1 "$3" | psql -qX "$1" -c "\copy $2 from stdin csv header""#;
    install(&workplace, "sqlx-load", load);
    let only = ["--only", "copy,psql-copy,sqlx-rows"];
    let ran = run(&workplace, &[&only[..], &["--json"]].concat());
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let report = ran.json();
    let why = result(&report, "sqlx-rows")["failed"].as_str().unwrap().to_owned();
    assert!(why.starts_with("WRONG TABLE: it holds 199 rows"), "{why}");
    assert_eq!(result(&report, "sqlx-rows")["runs"].as_array().unwrap().len(), 0);
    for contender in ["copy", "psql-copy"] {
        let found = result(&report, contender);
        assert!(found["failed"].is_null() && found["runs"].as_array().unwrap().len() == 1, "{found:#}");
        assert!(found["runs"][0]["rate"].as_f64().unwrap() > 0.0, "{found:#}");
    }
    assert_eq!(report["sections"][0]["baseline"], "psql-copy");
    assert!(result(&report, "psql-copy")["ratio"].is_null());
    assert!(result(&report, "copy")["ratio"].is_number());

    install(&workplace, "sqlx-load", &load.replace("head -n -1", "cat"));
    let ran = run(
        &workplace,
        &[&only[..], &["--csv", "runs.csv", "--save", "report.json", "--html", "page.html"]].concat(),
    );
    assert!(ran.status.success(), "{ran:#?}");
    assert!(ran.stdout.contains("load 200 rows (compared with psql \\copy)"), "{ran:#?}");
    assert_eq!(workplace.read("runs.csv").lines().count(), 4, "a header and three runs");
    assert_eq!(workplace.read_json("report.json")["command"], "bench");
    let page = workplace.read("page.html");
    assert!(page.contains("load 200 rows") && page.contains("<svg"), "{page:.500}");
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'postgres_etl_bench'";
    assert_eq!(workplace.value::<i64>(left).await, 0, "nothing is left in the database");
}

#[tokio::test]
async fn a_peer_that_answers_wrongly_fails() {
    let workplace = Workplace::new().await;
    // Right answers, but for those of one age.
    let answers = r#"for age in $(seq 22 71); do psql -qAtX "$1" -c "${2//\$1/$age}"; done | sed '3s/$/0/'"#;
    install(&workplace, "sqlx-query", answers);
    let ran = run(&workplace, &["--only", "sqlx", "--json"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let report = ran.json();
    let failed = report["sections"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|section| section["results"].as_array().unwrap());
    let why: Vec<&str> = failed.filter_map(|result| result["failed"].as_str()).collect();
    assert!(why.iter().any(|why| why.starts_with("WRONG ANSWERS: ")), "{why:?}");
}

/// pgbench and the loop in the server leave their answers in the server.
#[tokio::test]
async fn answers_that_only_the_server_sees_are_compared_too() {
    let workplace = Workplace::new().await;
    // Counts are too large by one; names are not numbers, which is an error.
    workplace.write(
        "bin/pgbench",
        "#!/usr/bin/env bash
for argument; do
    case $argument in */answers.sql) sed -i 's/:answer)/:answer::int + 1)/' \"$argument\" ;; esac
done
PATH=${PATH#*:} exec pgbench \"$@\"
",
    );
    fs::set_permissions(workplace.path("bin/pgbench"), Permissions::from_mode(0o755)).unwrap();
    let mut command = bench(&workplace, &["--only", "pgbench,server-loop", "--json"]);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", workplace.path("bin").display()));
    let ran = ProgramOutput::from_command(command);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let report = ran.json();
    let why = result(&report, "pgbench")["failed"].as_str().unwrap().to_owned();
    assert!(why.starts_with("WRONG ANSWERS: "), "{why}");
    let found = result(&report, "server-loop");
    assert!(found["failed"].is_null() && found["runs"].as_array().unwrap().len() == 1, "{found:#}");
}

#[tokio::test]
async fn who_is_missing_and_who_is_unknown_is_said() {
    let workplace = Workplace::new().await;
    let ran = run(&workplace, &["--only", "copy,sqlx-rows"]);
    assert!(ran.status.success(), "{ran:#?}");
    assert!(
        ran.stdout.contains("missing: sqlx, row by row (not installed: bench --install-peers)"),
        "{ran:#?}"
    );
    let unknown = workplace.fail(&["bench", "--only", "copy,sqlite"], 2);
    assert!(unknown.contains("--only: there is no contender sqlite"), "{unknown}");
    assert!(unknown.contains("psql-copy"), "{unknown}");
    workplace.execute("CREATE SCHEMA postgres_etl_bench").await;
    let error = workplace.fail(&["bench", "--only", "copy", "--rows", "100"], 1);
    assert!(error.contains("the schema postgres_etl_bench exists already"), "{error}");
}

/// Ctrl-C ends the contender that runs, and keeps what was measured.
#[tokio::test]
async fn an_interrupted_comparison_reports_what_it_has() {
    let workplace = Workplace::new().await;
    let wait = r#"psql -qX "$1" -c 'CREATE TABLE IF NOT EXISTS began (n int)'; sleep 600"#;
    install(&workplace, "sqlx-load", wait);
    let mut command = bench(&workplace, &["--only", "sqlx-rows", "--json"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let began = "SELECT count(*) FROM pg_class WHERE relname = 'began'";
    while workplace.value::<i64>(began).await == 0 {}
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = ProgramOutput::from_child(child);
    assert_eq!(ran.status.code(), Some(130), "{ran:#?}");
    let report = ran.json();
    assert_eq!(report["ended_by"], "interrupted", "{report:#}");
    assert!(result(&report, "sqlx-rows")["failed"].is_null(), "{report:#}");
}

#[tokio::test]
async fn no_run_begins_after_the_time_limit() {
    let workplace = Workplace::new().await;
    let ran = run(&workplace, &["--only", "copy", "--time-limit", "1ms", "--json"]);
    assert!(ran.status.success(), "{ran:#?}");
    assert_eq!(ran.json()["ended_by"], "the time limit was reached");
}

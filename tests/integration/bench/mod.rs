//! `bench`: contenders are checked before their time counts, and what went wrong is reported.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::terminal::Terminal;
use crate::support::workplace::{ProgramOutput, Workplace};

/// Install `script` as the program `name` of a peer.
fn install(workplace: &Workplace, name: &str, script: &str) {
    let path = format!("peers/build/release/{name}");
    workplace.write(&path, format!("#!/usr/bin/env bash\nset -e\n{script}\n"));
    fs::set_permissions(workplace.path(&path), Permissions::from_mode(0o755)).unwrap();
}

/// `bench` with `flags`, by default with one run of each, and the peers of the workplace.
fn bench(workplace: &Workplace, flags: &[&str]) -> Command {
    let unless_given =
        |flag: &'static str, value| if flags.contains(&flag) { vec![] } else { vec![flag, value] };
    let (rows, runs) = (unless_given("--rows", "200"), unless_given("--runs", "1"));
    let mut command = workplace.command(&[&["bench"], &rows[..], &runs, flags].concat());
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
    let flags = ["--runs", "3", "--csv", "runs.csv", "--save", "report.json", "--html", "page.html"];
    all_figures_are_shown(&workplace, &[&only[..], &flags].concat());
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'postgres_etl_bench'";
    assert_eq!(workplace.value::<i64>(left).await, 0, "nothing is left in the database");
}

/// `bench` with `flags` shows the same figures on a terminal of 80 columns, in its files, and in Markdown.
fn all_figures_are_shown(workplace: &Workplace, flags: &[&str]) {
    let (mut terminal, line) = Terminal::of_width(80);
    let mut command = bench(workplace, flags);
    command.env("TERM", "xterm").stdout(line.try_clone().unwrap()).stderr(std::process::Stdio::null());
    drop(line);
    let mut child = command.spawn().unwrap();
    drop(command);
    terminal.wait_until_closed();
    assert!(child.wait().unwrap().success());
    let shown = terminal.screen.text();
    assert!(shown.iter().all(|line| line.chars().count() <= 80), "{shown:#?}");
    assert!(
        shown[0].starts_with("3 contenders, 3 runs of each in random order after a warm-up, in "),
        "{shown:#?}"
    );
    for part in
        ["  machine  ", "  server   PostgreSQL ", "  versions psql (PostgreSQL) ", "  ratios   in each table"]
    {
        assert!(shown.iter().any(|line| line.starts_with(part)), "{part}: {shown:#?}");
    }
    let at = shown.iter().position(|line| line == r"load 200 rows (ratios to psql \copy)").unwrap();
    let words = |line: usize| shown[line].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(at + 1), "rows/s least most ratio interval MB/s");
    assert_eq!(words(at + 5), "client server client server");
    assert_eq!(words(at + 6), "CPU CPU memory memory WAL");
    let report = workplace.read_json("report.json");
    let section = &report["sections"][0];
    assert_eq!((&section["comparisons"], &section["unfinished"]), (&2.into(), &serde_json::json!([])));
    assert!(section["baseline_note"].is_null(), "{section:#}");
    let copy = result(&report, "copy");
    let (ratio, interval) = (copy["ratio"].as_f64().unwrap(), &copy["ratio_interval"]);
    assert!(interval[0].as_f64().unwrap() < ratio && ratio < interval[1].as_f64().unwrap(), "{copy:#}");

    let csv = workplace.read("runs.csv");
    let mut lines = csv::Reader::from_reader(csv.as_bytes());
    let heads = lines.headers().unwrap().clone();
    let runs: Vec<csv::StringRecord> = lines.records().map(Result::unwrap).collect();
    assert_eq!(runs.len(), 9, "three runs of three: {csv}");
    let column = |name: &str| heads.iter().position(|head| head == name).unwrap();
    let line = runs.iter().find(|line| &line[column("contender")] == "copy").unwrap();
    for (name, value) in [
        ("run", 1.0),
        ("ratio", ratio),
        ("ratio_high", interval[1].as_f64().unwrap()),
        ("median_rate", copy["rate"]["median"].as_f64().unwrap()),
        ("wal_bytes", copy["runs"][0]["wal_bytes"].as_f64().unwrap()),
        ("write_seconds", copy["runs"][0]["phases"]["write"].as_f64().unwrap()),
        ("confirm_seconds", copy["runs"][0]["phases"]["confirm"].as_f64().unwrap()),
    ] {
        let in_csv: f64 = line[column(name)].parse().unwrap();
        assert!((in_csv - value).abs() <= f64::EPSILON * value.abs(), "{name}: {csv}");
    }
    let page = workplace.read("page.html");
    assert!(page.contains("load 200 rows") && page.contains("<svg"), "{page:.500}");
    assert!(page.contains("simultaneous 95 % interval") && page.contains("one per row"), "{page:.500}");
    workplace.succeed(&["report", "report.json", "--markdown", "tables.md"]);
    let tables = workplace.read("tables.md");
    let expected = [
        "| load 200 rows | rows/s | least | most | ratio | interval | MB/s | client CPU | server CPU |",
        "- versions: psql (PostgreSQL) ",
        r"Ratios to psql \copy.",
    ];
    for part in expected {
        assert!(tables.contains(part), "{part}: {tables}");
    }
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

/// What the server does without a client is measured, unless it may not read the file.
#[tokio::test]
async fn the_server_copies_a_file_by_itself_if_it_can() {
    let workplace = Workplace::new().await;
    let flags = ["--rows", "200,100000", "--only", "copy,server-copy", "--baseline", "server-copy", "--json"];
    let report = ProgramOutput::from_command(bench(&workplace, &flags)).json();
    let loads: Vec<_> =
        report["sections"].as_array().unwrap().iter().filter(|section| section["kind"] == "load").collect();
    let measured: Vec<Vec<_>> = loads
        .iter()
        .map(|section| {
            let results = section["results"].as_array().unwrap();
            let valid =
                results.iter().filter(|result| result["failed"].is_null() && result["runs"][0].is_object());
            let mut names: Vec<_> = valid.map(|result| result["contender"].as_str().unwrap()).collect();
            names.sort_unstable();
            names
        })
        .collect();
    // Fewer rows take less time than the start of its client.
    assert_eq!(measured, [vec!["copy"], vec!["copy", "server-copy"]], "{report:#}");
    assert_eq!(loads[1]["baseline"], "server-copy");

    let database: String = workplace.value("SELECT current_database()::text").await;
    workplace
        .execute(&format!("CREATE ROLE {database}; GRANT CREATE ON DATABASE {database} TO {database}"))
        .await;
    let as_role = |flags: &[&str]| {
        let mut command = bench(&workplace, flags);
        command.env("PGOPTIONS", format!("-c role={database}"));
        ProgramOutput::from_command(command)
    };
    let ran = as_role(&["--rows", "100000", "--only", "copy,server-copy"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let why = "COPY in the server (the server failed to read the file: ";
    assert!(ran.stdout.contains(why), "{ran:#?}");
    let few = as_role(&["--rows", "99999", "--only", "copy,server-copy"]);
    assert_eq!(few.status.code(), Some(1), "{few:#?}");
    assert!(
        few.stderr.contains("--only names server-copy, which is missing: it needs --rows 100000"),
        "{few:#?}"
    );
    let ran = as_role(&flags);
    assert_eq!(ran.status.code(), Some(2), "{ran:#?}");
    assert!(ran.stderr.contains("--baseline: server-copy cannot take part: the server failed"), "{ran:#?}");
    workplace.execute(&format!("DROP OWNED BY {database}; DROP ROLE {database}")).await;
}

#[tokio::test]
async fn who_is_missing_and_who_is_unknown_is_said() {
    let workplace = Workplace::new().await;
    let ran = run(&workplace, &["--only", "copy,sqlx-rows", "--save", "report.json"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    for (part, text) in [
        ("1 contender, 1 run of each in random order", &ran.stdout),
        ("  missing  sqlx, row by row (not installed: bench --install-peers)\n", &ran.stdout),
        ("  note     psql \\copy is left out by --only: copy is the baseline.\n", &ran.stdout),
        (
            "error: --only names sqlx-rows, which is missing: not installed: bench --install-peers\n",
            &ran.stderr,
        ),
    ] {
        assert!(text.contains(part), "{part}: {ran:#?}");
    }
    let saved = workplace.read("report.json");
    let nothing = run(&workplace, &["--only", "sqlx-rows", "--save", "report.json"]);
    assert_eq!(nothing.status.code(), Some(1), "{nothing:#?}");
    assert!(
        nothing
            .stderr
            .contains("error: nothing was measured, and no file was written: no contender takes part")
    );
    assert_eq!(workplace.read("report.json"), saved);
    for (flags, message) in [
        (&["--only", "copy", "--baseline", "psql-copy"][..], "--baseline: --only leaves psql-copy out"),
        (&["--baseline", "sqlx-rows"], "--baseline: sqlx-rows cannot take part: not installed: "),
        (&["--baseline", "sqlite"], "--baseline: there is no contender sqlite"),
    ] {
        let ran = run(&workplace, flags);
        assert!(ran.status.code() == Some(2) && ran.stderr.contains(message), "{message}: {ran:#?}");
    }
    let unknown = workplace.fail(&["bench", "--only", "copy,sqlite"], 2);
    assert!(unknown.contains("--only: there is no contender sqlite"), "{unknown}");
    assert!(unknown.contains("psql-copy"), "{unknown}");
    workplace.execute("CREATE SCHEMA postgres_etl_bench").await;
    let error = workplace.fail(&["bench", "--only", "copy", "--rows", "100"], 1);
    assert!(error.contains("the schema postgres_etl_bench exists already"), "{error}");
}

/// Interrupt `bench` with `flags` once a peer that loads has made the table `began`.
async fn interrupt(workplace: &Workplace, flags: &[&str]) -> ProgramOutput {
    let mut command = bench(workplace, flags);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let began = "SELECT count(*) FROM pg_class WHERE relname = 'began'";
    while workplace.value::<i64>(began).await == 0 {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before the table was made");
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = ProgramOutput::from_child(child);
    assert_eq!(ran.status.code(), Some(130), "{ran:#?}");
    ran
}

/// Ctrl-C ends the contender that runs, and keeps what was measured.
#[tokio::test]
async fn an_interrupted_comparison_reports_what_it_has_and_what_it_lacks() {
    let workplace = Workplace::new().await;
    let wait = r#"psql -qX "$1" -c 'CREATE TABLE began (n int)'; sleep 600"#;
    install(&workplace, "sqlx-load", wait);
    let only = ["--only", "copy,sqlx-rows"];
    let ran = interrupt(&workplace, &["--only", "sqlx-rows", "--json"]).await;
    let report = ran.json();
    assert_eq!(report["ended_by"], "interrupted", "{report:#}");
    assert!(result(&report, "sqlx-rows")["failed"].is_null(), "{report:#}");
    assert!(result(&report, "sqlx-rows")["rate"].is_null(), "{report:#}");
    assert!(
        ran.stderr.contains("error: nothing was measured, and no file was written: interrupted"),
        "{ran:#?}"
    );

    // The warm-up and the first measured run are as they should be.
    workplace.execute("DROP TABLE began; CREATE SEQUENCE calls").await;
    let load = r#"psql -qX "$1" -c "\copy $2 from '$3' csv header""#;
    let call = r#"[ "$(psql -qAtX "$1" -c "SELECT nextval('calls')")" = 3 ] || exit 0"#;
    install(&workplace, "sqlx-load", &[load, call, wait].join("\n"));
    let flags = ["--runs", "4", "--html", "page.html", "--save", "report.json"];
    let ran = interrupt(&workplace, &[&only[..], &flags].concat()).await;
    let unfinished = workplace.read_json("report.json")["sections"][0]["unfinished"].clone();
    let of_peer = serde_json::json!({"contender": "sqlx-rows", "runs": 1, "requested_runs": 4});
    assert!(unfinished.as_array().unwrap().contains(&of_peer), "{unfinished:#}");
    for text in [&ran.stdout, &workplace.read("page.html")] {
        assert!(text.contains("3 of 4 runs of sqlx, row by row"), "{ran:#?}");
    }
    assert!(ran.stdout.ends_with("NOT FINISHED: interrupted\n"), "{ran:#?}");
}

#[tokio::test]
async fn no_run_begins_after_the_time_limit() {
    let workplace = Workplace::new().await;
    let ran = run(&workplace, &["--only", "copy", "--time-limit", "1ms"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    for part in ["  missing  1 of 1 run of copy\n", "NOT FINISHED: the time limit was reached\n"] {
        assert!(ran.stdout.contains(part), "{part}: {ran:#?}");
    }
    let error = "error: nothing was measured, and no file was written: the time limit was reached\n";
    assert!(ran.stderr.ends_with(error), "{ran:#?}");
}

/// The second peer's session holds a lock on the table, and would keep it for ten minutes after its client was killed.
#[tokio::test]
async fn a_contender_that_hangs_is_ended_and_the_others_go_on() {
    let workplace = Workplace::new().await;
    let hang = r#"exec psql -qX "$1" -c "BEGIN; LOCK TABLE $2; SELECT pg_sleep(600)""#;
    install(&workplace, "sqlx-load", hang);
    let flags = ["--only", "copy,sqlx-rows,psql-copy", "--run-limit", "5s", "--html", "page.html", "--json"];
    let ran = run(&workplace, &flags);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let report = ran.json();
    assert_eq!(result(&report, "sqlx-rows")["failed"], "no end after 5 s: it was killed");
    assert!(report["ended_by"].is_null(), "{report:#}");
    for contender in ["copy", "psql-copy"] {
        let found = result(&report, contender);
        assert!(found["failed"].is_null() && found["runs"].as_array().unwrap().len() == 1, "{found:#}");
    }
    let page = workplace.read("page.html");
    assert!(page.contains("sqlx, row by row failed (load 200 rows): no end after 5 s"), "{page:.2000}");
}

/// A commit for each of 100,001 rows.
#[tokio::test]
async fn who_would_take_too_long_is_named_and_not_measured() {
    let workplace = Workplace::new().await;
    for (only, code) in [("rows-autocommit", 1), ("rows-autocommit,copy", 0)] {
        let flags = ["bench", "--rows", "100001", "--runs", "1", "--only", only];
        let ran = ProgramOutput::from_command(workplace.command(&flags));
        assert_eq!(ran.status.code(), Some(code), "{ran:#?}");
        let why = "not measured with 100,001 rows, which would take too long: rows, a commit per row\n";
        assert!(ran.stdout.contains(&format!("  note     {why}")), "{ran:#?}");
        let error = format!("error: nothing was measured, and no file was written: {why}");
        assert_eq!(ran.stderr.ends_with(&error), code == 1, "{ran:#?}");
    }
}

#[tokio::test]
async fn a_baseline_that_fails_is_not_replaced() {
    let workplace = Workplace::new().await;
    install(&workplace, "sqlx-load", "exit 3");
    let ran = run(&workplace, &["--only", "copy,psql-copy,sqlx-rows", "--baseline", "sqlx-rows"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let note = "  note     There are no ratios: sqlx, row by row, the baseline, failed.\n";
    assert!(ran.stdout.contains(note) && ran.stdout.contains("\nload 200 rows\n"), "{ran:#?}");
    // A contender that only loads cannot be the baseline of queries.
    let ran = run(&workplace, &["--only", "pgbench,psql-copy", "--baseline", "psql-copy"]);
    assert!(ran.status.success(), "{ran:#?}");
    assert!(
        ran.stdout.contains("  note     psql \\copy does not do this: pgbench is the baseline.\n"),
        "{ran:#?}"
    );
}

#[tokio::test]
async fn the_server_may_be_named_part_by_part_and_contenders_are_listed_as_json() {
    let workplace = Workplace::new().await;
    let found: Vec<String> = workplace
        .values("SELECT v FROM unnest(ARRAY[trim('\"' FROM split_part(current_setting('unix_socket_directories'), ',', 1)), current_setting('port'), current_user::text, current_database()::text]) v")
        .await;
    let [host, port, user, database] = &found[..] else { panic!("{found:?}") };
    let mut command =
        bench(&workplace, &["--only", "copy,psql-copy", "--host", host, "-p", port, "-U", user]);
    command.args(["-d", database, "--json"]).env_remove("DATABASE_URL");
    let ran = ProgramOutput::from_command(command);
    assert!(ran.status.success(), "{ran:#?}");
    assert!(result(&ran.json(), "psql-copy")["rate"]["median"].as_f64().unwrap() > 0.0);

    let listed = run(&workplace, &["--list", "--json"]).json();
    let contenders = listed["contenders"].as_array().unwrap();
    for contender in contenders {
        for term in ["connections", "transactions", "durability", "indexes"] {
            assert!(!contender["fairness"][term].as_str().unwrap().is_empty(), "{term}: {contender:#}");
        }
    }
    let text = run(&workplace, &["--list"]).stdout;
    let expected = "sqlx-rows: sqlx, row by row\n  MISSING      not installed: bench --install-peers\n";
    assert!(text.contains(expected) && text.contains("  durability   logged table; "), "{text}");
}

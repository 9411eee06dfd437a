//! What is printed for people: its width, its colours, and how much of it there is.

use std::process::Stdio;

use crate::support::terminal::Terminal;
use crate::support::workplace::{ProgramOutput, Workplace};

/// What the program with `args` and the variables `env` writes to a terminal of this `width`.
fn on_terminal(workplace: &Workplace, width: usize, args: &[&str], env: &[(&str, &str)]) -> Terminal {
    let (mut terminal, line) = Terminal::of_width(width);
    let mut command = workplace.command(args);
    command.env("TERM", "xterm").env_remove("NO_COLOR").envs(env.iter().copied());
    let mut child = command.stdout(line.try_clone().unwrap()).stderr(line).spawn().unwrap();
    drop(command);
    terminal.wait_until_closed();
    child.wait().unwrap();
    terminal
}

#[tokio::test]
async fn reports_and_errors_are_folded_to_the_terminal() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await.csv("t.csv", "id\n1\n2\n");
    for width in [80, 100] {
        let text = on_terminal(&workplace, width, &["load", "t.csv", "-t", "t"], &[]).screen.text();
        assert!(text.iter().all(|line| line.chars().count() <= width), "{text:#?}");
        // The server's settings need several lines, which go on below its address.
        let server = text.iter().position(|line| line.starts_with("  server  PostgreSQL ")).unwrap();
        let indent = text[server + 1].len() - text[server + 1].trim_start().len();
        assert_eq!(indent, "  server  ".len(), "{text:#?}");
        let text = on_terminal(&workplace, width, &["load", "nothing.csv", "-t", "t"], &[]).screen.text();
        assert!(text[0].starts_with("error: failed to open nothing.csv"), "{text:#?}");
        assert!(text.iter().all(|line| line.chars().count() <= width), "{text:#?}");
        let help = text.iter().position(|line| line.starts_with("  help: check the path")).unwrap();
        assert!(width == 100 || text[help + 1].starts_with("        "), "{text:#?}");
    }
}

#[tokio::test]
async fn colour_is_for_terminals_unless_a_flag_or_a_variable_decides() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await.csv("t.csv", "id\n1\n");
    let load = ["load", "t.csv", "-t", "t"];
    let fail = ["load", "nothing.csv"];
    let misspelt = ["load", "--tabel", "t"];
    let red = "\x1b[1m\x1b[31merror:\x1b[0m ";
    for (args, coloured) in [(&load[..], "\x1b[1mloaded 1 row into t in "), (&fail, red), (&misspelt, red)] {
        let always = [args, &["--color", "always"]].concat();
        let never = [args, &["--color=never"]].concat();
        assert!(on_terminal(&workplace, 100, args, &[]).written.contains(coloured), "{args:?}");
        assert!(
            !on_terminal(&workplace, 100, args, &[("NO_COLOR", "1")]).written.contains("[1m"),
            "{args:?}"
        );
        assert!(!on_terminal(&workplace, 100, &never, &[]).written.contains("[1m"), "{args:?}");
        let ran = workplace.run(args);
        assert!(!format!("{ran:?}").contains("[1m"), "{ran:#?}");
        let ran = workplace.run(&always);
        assert!((ran.stdout + &ran.stderr).contains(coloured), "{args:?}");
    }
}

/// A warning is a message like any other on a terminal, and a line of a log elsewhere.
#[tokio::test]
async fn warnings_have_a_time_only_where_they_are_logged() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await.csv("t.csv", "id\n1\n");
    // The server does not ask for the password.
    let url = format!("{}&password=secret", workplace.database_url());
    let load = ["load", "t.csv", "-t", "t", "--database-url", &url, "-q"];
    let warning = "other users of this machine can see the password in --database-url";
    let terminal = on_terminal(&workplace, 200, &load, &[("NO_COLOR", "1")]);
    assert!(terminal.screen.text()[0].starts_with(&format!("warning: {warning}")), "{}", terminal.written);
    let logged = workplace.run(&load).stderr;
    assert!(logged.starts_with("20") && logged.contains(" WARN postgres_etl::cli"), "{logged}");
}

#[tokio::test]
async fn quiet_is_silent_unless_something_goes_wrong() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int); CREATE TABLE persons (id int)")
        .await
        .config("[query.one]\nsql = \"SELECT 1\"\n")
        .csv("t.csv", "id\n1\n")
        .csv("bad.csv", "id\nx\n2\n");
    let silent: [&[&str]; 7] = [
        &["load", "t.csv", "-t", "t"],
        &["load", "new.csv", "-t", "new", "--create"],
        &["query", "one", "-n", "10"],
        &["query", "one", "--sweep", "connections=1,2", "--duration", "10ms"],
        &["query", "one", "--runs", "2", "-n", "10"],
        &["check", "t.csv", "-t", "t"],
        &["generate", "-n", "3", "-o", "x.csv"],
    ];
    workplace.write("new.csv", "id\n1\n");
    for args in silent {
        let ran = workplace.succeed(&[args, &["-q"]].concat());
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""), "{args:?}");
        let command = args[0];
        let ran = workplace.succeed(&[args, &["-q", "--json"]].concat());
        assert_eq!((&ran.json()["command"], ran.stderr.as_str()), (&command.into(), ""), "{args:?}");
    }
    // What did not go well is reported, on standard output as always.
    let rejects = ["load", "bad.csv", "-t", "t", "--max-rejects", "1", "-q"];
    let ran = workplace.run(&rejects);
    assert_eq!((ran.status.code(), ran.stderr.as_str()), (Some(3), ""), "{ran:#?}");
    assert!(ran.stdout.contains("2 read = 1 loaded + 1 rejected"), "{ran:#?}");
    let ran = workplace.run(&["check", "bad.csv", "-t", "t", "-q"]);
    assert!(ran.status.code() == Some(1) && ran.stdout.contains("file       BAD"), "{ran:#?}");
    let ran = workplace.run(&["query", "--sql", "SELECT 1 / 0", "-n", "3", "-q"]);
    assert!(ran.status.code() == Some(1) && ran.stdout.contains("22012"), "{ran:#?}");
    assert!(ran.stderr.starts_with("error: 3 of 3 queries failed"), "{ran:#?}");
    // What is asked for is no report.
    let ran = workplace.succeed(&["load", "t.csv", "-t", "t", "--ddl-only", "-q"]);
    assert!(ran.stdout.starts_with("CREATE TABLE"), "{ran:#?}");
}

#[tokio::test]
async fn verbose_tells_what_is_done_and_why_and_then_the_sql() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY, span tsrange)")
        .await
        .csv("t.csv", "id\n1\n2\n");
    let load = ["load", "t.csv", "-t", "t", "--mode", "rows"];
    let told = |flag: &str| workplace.succeed(&[&load[..], &[flag]].concat()).stderr;
    let once = told("-v");
    for expected in [
        ", named by DATABASE_URL",
        "input t.csv: delimiter comma, quote double quote, UTF-8",
        "table t: to be added to",
        "field 1 -> id integer: binary",
        "indexes to be rebuilt after loading: t_pkey",
        "committed transaction ",
        "analyzing: 2 rows are more than a tenth",
    ] {
        assert!(once.contains(expected), "{expected}: {once}");
    }
    assert!(!once.contains("INSERT INTO"), "{once}");
    let twice = workplace.run(&[&load[..], &["-vv", "--truncate"]].concat()).stderr;
    for expected in ["INSERT INTO", "TRUNCATE ONLY", "SET CONSTRAINTS ALL IMMEDIATE", "COMMIT"] {
        assert!(twice.contains(expected), "{expected}: {twice}");
    }
    // A message a line, without a time, where somebody reads them.
    let lines =
        on_terminal(&workplace, 200, &["load", "t.csv", "-t", "t", "--truncate", "-v"], &[]).screen.text();
    assert!(lines.contains(&"table t: to be emptied first".to_owned()), "{lines:#?}");
}

/// A line for each run of a search, as soon as it is measured.
#[tokio::test]
async fn a_search_prints_every_point_as_it_goes() {
    let workplace = Workplace::new().await;
    let select = ["query", "--sql", "SELECT 1", "--duration", "50ms"];
    // A number of queries, not a time: in a short one a busy machine may answer none, and then there is no p99.
    let sweep = ["--sweep", "connections=1,2", "pipeline-depth=1,4"];
    let ran = workplace.succeed(&[&["query", "--sql", "SELECT 1", "-n", "50"], &sweep[..]].concat());
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 4, "{ran:#?}");
    assert!(lines[1].starts_with("run 2 of 4: 1 connection, pipeline depth 4: "), "{ran:#?}");
    assert!(lines[1].contains(" queries/s, p99 ") && lines[1].ends_with(" left"), "{ran:#?}");
    assert!(lines[3].starts_with("run 4 of 4: ") && !lines[3].contains(" left"), "{ran:#?}");
    let ran = workplace.succeed(&[&select[..], &["--find-max", "--p99", "5s", "-c", "1"]].concat());
    let first = ran.stderr.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("run 1 of at most 17: 1 connection") && first.contains(" · at most "),
        "{ran:#?}"
    );
    assert!(ran.stderr.lines().nth(1).is_some_and(|line| line.contains("/s offered: ")), "{ran:#?}");
    let json = [&select[..], &["--sweep", "connections=1,2", "--json"]].concat();
    assert_eq!(workplace.succeed(&json).json()["points"].as_array().unwrap().len(), 2);
}

/// Standard output may be the terminal, too.
#[tokio::test]
async fn a_report_that_is_piped_is_not_folded() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await.csv("t.csv", "id\n1\n");
    let (mut terminal, line) = Terminal::of_width(30);
    let mut command = workplace.command(&["load", "t.csv", "-t", "t"]);
    let child = command.env("TERM", "xterm").stdout(Stdio::piped()).stderr(line).spawn().unwrap();
    drop(command);
    terminal.wait_until_closed();
    let ran = ProgramOutput::from_child(child);
    assert!(ran.stdout.lines().any(|line| line.starts_with("  server  ") && line.len() > 100), "{ran:#?}");
    assert_eq!(terminal.screen.text(), [""; 0], "{}", terminal.written);
}

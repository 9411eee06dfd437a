//! `query`: the live view of a run, and what `-q` leaves of it.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::terminal::{Screen, Terminal};
use crate::support::workplace::{ProgramOutput, Workplace};

/// More lines would push earlier output off a small terminal.
const MOST_LINES: usize = 4;

/// The rate, the 99th percentile in milliseconds and the number of errors, where the screen shows them.
fn figures(screen: &Screen) -> Option<(u64, f64, u64)> {
    screen.text().iter().find_map(|line| {
        let (rate, line) = line.trim_start().split_once("/s, p99 ")?;
        let (p99, errors) = line.split_once(" ms, errors ")?;
        Some((rate.replace(',', "").parse().ok()?, p99.parse().ok()?, errors.parse().ok()?))
    })
}

#[tokio::test]
async fn a_terminal_shows_the_live_view_and_then_only_the_report() {
    let workplace = Workplace::new().await;
    let (mut terminal, line) = Terminal::open();
    let divide = ["query", "--sql", "SELECT 1 / ($1::int % 2)", "--arg", "sequence:1:10"];
    let load = ["-c", "2", "-d", "1", "--warm-up", "500ms", "--duration", "2m"];
    let mut command = workplace.command(&[&divide[..], &load[..]].concat());
    command.env("TERM", "xterm").stdout(line.try_clone().unwrap()).stderr(line);
    let mut child = command.spawn().unwrap();
    drop(command);
    terminal.wait_until(|screen| {
        figures(screen).is_some_and(|(rate, p99, errors)| rate > 0 && p99 > 0.0 && errors > 0)
    });
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    terminal.wait_until_closed();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", terminal.written);

    // The screen after every character.
    let (mut screen, mut most, mut titles) = (Screen::default(), 0, Vec::new());
    for character in terminal.written.chars() {
        screen.put(character);
        let text = screen.text();
        if text.iter().any(|line| line.contains(" queries answered in ")) {
            assert_eq!(text.len(), 1, "the report replaces the view: {text:#?}");
            break;
        }
        most = most.max(text.len());
        titles.extend(text.first().and_then(|line| Some(line.split_once(": ")?.0.to_owned())));
    }
    // What is done before takes as long as it takes.
    titles.retain(|title| {
        !["connecting", "preparing --sql", "opening the connections, 2"].contains(&title.as_str())
    });
    titles.dedup();
    assert_eq!(titles, ["warming up", "--sql"], "{}", terminal.written);
    assert!((3..=MOST_LINES).contains(&most), "{most} lines: {}", terminal.written);
    let text = terminal.screen.text();
    assert!(
        text[0].contains(" queries answered in ") && text[1].starts_with("  query    --sql: "),
        "{text:#?}"
    );
    assert!(text.last().unwrap().starts_with("interrupted: "), "{text:#?}");
    assert_eq!(figures(&terminal.screen), None, "{text:#?}");
}

/// Some terminals do not say how wide they are.
#[tokio::test]
async fn a_terminal_of_unknown_width_is_taken_for_one_of_80_columns() {
    let workplace = Workplace::new().await;
    let (mut terminal, line) = Terminal::of_unknown_width();
    let mut command = workplace.command(&["query", "--sql", "SELECT 1", "--duration", "2m", "-c", "1"]);
    command.env("TERM", "xterm").stdout(Stdio::null()).stderr(line);
    let mut child = command.spawn().unwrap();
    drop(command);
    terminal.wait_until(|screen| figures(screen).is_some());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    terminal.wait_until_closed();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", terminal.written);
}

/// Standard error decides: the report may go to a terminal while standard error goes to a file.
#[tokio::test]
async fn nothing_is_drawn_where_standard_error_is_no_terminal() {
    let workplace = Workplace::new().await;
    let (mut terminal, line) = Terminal::open();
    let mut command = workplace.command(&["query", "--sql", "SELECT 1", "--duration", "500ms"]);
    command.env("TERM", "xterm").env("NO_COLOR", "1");
    let child = command.stdout(line).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    terminal.wait_until_closed();
    let ran = ProgramOutput::from_child(child);
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:#?}");
    assert!(terminal.screen.text()[0].contains(" queries in "), "{}", terminal.written);
    assert!(!terminal.written.contains('\x1b'), "{:?}", terminal.written);
}

/// The view is drawn wherever the report goes, and leaves nothing on the screen.
#[tokio::test]
async fn the_view_is_drawn_on_standard_error_unless_quiet() {
    let workplace = Workplace::new().await;
    let run = |more: &[&str]| {
        let (mut terminal, line) = Terminal::open();
        let args = ["query", "--sql", "SELECT 1", "--warm-up", "500ms", "--duration", "500ms", "--json"];
        let mut command = workplace.command(&[&args[..], more].concat());
        let child = command.env("TERM", "xterm").stdout(Stdio::piped()).stderr(line).spawn().unwrap();
        drop(command);
        terminal.wait_until_closed();
        let ran = ProgramOutput::from_child(child);
        assert!(ran.status.success() && ran.json()["queries"].as_u64() > Some(0), "{ran:#?}");
        assert_eq!(terminal.screen.text(), [""; 0], "{}", terminal.written);
        terminal.written
    };
    let drawn = run(&[]);
    assert!(drawn.contains("warming up: ") && drawn.contains("--sql: "), "{drawn}");
    assert_eq!(run(&["-q"]), "");
}

/// With "nothing but the result and errors", both are complete.
#[tokio::test]
async fn quiet_prints_the_result_and_errors() {
    // Starting and stopping the server prints messages unless quiet.
    let workplace = Workplace::with_embedded_server("keep = false");
    let select = ["query", "--sql", "SELECT 1", "-n", "50"];
    let told = workplace.succeed(&[&select[..], &["--json"]].concat());
    assert!(!told.stderr.is_empty(), "{told:#?}");
    let quiet = workplace.succeed(&[&select[..], &["--json", "-q"]].concat());
    assert_eq!(quiet.stderr, "");
    let (told, quiet) = (told.json(), quiet.json());
    let keys = |report: &serde_json::Value| report.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&quiet), keys(&told));
    assert_eq!((&quiet["queries"], &quiet["errors"]), (&50.into(), &0.into()));

    let divide = ["query", "-q", "--sql", "SELECT 1 / ($1::int % 2)", "--arg", "sequence:1:10", "-n", "50"];
    let ran = workplace.run(&divide);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert_eq!(ran.stderr, "error: 25 of 50 queries failed\n");
    let heads: Vec<&str> = ran.stdout.lines().filter_map(|line| line.get(..10)).collect();
    assert!(ran.stdout.starts_with("25 of 50 queries answered in "), "{ran:#?}");
    for head in ["  query   ", "  errors  ", "  22012   ", "  latency ", "  setup   ", "  server  "] {
        assert!(heads.contains(&head), "{head}: {ran:#?}");
    }
}

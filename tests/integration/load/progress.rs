//! `load` on a terminal: the line that shows each phase, and what stays when it is gone.

use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::terminal::{PHASES, Screen, Terminal};
use crate::support::workplace::Workplace;

/// Start the program with `args` on `line`, where its output and its errors go.
fn start(workplace: &Workplace, args: &[&str], line: File) -> Child {
    let mut command = workplace.command(args);
    command.env("TERM", "xterm").env("NO_COLOR", "1").stdin(Stdio::piped());
    command.stdout(line.try_clone().unwrap()).stderr(line).spawn().unwrap()
}

fn shows(begin: &str) -> impl Fn(&Screen) -> bool + '_ {
    move |screen| screen.text().iter().any(|line| line.starts_with(begin))
}

/// Check that there was never more than one line of progress on a terminal of this `width`, and none at the end.
fn check_frames(terminal: &Terminal, width: usize) {
    let is_progress = |line: &&String| PHASES.iter().any(|phase| line.starts_with(phase));
    let mut screen = Screen::of_width(width);
    for character in terminal.written.chars() {
        screen.put(character);
        let text = screen.text();
        assert!(text.iter().filter(is_progress).count() <= 1, "{text:#?}");
        assert!(!text.iter().any(|line| line.contains("100 %")), "{text:#?}");
    }
    assert_eq!(screen.text().iter().find(is_progress), None, "{}", terminal.written);
}

/// Each phase is held by a lock until it has been seen.
#[tokio::test]
async fn every_phase_is_shown_while_it_lasts() {
    let workplace = Workplace::with_sql(
        "CREATE FUNCTION slowly(id int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN id; END $$;
         CREATE FUNCTION check_it() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_advisory_xact_lock_shared(8); RETURN NULL; END $$;
         CREATE TABLE t (id int PRIMARY KEY); CREATE INDEX ON t (slowly(id));
         CREATE TABLE u (id int);
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON u DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION check_it()",
    )
    .await;
    for width in [100, 30] {
        let (mut terminal, line) = Terminal::of_width(width);
        workplace.execute("SELECT pg_advisory_lock(7), pg_advisory_lock(8); BEGIN; LOCK TABLE t").await;
        let mut child =
            start(&workplace, &["load", "-", "-t", "t", "--truncate", "--defer-indexes", "always"], line);
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"id\n1\n2\n").unwrap();
        terminal.wait_until(shows("preparing the table: "));
        workplace.execute("COMMIT").await;
        terminal.wait_until(shows("reading: 0 rows"));
        drop(input);
        // The server is asked about an index that takes long.
        terminal.wait_until(shows("building index 2 of 2: "));
        if width == 100 {
            terminal.wait_until(shows("building index 2 of 2: scanning table"));
        }
        workplace.execute("SELECT pg_advisory_unlock(7)").await;
        terminal.wait_until_closed();
        assert!(child.wait().unwrap().success(), "{}", terminal.written);
        check_frames(&terminal, width);
        assert!(terminal.screen.text()[0].starts_with("loaded 2 rows into t in "), "{}", terminal.written);

        let (mut terminal, line) = Terminal::of_width(width);
        let child = start(&workplace, &["load", "-", "-t", "u"], line);
        child.stdin.as_ref().unwrap().write_all(b"id\n1\n").unwrap();
        let pid = Pid::from_child(&child);
        let ended = std::thread::spawn(move || child.wait_with_output().unwrap().status);
        terminal.wait_until(shows("checking constraints: "));
        kill_process(pid, Signal::INT).unwrap();
        terminal.wait_until_closed();
        assert_eq!(ended.join().unwrap().code(), Some(130), "{}", terminal.written);
        check_frames(&terminal, width);
        assert_eq!(terminal.screen.text()[0], "error: interrupted", "{}", terminal.written);
        workplace.execute("SELECT pg_advisory_unlock_all()").await;
    }
    assert_eq!(workplace.count("t").await, 2);
    assert_eq!(workplace.count("u").await, 0);
}

/// The statement is printed while a line is drawn.
#[tokio::test]
async fn the_printed_statement_stands_alone() {
    let workplace = Workplace::new().await;
    let (mut terminal, line) = Terminal::open();
    let mut child = start(&workplace, &["load", "-", "-t", "made", "--create"], line);
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"id,name\n1,a\n").unwrap();
    terminal.wait_until(shows("opening the input: "));
    drop(input);
    terminal.wait_until_closed();
    assert!(child.wait().unwrap().success(), "{}", terminal.written);
    check_frames(&terminal, 100);
    let text = terminal.screen.text();
    let statement = ["CREATE TABLE \"made\" (", "    \"id\" integer,", "    \"name\" text", ");"];
    assert_eq!(text[..4], statement, "{text:#?}");
    assert!(text[4].starts_with("loaded 1 row into made in "), "{text:#?}");
}

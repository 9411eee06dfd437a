//! `load`: Ctrl-C and lost connections.

use std::io::Write as _;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::load::{HEADER, MODES, PERSONS};
use crate::support::workplace::{ProgramOutput, Workplace};

/// Ctrl-C, or SIGTERM, in the middle of a load: exit code 130 or 143, and nothing is loaded.
#[tokio::test]
async fn an_interrupted_load_leaves_the_table_as_it_was() {
    let workplace =
        Workplace::with_sql(&format!("{PERSONS}; INSERT INTO persons VALUES (1000, 'before')")).await;
    let before = workplace.content("persons").await;
    for (mode, (signal, code)) in
        MODES.into_iter().zip([(Signal::INT, 130), (Signal::TERM, 143), (Signal::INT, 130)])
    {
        let pipe = workplace.path(format!("pipe-{mode}"));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .unwrap();
        let child = workplace.start(&["load", &pipe.display().to_string(), "--mode", mode, "--truncate"]);
        let mut writer = std::fs::File::create(&pipe).unwrap();
        writer.write_all(HEADER.as_bytes()).unwrap();
        for id in 0..20_000 {
            writeln!(writer, "{id},a,22,true,b,c,d").unwrap();
        }
        // The load holds this lock once it has truncated the table, and then waits for more input.
        let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'persons'::regclass
            AND mode = 'AccessExclusiveLock' AND granted";
        while workplace.value::<i64>(locked).await == 0 {}
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ran = ProgramOutput::from_child(child);
        assert_eq!(ran.status.code(), Some(code), "{mode}: {ran:#?}");
        assert!(ran.stderr.starts_with("error: interrupted"), "{mode}: {ran:#?}");
        assert!(workplace.content("persons").await == before, "{mode} changed the table");
        drop(writer);
    }
}

#[tokio::test]
async fn a_lost_connection_is_reported() {
    let workplace = Workplace::with_sql(PERSONS).await;
    for mode in MODES {
        let pipe = workplace.path(format!("pipe-{mode}"));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .unwrap();
        let child = workplace.start(&["load", &pipe.display().to_string(), "--mode", mode, "--truncate"]);
        let mut writer = std::fs::File::create(&pipe).unwrap();
        writer.write_all(HEADER.as_bytes()).unwrap();
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'persons'::regclass
            AND mode = 'AccessExclusiveLock' AND granted";
        while workplace.client().query(kill, &[]).await.unwrap().is_empty() {}
        for id in 0..20_000 {
            // The program may have ended already.
            let _ = writeln!(writer, "{id},a,22,true,b,c,d");
        }
        drop(writer);
        let ran = ProgramOutput::from_child(child);
        assert!(matches!(ran.status.code(), Some(1 | 4)), "{mode}: {ran:#?}");
        assert!(ran.stderr.contains("clos") || ran.stderr.contains("57P01"), "{mode}: {ran:#?}");
        assert!(
            ran.stderr.contains("nothing was loaded") && !ran.stderr.contains(", line "),
            "{mode}: {ran:#?}"
        );
    }
}

/// Values are encoded for the types that the load finds, before it waits for the session that alters one.
#[tokio::test]
async fn a_table_that_is_altered_before_it_is_locked_ends_the_load() {
    for flags in [
        &["--mode", "rows"][..],
        &["--mode", "batch"],
        &["--mode", "copy"],
        &["--truncate"],
        &["--connections", "2", "--append"],
    ] {
        let workplace =
            Workplace::with_sql("CREATE TABLE t (id int, n int)").await.csv("data.csv", "id,n\n1,1\n");
        workplace.execute("BEGIN; ALTER TABLE t ALTER n TYPE real").await;
        let load = workplace.start(&[&["load", "data.csv", "-t", "t"], flags].concat());
        let waits = "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND NOT granted";
        while workplace.value::<i64>(waits).await == 0 {}
        workplace.execute("COMMIT").await;
        let ran = ProgramOutput::from_child(load);
        assert_eq!(ran.status.code(), Some(1), "{flags:?}: {ran:#?}");
        assert!(ran.stderr.contains("column n of t was integer and is real now"), "{flags:?}: {ran:#?}");
        assert_eq!(workplace.count("t").await, 0, "{flags:?}");
        workplace.succeed(&[&["load", "data.csv", "-t", "t"], flags].concat());
        assert_eq!(workplace.csv_of("SELECT * FROM t").await, "1,1\n", "{flags:?}");
    }
}

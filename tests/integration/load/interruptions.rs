//! `load`: Ctrl-C and lost connections.

use std::io::Write as _;

use crate::support::load::{HEADER, MODES, PERSONS};
use crate::support::workplace::{ProgramOutput, Workplace};

/// Ctrl-C in the middle of a load: exit code 130, and nothing is loaded.
#[tokio::test]
async fn an_interrupted_load_leaves_the_table_as_it_was() {
    let workplace =
        Workplace::with_sql(&format!("{PERSONS}; INSERT INTO persons VALUES (1000, 'before')")).await;
    let before = workplace.content("persons").await;
    for mode in MODES {
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
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let ran = ProgramOutput::from_child(child);
        assert_eq!(ran.status.code(), Some(130), "{mode}: {ran:#?}");
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

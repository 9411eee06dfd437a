//! `load`: Ctrl-C and lost connections.

use std::io::{BufWriter, ErrorKind, Write as _};
use std::process::Stdio;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::load::{HEADER, MODES, PERSONS, wait_for_no_session, wait_until};
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
        wait_until("that the table is locked", async || workplace.value::<i64>(locked).await > 0).await;
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ran = ProgramOutput::from_child(child);
        assert_eq!(ran.status.code(), Some(code), "{mode}: {ran:#?}");
        assert!(ran.stderr.starts_with("error: interrupted"), "{mode}: {ran:#?}");
        assert!(workplace.content("persons").await == before, "{mode} changed the table");
        drop(writer);
    }
}

/// The input has no end, so that the signal comes while rows are in flight.
#[tokio::test]
async fn an_interrupted_load_that_commits_row_by_row_says_how_many_rows_stay() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        for connections in ["1", "3"] {
            let when = format!("{signal:?}, {connections} connections");
            let workplace = Workplace::with_sql("CREATE TABLE t (id bigint PRIMARY KEY)").await;
            let load =
                ["load", "-", "-t", "t", "--mode", "rows", "--autocommit", "--connections", connections];
            let mut command = workplace.command(&load);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut stdin = BufWriter::new(child.stdin.take().unwrap());
            let writer = thread::spawn(move || {
                writeln!(stdin, "id")?;
                (0_u64..).try_for_each(|id| writeln!(stdin, "{id}"))
            });
            wait_until("that rows are committed", async || workplace.count("t").await >= 500).await;
            kill_process(Pid::from_child(&child), signal).unwrap();
            let ran = ProgramOutput::from_child(child);
            assert_eq!(writer.join().unwrap().unwrap_err().kind(), ErrorKind::BrokenPipe);
            assert_eq!(ran.status.code(), Some(code), "{when}: {ran:#?}");
            wait_for_no_session(workplace.client()).await;
            let says = format!("interrupted; {} rows were committed, and stay", workplace.count("t").await);
            assert!(ran.stderr.contains(&says), "{when}: {says}: {ran:#?}");
        }
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
        let is_killed = async || !workplace.client().query(kill, &[]).await.unwrap().is_empty();
        wait_until("that the table is locked", is_killed).await;
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

/// A pipe may be silent for hours.
#[tokio::test]
async fn the_end_of_a_session_is_noticed_while_the_input_is_silent() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await;
    let ways: [&[&str]; 5] = [
        &["--mode", "rows"],
        &["--mode", "rows", "--autocommit"],
        &["--mode", "rows", "--max-rejects", "3"],
        &["--mode", "batch"],
        &["--mode", "copy", "--max-rejects", "3"],
    ];
    for way in ways {
        workplace.execute("TRUNCATE t").await;
        let pipe = workplace.path("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .unwrap();
        let pipe_name = pipe.display().to_string();
        let child = workplace.start(&[&["load", &pipe_name, "-t", "t", "--append"], way].concat());
        let mut writer = std::fs::File::create(&pipe).unwrap();
        writer.write_all(b"id\n").unwrap();
        for id in 0..1000 {
            writeln!(writer, "{id}").unwrap();
        }
        let begun = if way.contains(&"--autocommit") {
            "SELECT count(*) FROM t"
        } else {
            "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND granted
                AND mode IN ('RowExclusiveLock', 'AccessExclusiveLock')"
        };
        wait_until("that the load has begun", async || workplace.value::<i64>(begun).await > 0).await;
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        assert!(workplace.value::<i64>(end).await > 0, "{way:?}");
        let ran = ProgramOutput::from_child(child);
        assert!(!ran.status.success() && ran.stderr.contains("error: "), "{way:?}: {ran:#?}");
        drop(writer);
        std::fs::remove_file(pipe).unwrap();
    }
}

/// A refused row is not the better for what may still come.
#[tokio::test]
async fn a_refusal_is_reported_while_the_input_is_silent() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY)").await;
    let pipe = workplace.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    let pipe_name = pipe.display().to_string();
    let load = ["load", &pipe_name, "-t", "t", "--append", "--mode", "rows", "--autocommit"];
    let child = workplace.start(&load);
    let mut writer = std::fs::File::create(&pipe).unwrap();
    // Rows are sent by 64.
    writer.write_all(b"id\n1\n1\n").unwrap();
    for id in 2..200 {
        writeln!(writer, "{id}").unwrap();
    }
    let ran = ProgramOutput::from_child(child);
    assert!(ran.stderr.contains("line 3") && ran.stderr.contains("duplicate key"), "{ran:#?}");
    drop(writer);
}

/// Only one statement is prepared, however often the lane is taken.
#[tokio::test]
async fn rejecting_rows_prepares_no_more_statements() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int CHECK (id % 50 > 0), prepared bigint);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN NEW.prepared := count(*) FROM pg_prepared_statements; RETURN NEW; END';
         CREATE TRIGGER note BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();",
    )
    .await;
    let rows: Vec<String> = (0..2000).map(|id| id.to_string()).collect();
    workplace.write("data.csv", format!("id\n{}\n", rows.join("\n")));
    let rejecting = ["load", "data.csv", "-t", "t", "--mode", "rows", "--max-rejects", "50"];
    // Each of its chunks is written by a writer of its own.
    let import = [&rejecting[..], &["--truncate", "--import-id", "i", "--chunk-rows", "50"]].concat();
    for load in [&rejecting[..], &import] {
        workplace.run(load);
        assert_eq!(workplace.count("t").await, 1960);
        let most = workplace.value::<i64>("SELECT max(prepared) FROM t").await;
        assert!(most < 12, "{most} statements were prepared: {load:?}");
    }
}

/// Values are encoded for the types that the load finds, before it waits for the session that alters or drops one.
#[tokio::test]
async fn a_table_that_is_altered_before_it_is_locked_ends_the_load() {
    let altered = ("ALTER TABLE t ALTER n TYPE real", "column n of t was integer and is real now");
    let dropped = ("DROP TABLE t", "t was dropped");
    for (flags, (alteration, says)) in [
        (&["--mode", "rows"][..], altered),
        (&["--mode", "batch"], altered),
        (&["--mode", "copy"], altered),
        (&["--mode", "copy"], dropped),
        (&["--truncate"], altered),
        (&["--truncate"], ("DROP TABLE t", "relation \"public.t\" does not exist")),
        (&["--connections", "2", "--append"], altered),
    ] {
        let workplace =
            Workplace::with_sql("CREATE TABLE t (id int, n int)").await.csv("data.csv", "id,n\n1,1\n");
        workplace.execute(&format!("BEGIN; {alteration}")).await;
        let load = workplace.start(&[&["load", "data.csv", "-t", "t"], flags].concat());
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        wait_until("that the load waits", async || workplace.value::<i64>(waits).await > 0).await;
        workplace.execute("COMMIT").await;
        let ran = ProgramOutput::from_child(load);
        assert_eq!(ran.status.code(), Some(1), "{flags:?}, {alteration}: {ran:#?}");
        assert!(ran.stderr.contains(says), "{flags:?}, {alteration}: {ran:#?}");
        let is_noticed = ran.stderr.contains("the table was altered while it was loaded: ");
        assert_eq!(is_noticed, !says.ends_with("does not exist"), "{flags:?}, {alteration}: {ran:#?}");
        if alteration == dropped.0 {
            workplace.execute("CREATE TABLE t (id int, n int)").await;
        }
        assert_eq!(workplace.count("t").await, 0, "{flags:?}");
        workplace.succeed(&[&["load", "data.csv", "-t", "t"], flags].concat());
        assert_eq!(workplace.csv_of("SELECT * FROM t").await, "1,1\n", "{flags:?}");
    }
}

//! `load --import-id`: a process that waits for another one of the same import does so for as long as that takes, whatever the
//! server lets it wait for a lock.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::import_runs::is_record;
use super::imports::{WITH_REJECTS, at_commit};
use crate::support;
use crate::support::import::KEYS;
use crate::support::load::{wait_for_no_session, wait_until};
use crate::support::proxy::{Fate, Plan, Proxy, is_query};
use crate::support::workplace::{ProgramOutput, Workplace};

/// Four records, which make two chunks.
const CSV: &str = "id,v\n1,a\n2,b\n3,c\n4,d\n";

const SHARE: [&str; 9] = ["load", "data.csv", "-t", "t", "--import-id", "i", "--chunk-rows", "2", "--share"];

/// What the process that waits has executed last, each time before it looks again.
const LOOKED: &str = "SELECT query_start::text FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'waiting' AND state <> 'active'
      AND (query = 'ROLLBACK' OR query LIKE '%ledger_imports%AS i WHERE import%')";

/// Start the import with more `flags`, in a session that waits only briefly for a lock, and wait until it has looked several
/// times whether another process has done what it is doing.
async fn start_waiting(workplace: &Workplace, flags: &[&str]) -> Child {
    let mut command = workplace.command(&[&SHARE[..], flags].concat());
    command.env("PGAPPNAME", "waiting").env("PGOPTIONS", "-c lock_timeout=200");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut looks = BTreeSet::new();
    let has_looked = async || {
        looks.extend(workplace.values::<String>(LOOKED).await);
        looks.len() > 7 || child.try_wait().unwrap().is_some()
    };
    wait_until("that the process waits", has_looked).await;
    match child.try_wait().unwrap() {
        None => child,
        Some(_) => panic!("it has not waited: {:#?}", ProgramOutput::from_child(child)),
    }
}

/// The first one waits for a stranger, who reads the table, to drop its indexes.
#[tokio::test]
async fn a_process_waits_for_the_one_that_begins_the_import() {
    let database = support::database().await;
    let workplace = Workplace::on(&database).await.csv("data.csv", CSV);
    workplace.execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await;
    let stranger = database.connect().await;
    stranger.batch_execute("BEGIN; LOCK TABLE t IN ACCESS SHARE MODE").await.unwrap();
    let flags = ["--defer-indexes", "always"];
    let first = workplace.start(&[&SHARE[..], &flags].concat());
    let waits = "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND NOT granted";
    wait_until("that the first one waits", async || workplace.value::<i64>(waits).await > 0).await;
    let other = start_waiting(&workplace, &flags).await;
    stranger.batch_execute("COMMIT").await.unwrap();
    for ran in [first, other].map(ProgramOutput::from_child) {
        assert!(ran.status.success(), "{ran:#?}");
    }
    assert_eq!(workplace.csv_of("SELECT * FROM t ORDER BY id").await, &CSV[5..]);
}

/// Until then, their number may still change.
#[tokio::test]
async fn a_process_waits_for_the_one_that_is_about_to_commit_rejects() {
    let database = support::database().await;
    let proxy = Proxy::start(&database, Plan { trigger: is_record, ..at_commit(0, Fate::Hold) });
    let workplace = proxy.workplace(&database).await.csv("data.csv", "id,v\n1,a\nx,b\n3,c\ny,d\n");
    workplace.execute(KEYS).await;
    let flags = ["--max-rejects", "2"];
    let mut dead = workplace.start(&[&SHARE[..], &flags].concat());
    proxy.wait_for_strike();
    let workplace = workplace.at(database.url());
    let other = start_waiting(&workplace, &flags).await;
    dead.kill().unwrap();
    dead.wait().unwrap();
    let ran = ProgramOutput::from_child(other);
    assert_eq!(ran.status.code(), Some(WITH_REJECTS), "{ran:#?}");
    assert_eq!(workplace.csv_of("SELECT * FROM t ORDER BY id").await, "1,a\n3,c\n");
    assert_eq!(workplace.read("rejects.csv"), "id,v\nx,b\ny,d\n");
}

/// The one that waits takes over, or ends at a signal.
#[tokio::test]
async fn a_process_waits_for_the_one_that_rebuilds_the_indexes() {
    for is_interrupted in [false, true] {
        let at_rebuild =
            Plan { trigger: |message| is_query(message, "CREATE UNIQUE INDEX"), ..at_commit(0, Fate::Hold) };
        let database = support::database().await;
        let proxy = Proxy::start(&database, at_rebuild);
        let workplace = proxy.workplace(&database).await.csv("data.csv", CSV);
        workplace.execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await;
        let flags = ["--defer-indexes", "always"];
        let mut dead = workplace.start(&[&SHARE[..], &flags].concat());
        proxy.wait_for_strike();
        let workplace = workplace.at(database.url());
        let other = start_waiting(&workplace, &flags).await;
        if is_interrupted {
            kill_process(Pid::from_child(&other), Signal::INT).unwrap();
            let ran = ProgramOutput::from_child(other);
            assert_eq!(ran.status.code(), Some(130), "{ran:#?}");
            let says = "unless the import is finished by now, indexes of t are missing: t_pkey";
            assert!(ran.stderr.contains(says), "{ran:#?}");
            dead.kill().unwrap();
            dead.wait().unwrap();
        } else {
            dead.kill().unwrap();
            dead.wait().unwrap();
            let ran = ProgramOutput::from_child(other);
            assert!(ran.status.success(), "{ran:#?}");
            assert!(ran.stderr.contains("another process is finishing import i: waiting for it"), "{ran:#?}");
            assert_eq!(
                workplace.value::<i64>("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass").await,
                1
            );
        }
        wait_for_no_session(workplace.client()).await;
        assert_eq!(workplace.csv_of("SELECT * FROM t ORDER BY id").await, &CSV[5..]);
    }
}

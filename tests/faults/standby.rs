//! A server that is a standby, on which nothing can be written.

use rustix::process::{Pid, Signal, kill_process};

use crate::loads::{KINDS, RECORDS, TABLE, check_complete, csv};
use crate::support::load::{wait_for_no_session, wait_until};
use crate::support::own_server::OwnServer;
use crate::support::workplace::{ProgramOutput, Workplace};

/// A signal that cuts the wait short would leave a chunk committed that the standby does not have.
#[tokio::test]
async fn a_signal_does_not_end_the_wait_of_a_chunk_for_a_standby() {
    let server = OwnServer::start_with(&[
        ("wal_level", "replica"),
        ("max_wal_senders", "1"),
        ("synchronous_standby_names", "nobody"),
    ]);
    let workplace = Workplace::on(&server.database()).await.csv("data.csv", csv(0, RECORDS));
    // Only the third chunk waits.
    workplace
        .execute(&format!(
            "SET synchronous_commit = local; ALTER DATABASE postgres SET synchronous_commit = local; {TABLE};
             CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM set_config(''synchronous_commit'', ''on'', true); RETURN NEW; END';
             CREATE TRIGGER waits BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id = 2500) EXECUTE FUNCTION wait()"
        ))
        .await;
    let load = ["load", "data.csv", "-t", "t", "--append", "--no-analyze", "--import-id", "i"];
    let load = [&load[..], &["--chunk-rows", "1000"]].concat();
    let run = workplace.start(&load);
    let waiting = "SELECT COALESCE(max(pid), 0) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    wait_until("that a chunk waits", async || workplace.value::<i32>(waiting).await > 0).await;
    kill_process(Pid::from_child(&run), Signal::INT).unwrap();
    let ran = ProgramOutput::from_child(run);
    assert_eq!(ran.status.code(), Some(6), "{ran:#?}");
    for says in [
        "the connections were dropped because the work did not stop in time",
        "between 2000 and 3000 rows were committed, and stay",
        "run the same command again",
    ] {
        assert!(ran.stderr.contains(says), "{says}: {ran:#?}");
    }
    let pid: i32 = workplace.value(waiting).await;
    assert!(pid > 0, "the server has given up waiting");
    workplace.execute(&format!("SELECT pg_terminate_backend({pid})")).await;
    wait_for_no_session(workplace.client()).await;
    workplace.succeed(&load);
    check_complete(&workplace, "a standby that is awaited").await;
}

#[tokio::test]
async fn a_standby_loads_nothing_and_is_named_until_it_is_promoted() {
    let mut server = OwnServer::start_with(&[("wal_level", "replica"), ("max_wal_senders", "1")]);
    Workplace::on(&server.database()).await.execute(TABLE).await;
    server.end_with(Signal::INT);
    std::fs::write(server.dir().join("server/data/standby.signal"), "").unwrap();
    server.start_again();
    let workplace = Workplace::on(&server.database()).await;
    for kind in KINDS {
        let when = format!("{:?}", kind.flags);
        let ran = workplace.run_with_input(&kind.arguments(), csv(0, RECORDS));
        assert_eq!(ran.status.code(), Some(1), "{when}: {ran:#?}");
        assert!(ran.stderr.contains("is a standby, which accepts no changes"), "{when}: {ran:#?}");
        assert_eq!(workplace.count("t").await, 1, "{when}");
        wait_for_no_session(workplace.client()).await;
    }
    workplace.execute("SELECT pg_promote()").await;
    for kind in KINDS {
        workplace.execute("DELETE FROM t WHERE id >= 0").await;
        kind.complete(&workplace, &format!("{:?}, promoted", kind.flags)).await;
    }
}

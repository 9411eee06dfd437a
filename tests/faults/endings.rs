//! Servers that stop, backends that are killed, and backends that stand still, in the middle of a load.

use rustix::process::{Pid, Signal, kill_process};

use crate::limits::{SLOW_ROW, workplace_that};
use crate::loads::{
    DROP, HalfLoad, KINDS, Kind, RECORDS, TABLE, TryingImport, check_complete, csv, sessions_in_t, signal_all,
};
use crate::support;
use crate::support::load::{wait_for_no_session, wait_until};
use crate::support::own_server::OwnServer;
use crate::support::workplace::{ProgramOutput, Workplace};

/// Records that are in the table before.
const OTHERS: u32 = SLOW_ROW - 300;

/// A setting that changes nothing.
const DEFAULTS: &str = "lock_timeout = 0";

/// What happens to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// `pg_ctl stop --mode fast`, and a start.
    Fast,
    /// `pg_ctl stop --mode immediate`, and a start, which recovers.
    Immediate,
    /// A backend of the load is killed, and the server ends all sessions and recovers.
    BackendKilled,
    /// A backend of the load is terminated.
    BackendTerminated,
}

impl Ending {
    pub(crate) const ALL: [Ending; 4] =
        [Ending::Fast, Ending::Immediate, Ending::BackendKilled, Ending::BackendTerminated];

    /// Let it happen, to `backend` if it happens to one.
    pub(crate) async fn happen(self, server: &mut OwnServer, workplace: &Workplace, backend: i32) {
        match self {
            Ending::Fast | Ending::Immediate => {
                server.end_with(if self == Ending::Fast { Signal::INT } else { Signal::QUIT });
                server.start_again();
            }
            Ending::BackendKilled => {
                kill_process(Pid::from_raw(backend).unwrap(), Signal::KILL).unwrap();
                // Until the server has noticed, it accepts connections that it then ends.
                let is_noticed = async || workplace.client().is_closed();
                wait_until("that the server ends all sessions", is_noticed).await;
            }
            Ending::BackendTerminated => {
                workplace.execute(&format!("SELECT pg_terminate_backend({backend})")).await;
            }
        }
    }
}

/// A workplace on `server`, once that accepts connections again.
pub(crate) async fn workplace_on(server: &OwnServer) -> Workplace {
    let database = server.database();
    let is_up = async || tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await.is_ok();
    wait_until("that the server accepts connections", is_up).await;
    Workplace::on(&database).await
}

#[tokio::test]
async fn a_server_that_ends_leaves_all_or_nothing_and_an_import_goes_on() {
    let mut server = OwnServer::start();
    for ending in Ending::ALL {
        for kind in KINDS {
            let when = format!("{ending:?}, {:?}", kind.flags);
            let workplace = workplace_on(&server).await;
            workplace.execute(&format!("{DROP}; {TABLE}")).await;
            let load = HalfLoad::start(&workplace, kind).await;
            let backends = sessions_in_t(workplace.client()).await;
            ending.happen(&mut server, &workplace, backends[0]).await;
            let ran = load.finish();
            let workplace = workplace_on(&server).await;
            kind.check_survived(&ran, &workplace, &when).await;
        }
    }
}

/// Before it has begun, nothing can be done twice.
#[tokio::test]
async fn an_import_waits_for_a_server_that_does_not_run_yet() {
    let mut server = OwnServer::start();
    workplace_on(&server).await.execute(TABLE).await;
    let url = server.database().url().to_owned();
    let workplace = Workplace::without_database().csv("data.csv", csv(0, RECORDS));
    let load = ["load", "data.csv", "-t", "t", "--append", "--import-id", "i", "--database-url", &url];
    server.end_with(Signal::INT);
    for (retries, says) in [("0", "no server listens there"), ("1", "1 retry did not help")] {
        let error = workplace.fail(&[&load[..], &["--retries", retries]].concat(), 4);
        assert!(error.contains(says), "{error}");
    }
    let import = TryingImport::start(&workplace, &["--database-url", &url]);
    server.start_again();
    import.succeed();
    check_complete(&workplace_on(&server).await, "a server that was started").await;
}

/// One row waits in the server, those before it are committed, and those behind it are in flight.
#[tokio::test]
async fn of_rows_committed_one_by_one_a_server_that_ends_leaves_those_that_are_said_to_stay() {
    let mut server = OwnServer::start();
    for ending in Ending::ALL {
        let workplace =
            workplace_that(&server.database(), "PERFORM pg_advisory_xact_lock(1)", DEFAULTS).await;
        let holder = server.database().connect().await;
        holder.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
        // Committing one by one takes its time.
        let others = format!("INSERT INTO t SELECT id, 'v' || id FROM generate_series(0, {OTHERS} - 1) id");
        workplace.execute(&others).await;
        let data = format!("id,v\n{}", csv(OTHERS, RECORDS));
        workplace.write("data.csv", &data);
        let flags = ["load", "data.csv", "-t", "t", "--append", "--mode", "rows", "--autocommit"];
        let load = workplace.start(&flags);
        // All before it are committed, and so the session that is seen then is the one that waits.
        let is_waiting = async || {
            workplace.count("t").await > i64::from(SLOW_ROW)
                && !sessions_in_t(workplace.client()).await.is_empty()
        };
        wait_until("that the slow row waits", is_waiting).await;
        let backends = sessions_in_t(workplace.client()).await;
        ending.happen(&mut server, &workplace, backends[0]).await;
        let ran = ProgramOutput::from_child(load);
        assert_eq!(ran.status.code(), Some(6), "{ending:?}: {ran:#?}");
        let (_, said) = ran.stderr.split_once("between ").expect("it says how many rows stay");
        let (said, _) =
            said.split_once(" rows were committed, and stay").expect("it says how many rows stay");
        let (least, most) = said.split_once(" and ").unwrap();
        drop(holder);
        let workplace = workplace_on(&server).await;
        wait_for_no_session(workplace.client()).await;
        let rows = workplace.count("t").await - 1 - i64::from(OTHERS);
        assert!(
            (least.parse().unwrap()..=most.parse().unwrap()).contains(&rows),
            "{ending:?}: {rows} rows: {ran:#?}"
        );
        // As the message says.
        assert!(ran.stderr.contains("load again with --on-conflict skip"), "{ending:?}: {ran:#?}");
        workplace.write("data.csv", &data);
        workplace.execute("DROP TRIGGER waits ON t").await;
        workplace.succeed(&[&flags[..], &["--on-conflict", "skip"]].concat());
        check_complete(&workplace, &format!("{ending:?}")).await;
    }
}

/// A signal cancels what runs on the server: the session would otherwise end only with the statement.
#[tokio::test]
async fn a_signal_cancels_what_the_server_is_doing() {
    let database = support::database().await;
    for (kind, (signal, code)) in
        KINDS.into_iter().zip([(Signal::INT, 130), (Signal::TERM, 143)].into_iter().cycle())
    {
        let when = format!("{signal:?}, {:?}", kind.flags);
        let workplace = workplace_that(&database, "PERFORM pg_sleep(3600)", DEFAULTS).await;
        workplace.write("data.csv", csv(0, RECORDS));
        let mut flags = kind.arguments();
        flags[1] = "data.csv";
        let load = workplace.start(&flags);
        let sleeps = "SELECT count(*) FROM pg_stat_activity
                      WHERE datname = current_database() AND wait_event = 'PgSleep'";
        wait_until("that the slow row waits", async || workplace.value::<i64>(sleeps).await > 0).await;
        kill_process(Pid::from_child(&load), signal).unwrap();
        let ran = ProgramOutput::from_child(load);
        assert_eq!(ran.status.code(), Some(code), "{when}: {ran:#?}");
        assert!(ran.stderr.contains("error: interrupted"), "{when}: {ran:#?}");
        kind.check_undone(&workplace, &when).await;
    }
}

/// A backend that stands still answers nothing, and nothing tells it from one that is busy: a signal ends the load.
#[tokio::test]
async fn a_server_that_stands_still_is_waited_for_until_a_signal_ends_the_load() {
    let server = OwnServer::start();
    let workplace = workplace_on(&server).await;
    for (kind, (end, code)) in
        KINDS.into_iter().zip([(Signal::TERM, 143), (Signal::INT, 130)].into_iter().cycle())
    {
        for signal in [None, Some(end)] {
            let when = format!("{signal:?}, {:?}", kind.flags);
            workplace.execute(&format!("{DROP}; {TABLE}")).await;
            let load = HalfLoad::start(&workplace, kind).await;
            let backends = sessions_in_t(workplace.client()).await;
            signal_all(&backends, Signal::STOP);
            let Some(signal) = signal else {
                signal_all(&backends, Signal::CONT);
                let ran = load.finish();
                assert_eq!(ran.status.code(), Some(0), "{when}: {ran:#?}");
                check_complete(&workplace, &when).await;
                continue;
            };
            kill_process(Pid::from_child(&load.child), signal).unwrap();
            let ran = load.wait();
            assert_eq!(ran.status.code(), Some(code), "{when}: {ran:#?}");
            assert!(ran.stderr.contains("error: interrupted"), "{when}: {ran:#?}");
            check_said(kind, &ran.stderr, &when);
            signal_all(&backends, Signal::CONT);
            kind.check_undone(&workplace, &when).await;
            kind.complete(&workplace, &when).await;
        }
        wait_for_no_session(workplace.client()).await;
    }
}

/// Check that the message says what is committed, and how to go on.
fn check_said(kind: Kind, stderr: &str, when: &str) {
    let says = if kind.is_import { "run the same command again" } else { "nothing more is committed" };
    assert!(stderr.contains(says), "{when}: {stderr}");
}

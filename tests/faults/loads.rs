//! A load that is in the middle of its rows when something happens.

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::process::{Child, ChildStderr, ChildStdin, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::Client;

use crate::support::load::{wait_for_no_session, wait_until};
use crate::support::workplace::{ProgramOutput, Workplace};

/// The records of the whole input, and of the part that is written before the fault.
pub(crate) const RECORDS: u32 = 4000;
pub(crate) const BEFORE: u32 = 2500;

/// The table, with a row that was there before.
pub(crate) const TABLE: &str =
    "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (-1, 'before')";

/// What removes the table, and the ledger of an import into it.
pub(crate) const DROP: &str = "DROP SCHEMA IF EXISTS postgres_etl CASCADE; DROP TABLE IF EXISTS t";

/// A way to load, and what it leaves of an input that it could not load to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub flags: &'static [&'static str],
    /// Whether it commits chunks, and continues with the others.
    pub is_import: bool,
}

/// All of them.
pub(crate) const KINDS: [Kind; 5] = [
    Kind { flags: &["--mode", "rows"], is_import: false },
    Kind { flags: &["--mode", "batch"], is_import: false },
    Kind { flags: &["--mode", "copy"], is_import: false },
    Kind { flags: &["--mode", "copy", "--connections", "2"], is_import: false },
    Kind { flags: &["--mode", "copy", "--import-id", "i", "--chunk-rows", "1000"], is_import: true },
];

impl Kind {
    /// The arguments of the load.
    pub(crate) fn arguments(self) -> Vec<&'static str> {
        [&["load", "-", "-t", "t", "--append"], self.flags].concat()
    }

    /// Load all records, which nothing disturbs, and check that every row is there once.
    pub(crate) async fn complete(self, workplace: &Workplace, when: &str) {
        let ran = workplace.run_with_input(&self.arguments(), csv(0, RECORDS));
        assert_eq!(ran.status.code(), Some(0), "{when}: {ran:#?}");
        check_complete(workplace, when).await;
    }

    /// Check that a load that lost its session ended as `ran` says and left nothing behind, and that another one completes
    /// it; or that an import went on by itself.
    pub(crate) async fn check_survived(self, ran: &ProgramOutput, workplace: &Workplace, when: &str) {
        if self.is_import {
            assert_eq!(ran.status.code(), Some(0), "{when}: {ran:#?}");
            assert!(ran.stderr.contains("trying again"), "{when}: {ran:#?}");
            check_complete(workplace, when).await;
        } else {
            assert!(matches!(ran.status.code(), Some(1 | 4)), "{when}: {ran:#?}");
            assert!(ran.stderr.contains("nothing was loaded"), "{when}: {ran:#?}");
            self.check_undone(workplace, when).await;
            self.complete(workplace, when).await;
        }
    }

    /// Check that nothing of a load is there that was not finished, or whole chunks of it, and no session of it.
    pub(crate) async fn check_undone(self, workplace: &Workplace, when: &str) {
        wait_for_no_session(workplace.client()).await;
        wait_for_no_lock(workplace, when).await;
        let rows = workplace.count("t").await;
        if self.is_import {
            assert_eq!(rows, 2001, "{when}: two chunks and the row that was there before");
        } else {
            assert_eq!(rows, 1, "{when}: the row that was there before");
        }
    }
}

/// Wait until nobody else has a lock on the table `t`.
async fn wait_for_no_lock(workplace: &Workplace, when: &str) {
    // A prepared transaction belongs to no session.
    let locks = "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND pid IS DISTINCT FROM pg_backend_pid()";
    let are_released = async || workplace.value::<i64>(locks).await == 0;
    wait_until(&format!("{when}: that no lock is left behind"), are_released).await;
}

/// Run `round` for all `items` at the same time.
pub(crate) async fn all_at_once<T, F>(items: impl IntoIterator<Item = T>, round: impl Fn(T) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let rounds: Vec<_> = items.into_iter().map(|item| tokio::spawn(round(item))).collect();
    for round in rounds {
        round.await.unwrap();
    }
}

/// Check that all records are in the table once, beside the row that was there before, and that no lock is left. A pooler
/// keeps its sessions.
pub(crate) async fn check_complete(workplace: &Workplace, when: &str) {
    wait_for_no_lock(workplace, when).await;
    let rows = "SELECT count(*), min(id), max(id) FROM t WHERE v = 'v' || id OR v = 'before'";
    assert_eq!(workplace.csv_of(rows).await, format!("{},-1,{}\n", RECORDS + 1, RECORDS - 1), "{when}");
}

/// The records from `first` up to `end`, after a header if they are the first ones.
pub(crate) fn csv(first: u32, end: u32) -> String {
    let header = if first == 0 { "id,v\n" } else { "" };
    let rows = (first..end).map(|id| format!("{id},v{id}\n"));
    rows.fold(header.to_owned(), |csv, row| csv + &row)
}

/// A load that has read [`BEFORE`] records, and waits for the others.
pub(crate) struct HalfLoad {
    pub child: Child,
    pub stdin: ChildStdin,
}

impl HalfLoad {
    /// Start a load, and wait until it has locked the table `t`; an import has then committed two chunks.
    pub(crate) async fn start(workplace: &Workplace, kind: Kind) -> HalfLoad {
        HalfLoad::start_with(workplace, kind, &[]).await
    }

    /// As [`HalfLoad::start`], with more `flags`.
    pub(crate) async fn start_with(workplace: &Workplace, kind: Kind, flags: &[&str]) -> HalfLoad {
        let mut load = HalfLoad::begin(workplace, kind, flags);
        wait_until_half_loaded(workplace, kind, &mut load.child).await;
        load
    }

    /// As [`HalfLoad::start_with`], without waiting for the lock: the server may end the load before anybody sees that.
    pub(crate) fn begin(workplace: &Workplace, kind: Kind, flags: &[&str]) -> HalfLoad {
        let mut command = workplace.command(&[&kind.arguments()[..], flags].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(csv(0, BEFORE).as_bytes()).unwrap();
        HalfLoad { child, stdin }
    }

    /// Write the rest of the input, if the program still reads it, and wait for its end.
    pub(crate) fn finish(self) -> ProgramOutput {
        let HalfLoad { child, mut stdin } = self;
        let _ = stdin.write_all(csv(BEFORE, RECORDS).as_bytes());
        drop(stdin);
        ProgramOutput::from_child(child)
    }

    /// End its input here, and wait for its end.
    pub(crate) fn end_input(self) -> ProgramOutput {
        drop(self.stdin);
        ProgramOutput::from_child(self.child)
    }

    /// Wait for its end, while its input stays silent.
    pub(crate) fn wait(self) -> ProgramOutput {
        let ended = ProgramOutput::from_child(self.child);
        drop(self.stdin);
        ended
    }
}

/// An import that has not reached the server yet, and tries again.
pub(crate) struct TryingImport {
    child: Child,
    /// What it notes, until which it cannot end.
    notes: Lines<BufReader<ChildStderr>>,
}

impl TryingImport {
    /// Start an import of all records to the server that `flags` or the workplace name, and wait until it tries again.
    pub(crate) fn start(workplace: &Workplace, flags: &[&str]) -> TryingImport {
        workplace.write("data.csv", csv(0, RECORDS));
        let load = ["load", "data.csv", "-t", "t", "--append", "--import-id", "i"];
        let mut child = workplace.start(&[&load[..], flags].concat());
        let mut notes = BufReader::new(child.stderr.take().unwrap()).lines();
        let tries_again = notes.any(|note| note.unwrap().contains("trying again in "));
        assert!(tries_again, "it ends: {:?}", child.wait());
        TryingImport { child, notes }
    }

    /// Wait for its success.
    pub(crate) fn succeed(self) {
        let ran = ProgramOutput::from_child(self.child);
        let notes: Vec<String> = self.notes.map_while(Result::ok).collect();
        assert_eq!(ran.status.code(), Some(0), "{ran:#?}, {notes:#?}");
    }
}

/// Wait until `child`, a load of `kind` that was given [`BEFORE`] records, has locked the table `t` in all its sessions; an
/// import has then committed two chunks.
pub(crate) async fn wait_until_half_loaded(workplace: &Workplace, kind: Kind, child: &mut Child) {
    let sessions = if kind.flags.contains(&"--connections") { 2 } else { 1 };
    let is_half_loaded = async || {
        assert!(child.try_wait().unwrap().is_none(), "{kind:?} has ended: {:#?}", rest_of(child));
        // The third chunk locks the table only after the second one is committed, whose lock is seen until its COMMIT ends.
        let is_half =
            !kind.is_import || workplace.count("t").await == 2001 && !is_committing(workplace).await;
        is_half && sessions_in_t(workplace.client()).await.len() == sessions
    };
    wait_until(&format!("that {kind:?} is half done"), is_half_loaded).await;
}

/// Whether a session of the database is executing a COMMIT.
async fn is_committing(workplace: &Workplace) -> bool {
    let sql = "SELECT count(*) > 0 FROM pg_stat_activity
               WHERE datname = current_database() AND state = 'active' AND query = 'COMMIT'";
    workplace.value(sql).await
}

/// What a program that has ended has printed.
fn rest_of(child: &mut Child) -> String {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

/// The backends of the database, other than that of `client`, which hold or await a lock on the table `t`.
pub(crate) async fn sessions_in_t(client: &Client) -> Vec<i32> {
    let sql = "SELECT DISTINCT pid FROM pg_locks
               WHERE relation = to_regclass('t') AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Send `signal` to those of the processes `pids` that have not ended by themselves.
pub(crate) fn signal_all(pids: &[i32], signal: Signal) {
    for pid in pids {
        let sent = kill_process(Pid::from_raw(*pid).unwrap(), signal);
        assert!(matches!(sent, Ok(()) | Err(Errno::SRCH)), "{signal:?} to {pid}: {sent:?}");
    }
}

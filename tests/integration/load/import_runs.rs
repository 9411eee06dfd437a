//! `load --import-id`: several runs of one import, and runs that are left in a hurry.

use std::io::Write as _;
use std::process::{Child, ChildStdin, Stdio};

use rustix::process::Signal;

use super::imports::{ADVISORY, WITH_REJECTS, at_commit, behind, wait_for_chunks};
use crate::support;
use crate::support::import::{Expected, KEYS, dirty_csv, first_lines, import_into_t};
use crate::support::load::{MODES, counts, signal_until_it_ends, wait_for_no_session, wait_until};
use crate::support::pgbouncer::{self, PgBouncer, PoolMode};
use crate::support::proxy::{Fate, Plan};
use crate::support::workplace::{ProgramOutput, Workplace};

/// The exit code of a run of an import on which another one works.
const IN_USE: i32 = 7;

/// The exit code of a run that does not know whether its last chunk is committed.
const UNKNOWN: i32 = 6;

/// What the message says if the program has not waited for the server to stop.
const AT_THE_SECOND_SIGNAL: &str = "the connections were dropped at the second signal";

/// Whether `message` prepares the statement that records a chunk.
pub(super) fn is_record(message: &[u8]) -> bool {
    let sql = b"INSERT INTO \"postgres_etl\".\"ledger\" (";
    message[0] == b'P' && message.windows(sql.len()).any(|part| part == sql)
}

/// The first of two runs, which waits for input in the middle of its third chunk.
struct FirstRun {
    child: Child,
    stdin: ChildStdin,
}

impl FirstRun {
    /// Start it, and wait for its second chunk; return its arguments as well.
    async fn start(workplace: &Workplace) -> (Vec<&'static str>, FirstRun) {
        let load = import_into_t("-", "copy");
        let mut command = workplace.command(&load);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(first_lines(&dirty_csv(), 700).as_bytes()).unwrap();
        wait_for_chunks(workplace, 2).await;
        (load, FirstRun { child, stdin })
    }

    /// Give it the rest of the input, and wait for its end.
    fn finish(mut self) -> ProgramOutput {
        let csv = dirty_csv();
        self.stdin.write_all(&csv.as_bytes()[first_lines(&csv, 700).len()..]).unwrap();
        drop(self.stdin);
        ProgramOutput::from_child(self.child)
    }
}

#[tokio::test]
async fn of_two_runs_one_works_and_the_other_says_who() {
    let workplace = Workplace::with_sql(KEYS).await;
    let (load, first) = FirstRun::start(&workplace).await;
    let backend: i32 = workplace.value(&format!("SELECT pid {ADVISORY} LIMIT 1")).await;
    for other in [&load[..], &["imports", "--forget", "nightly"]] {
        let error = workplace.fail(other, IN_USE);
        assert!(
            error.contains(&format!("another run is working on import nightly: session {backend}")),
            "{error}"
        );
    }
    let running = workplace.succeed(&["imports"]);
    assert!(running.stdout.starts_with("nightly into t: running"), "{running:#?}");
    assert!(running.stdout.contains(&format!("worker  session {backend}")), "{running:#?}");
    assert_eq!(first.finish().status.code(), Some(WITH_REJECTS));
    Expected::in_mode("copy").await.check(&workplace, "two runs").await;
}

/// The locks of chunks alone keep them apart: the first run is in the middle of one, and the other waits for it.
#[tokio::test]
async fn of_two_runs_behind_a_pooler_one_works_and_the_other_says_who() {
    if pgbouncer::is_missing() {
        return;
    }
    let database = support::database().await;
    database.connect().await.batch_execute(KEYS).await.unwrap();
    let pooler = PgBouncer::start(&database, PoolMode::Transaction, 2);
    let workplace = Workplace::on(&database).await.at(pooler.database().url());
    let (load, first) = FirstRun::start(&workplace).await;
    let holders = format!("SELECT pid {ADVISORY}");
    // Of the third chunk: none before it is begun.
    let is_begun = async || workplace.values::<i32>(&holders).await.len() == 1;
    wait_until("that the third chunk is begun", is_begun).await;
    let backend: i32 = workplace.value(&holders).await;
    let other = workplace.run_with_input(&load, dirty_csv());
    assert_eq!(other.status.code(), Some(IN_USE), "{other:#?}");
    let says = format!("another run is working on import nightly: session {backend}");
    assert!(other.stderr.contains(&says), "{other:#?}");
    assert_eq!(first.finish().status.code(), Some(WITH_REJECTS));
    Expected::in_mode("copy").await.check(&workplace, "two runs behind a pooler").await;
    assert_eq!(workplace.values::<i32>(&holders).await, [0; 0]);
}

/// Neither is held up on purpose: they take turns, or one of them gives way.
#[tokio::test]
async fn two_runs_behind_a_pooler_load_every_row_once() {
    if pgbouncer::is_missing() {
        return;
    }
    let database = support::database().await;
    database.connect().await.batch_execute(KEYS).await.unwrap();
    let pooler = PgBouncer::start(&database, PoolMode::Transaction, 3);
    let workplace = Workplace::on(&database).await.at(pooler.database().url()).csv("data.csv", dirty_csv());
    for mode in MODES {
        workplace.execute("TRUNCATE t; DROP SCHEMA IF EXISTS postgres_etl CASCADE").await;
        let load = import_into_t("data.csv", mode);
        let runs = [workplace.start(&load), workplace.start(&load)].map(ProgramOutput::from_child);
        let ended = |code| runs.iter().filter(|ran| ran.status.code() == Some(code)).count();
        assert!(ended(WITH_REJECTS) > 0 && ended(WITH_REJECTS) + ended(IN_USE) == 2, "{mode}: {runs:#?}");
        Expected::in_mode(mode).await.check(&workplace, mode).await;
    }
}

/// One of three processes is killed, before or after its second chunk is committed.
#[tokio::test]
async fn processes_share_an_import_and_take_over_the_chunk_of_a_dead_one() {
    let before = Plan { trigger: is_record, ..at_commit(1, Fate::Hold) };
    for (plan, committed) in [(before, 29), (at_commit(2, Fate::Hold), 30)] {
        let (database, proxy, workplace) = behind(plan).await;
        let csv = ChunkwiseCsv::new(3000);
        workplace.write("data.csv", &csv.all);
        let share = ["load", "data.csv", "-t", "t", "--import-id", "i", "--chunk-rows", "100", "--share"];
        let share = [&share[..], &["--max-rejects", "500"]].concat();
        let mut dead = workplace.start(&share);
        proxy.wait_for_strike();
        let workplace = workplace.at(database.url());
        let others = [workplace.start(&share), workplace.start(&share)];
        // All chunks but the one that is written and not committed.
        wait_for_chunks(&workplace, committed).await;
        dead.kill().unwrap();
        dead.wait().unwrap();
        for other in others {
            let ran = ProgramOutput::from_child(other);
            assert_eq!(ran.status.code(), Some(WITH_REJECTS), "{committed}: {ran:#?}");
        }
        wait_for_no_session(workplace.client()).await;
        assert_eq!(workplace.csv_of("SELECT * FROM t ORDER BY id").await, csv.loaded, "{committed}");
        assert_eq!(workplace.read("rejects.csv"), format!("id,v\n{}", csv.rejected), "{committed}");
        let listed = workplace.succeed(&["imports", "--json"]).json();
        assert_eq!(listed["imports"][0]["state"], "finished", "{listed:#}");
        let rejected = csv.rejected.lines().count() as u64;
        assert_eq!(workplace.read("rejects.log.jsonl").lines().count() as u64, rejected, "{committed}");
        assert_eq!(
            counts(&listed["imports"][0], ["chunks", "rows_loaded", "rows_rejected"]),
            [30, 3000 - rejected, rejected]
        );
        assert_eq!(workplace.value::<i64>(&format!("SELECT count(*) {ADVISORY}")).await, 0, "{committed}");
    }
}

/// Records of which some are bad, whatever the order in which chunks of 100 of them are loaded: a key occurs again only in the
/// same chunk.
struct ChunkwiseCsv {
    all: String,
    /// The records that can be loaded.
    loaded: String,
    rejected: String,
}

impl ChunkwiseCsv {
    fn new(records: u32) -> ChunkwiseCsv {
        let mut csv =
            ChunkwiseCsv { all: "id,v\n".to_owned(), loaded: String::new(), rejected: String::new() };
        for id in 0..records {
            let (row, is_bad) = match id {
                // The process that is killed would keep the others from writing rejects.
                100..200 => (format!("{id},v{id}\n"), false),
                _ if id % 97 == 5 => (format!("x{id},unreadable\n"), true),
                _ if id % 89 == 7 => (format!("{id},bad\n"), true),
                _ if id % 100 == 77 => (format!("{},duplicate\n", id - 77), true),
                _ => (format!("{id},v{id}\n"), false),
            };
            csv.all += &row;
            *(if is_bad { &mut csv.rejected } else { &mut csv.loaded }) += &row;
        }
        csv
    }
}

/// The first signal waits for an answer that does not come; what the message says of the second one, it says only if that
/// wait was not over.
#[tokio::test]
async fn a_second_signal_leaves_an_import_that_the_next_run_completes() {
    for (plan, signal, code) in [
        (Plan { trigger: is_record, ..at_commit(1, Fate::Hold) }, Signal::TERM, 143),
        (at_commit(3, Fate::Hold), Signal::INT, UNKNOWN),
    ] {
        let (database, proxy, workplace) = behind(plan).await;
        let load = import_into_t("data.csv", "copy");
        let run = workplace.start(&load);
        proxy.wait_for_strike();
        signal_until_it_ends(&run, signal);
        let ran = ProgramOutput::from_child(run);
        assert_eq!(ran.status.code(), Some(code), "{signal:?}: {ran:#?}");
        let workplace = workplace.at(database.url());
        wait_for_no_session(workplace.client()).await;
        let rows = workplace.count("t").await;
        assert!(rows > 0, "{signal:?}");
        let committed = if code == UNKNOWN {
            format!(" and {rows} rows were committed, and stay")
        } else {
            format!("rows committed before: {rows}")
        };
        let next = "to load the rest, run the same command again";
        for says in ["interrupted", AT_THE_SECOND_SIGNAL, &committed, next] {
            assert!(ran.stderr.contains(says), "{signal:?}, {says}: {ran:#?}");
        }
        let ran = workplace.run(&load);
        assert_eq!(ran.status.code(), Some(WITH_REJECTS), "{signal:?}: {ran:#?}");
        Expected::in_mode("copy").await.check(&workplace, &format!("{signal:?}")).await;
    }
}

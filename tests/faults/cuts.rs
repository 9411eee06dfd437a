//! Connections that are cut after every byte from the last rows on, of what the load sends and of what it is sent.

use std::ops::RangeInclusive;

use crate::byte_proxy::{ByteProxy, Cut, Passed, Sender};
use crate::loads::all_at_once;
use crate::support;
use crate::support::load::MODES;
use crate::support::workplace::Workplace;

/// The rows of a load.
const ROWS: i32 = 12;

/// The number of bytes of the server, up to the end of its answer to COMMIT, after each of which the connection is cut.
const ANSWERS: usize = 250;

/// The server's answer to COMMIT, with the end of its `ReadyForQuery`.
const COMMITTED: &[u8] = b"COMMIT\0Z\0\0\0\x05I";

/// The connection that sends the COMMIT, and after how many bytes of `sender` it is cut: from the last message that carries
/// rows to the end of the COMMIT, or the answers to these.
fn cuts(passed: &[Passed], sender: Sender) -> (usize, RangeInclusive<usize>) {
    let commit = b"Q\0\0\0\x0bCOMMIT\0";
    let sends_commit = |passed: &Passed| find(&passed.from_client, commit).is_some();
    let connection = passed.iter().position(sends_commit).expect("a load commits");
    let bytes = passed[connection].from(sender);
    if sender == Sender::Server {
        let end = find(bytes, COMMITTED).expect("the server commits") + COMMITTED.len();
        return (connection, end - ANSWERS..=end);
    }
    let commit_at = find(bytes, commit).unwrap();
    let starts = message_starts(bytes).into_iter();
    let rows = starts.filter(|start| *start < commit_at && matches!(bytes[*start], b'd' | b'B'));
    (connection, rows.max().expect("a load sends rows")..=commit_at + commit.len())
}

/// Where the last `needle` begins in `bytes`.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).rposition(|part| part == needle)
}

/// Where the messages of a client begin, but for the first one, which has no tag.
fn message_starts(bytes: &[u8]) -> Vec<usize> {
    let length = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (mut starts, mut at) = (Vec::new(), length(0));
    while at + 5 <= bytes.len() {
        starts.push(at);
        at += 1 + length(at + 1);
    }
    starts
}

/// What puts the table into the state that it has before each load. Nothing is truncated or dropped: at its end, it takes the
/// server minutes to look through all the files that thousands of these have left.
const AS_BEFORE: &str = "DELETE FROM t; INSERT INTO t VALUES (-1)";

/// The table, the file for it, and a proxy.
async fn behind_byte_proxy() -> (ByteProxy, Workplace) {
    let database = support::database().await;
    let proxy = ByteProxy::start(&database);
    let rows = (0..ROWS).map(|id| id.to_string()).collect::<Vec<_>>().join("\n");
    let workplace = Workplace::on(&database).await.at(proxy.url()).csv("data.csv", format!("id\n{rows}\n"));
    workplace.execute(&format!("CREATE TABLE t (id int); {AS_BEFORE}")).await;
    (proxy, workplace)
}

/// What is in the table.
async fn ids(workplace: &Workplace) -> Vec<i32> {
    workplace.values("SELECT id FROM t ORDER BY id").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_load_that_is_cut_off_after_any_byte_says_what_is_in_the_table() {
    let ways = [("--append", -1, 0), ("--truncate", 0, 1)];
    let loads = MODES.into_iter().flat_map(|mode| ways.map(|way| (mode, way)));
    all_at_once(loads, |(mode, way)| cut_off_a_load(mode, way)).await;
}

/// Cut off a load in `mode` with the flag `emptying`, which leaves the IDs from `first` on in the table; after every second
/// byte, from `part` on.
async fn cut_off_a_load(mode: &'static str, (emptying, first, part): (&'static str, i32, usize)) {
    let (proxy, workplace) = behind_byte_proxy().await;
    let load = ["load", "data.csv", "-t", "t", emptying, "--no-analyze", "--mode", mode];
    proxy.plan(None);
    workplace.succeed(&load);
    let undisturbed = proxy.passed();
    let mut outcomes = [0; 2];
    for sender in [Sender::Client, Sender::Server] {
        let (connection, bytes) = cuts(&undisturbed, sender);
        for passing in bytes.skip(part).step_by(2) {
            workplace.execute(AS_BEFORE).await;
            proxy.plan(Some(Cut { connection, sender, passing }));
            let ran = workplace.run(&load);
            let when = format!("{mode}, {emptying}, cut after {passing} bytes of the {sender:?}");
            // The server can be reached again, so that the outcome is never unknown.
            let is_loaded = match ran.status.code() {
                Some(0) => true,
                Some(1 | 4) if ran.stderr.contains("nothing was loaded") => false,
                _ => panic!("{when}: {ran:#?}"),
            };
            let left = if is_loaded { first..ROWS } else { -1..0 };
            assert_eq!(ids(&workplace).await, left.collect::<Vec<_>>(), "{when}: {ran:#?}");
            outcomes[usize::from(is_loaded)] += 1;
        }
    }
    assert!(outcomes.iter().all(|outcome| *outcome > 5), "{mode}, {emptying}: {outcomes:?}");
}

/// Parts of the bytes at which an import is cut off at the same time, in each mode.
const PARTS: usize = 3;

/// Most of the time of a run goes by waiting: until it tries again, and until the server notices the cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 19)]
async fn an_import_that_is_cut_off_after_any_byte_completes_itself() {
    let senders = [Sender::Client, Sender::Server];
    let of_mode =
        |mode| senders.into_iter().flat_map(move |sender| (0..PARTS).map(move |part| (mode, sender, part)));
    let parts = MODES.into_iter().flat_map(of_mode);
    all_at_once(parts, |(mode, sender, part)| cut_off_an_import(mode, sender, part)).await;
}

/// Cut off what `sender` sends, after every byte of part `part` of [`PARTS`], which take turns.
async fn cut_off_an_import(mode: &'static str, sender: Sender, part: usize) {
    let (proxy, workplace) = behind_byte_proxy().await;
    let load =
        ["load", "data.csv", "-t", "t", "--append", "--no-analyze", "--import-id", "i", "--mode", mode];
    let as_before = format!("DELETE FROM postgres_etl.ledger_imports; {AS_BEFORE}");
    // In all others there is a ledger.
    workplace.succeed(&load);
    workplace.execute(&as_before).await;
    proxy.plan(None);
    workplace.succeed(&load);
    let (connection, bytes) = cuts(&proxy.passed(), sender);
    for passing in bytes.skip(part).step_by(PARTS) {
        workplace.execute(&as_before).await;
        proxy.plan(Some(Cut { connection, sender, passing }));
        let ran = workplace.run(&load);
        let when = format!("{mode}, cut after {passing} bytes of the {sender:?}");
        assert_eq!(ran.status.code(), Some(0), "{when}: {ran:#?}");
        assert!(ran.stdout.contains("loaded 12 rows into t"), "{when}: {ran:#?}");
        assert_eq!(ids(&workplace).await, (-1..ROWS).collect::<Vec<_>>(), "{when}");
    }
}

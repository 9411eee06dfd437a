//! Imports that are killed at random points of all that they send, or lose their connections at points spread over it.

use std::hash::{BuildHasher as _, RandomState};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::loads::{DROP, all_at_once};
use crate::support;
use crate::support::TestDb;
use crate::support::import::{Expected, KEYS, dirty_csv, import_into_t};
use crate::support::load::MODES;
use crate::support::proxy::{Fate, Plan, Proxy};
use crate::support::workplace::Workplace;

/// The variable that sets the seed of the random points, to repeat a failure.
const SEED: &str = "POSTGRES_ETL_TEST_SEED";

/// Points in each mode at which the program is killed.
const KILLS: usize = 50;

/// Points in each mode at which a connection is lost; another test cuts one after every byte.
const CUTS: usize = 20;

/// The exit code of a load with rejected rows.
const WITH_REJECTS: i32 = 3;

fn at_message(passing: usize, fate: Fate) -> Plan {
    Plan { trigger: |_| true, passing, fate, then_closes: false }
}

/// A database with the table, and a workplace on it with the file, behind a proxy that carries out `plan`.
async fn behind(database: &TestDb, plan: Plan) -> (Proxy, Workplace) {
    let proxy = Proxy::start(database, plan);
    let workplace = proxy.workplace(database).await.csv("data.csv", dirty_csv());
    workplace.execute(&format!("{DROP}; {KEYS}")).await;
    (proxy, workplace)
}

/// The number of messages that an undisturbed import in `mode` sends.
async fn messages(database: &TestDb, mode: &str) -> usize {
    let (proxy, workplace) = behind(database, at_message(usize::MAX, Fate::Hold)).await;
    let ran = workplace.run(&import_into_t("data.csv", mode));
    assert_eq!(ran.status.code(), Some(WITH_REJECTS), "{mode}: {ran:#?}");
    proxy.seen()
}

/// `count` points, spread over `messages` from the first to the last.
fn points(count: usize, messages: usize) -> impl Iterator<Item = usize> {
    let last = messages - 1;
    (0..count).map(move |point| point * last / (count - 1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_at_any_message_the_next_run_completes_it() {
    let seed = seed();
    all_at_once(MODES, |mode| kill_at_any_message(mode, seed)).await;
}

/// The seed of the random points of a test.
fn seed() -> u64 {
    let seed =
        std::env::var(SEED).map_or_else(|_| RandomState::new().hash_one(()), |seed| seed.parse().unwrap());
    eprintln!("to repeat it, set {SEED}={seed}");
    seed
}

/// [`KILLS`] points at random, among `messages`, and what becomes of the connection there.
fn kills(seed: u64, messages: usize) -> impl Iterator<Item = (usize, Fate)> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..KILLS).map(move |_| {
        let point = random.random_range(0..messages);
        (point, [Fate::Hold, Fate::CutBefore, Fate::CutWithin][random.random_range(0..3)])
    })
}

async fn kill_at_any_message(mode: &'static str, seed: u64) {
    let database = support::database().await;
    let expected = Expected::in_mode(mode).await;
    for (point, fate) in kills(seed, messages(&database, mode).await) {
        let (proxy, workplace) = behind(&database, at_message(point, fate)).await;
        let mut load = workplace.start(&import_into_t("data.csv", mode));
        // How many messages there are varies a little with what can share a Sync.
        proxy.wait_for_strike_or_end(&mut load);
        load.kill().unwrap();
        load.wait().unwrap();
        let workplace = workplace.at(database.url());
        let ran = workplace.run(&import_into_t("data.csv", mode));
        let when = format!("{mode}, {fate:?} at message {point}");
        assert_eq!(ran.status.code(), Some(WITH_REJECTS), "{when}: {ran:#?}");
        expected.check(&workplace, &when).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cut_off_at_any_message_the_same_run_completes_it() {
    all_at_once(MODES, cut_off_at_any_message).await;
}

async fn cut_off_at_any_message(mode: &'static str) {
    let database = support::database().await;
    let expected = Expected::in_mode(mode).await;
    for point in points(CUTS, messages(&database, mode).await) {
        let fate = [Fate::Cut, Fate::CutBefore, Fate::Reset][point % 3];
        let (_proxy, workplace) = behind(&database, at_message(point, fate)).await;
        let ran = workplace.run(&import_into_t("data.csv", mode));
        let when = format!("{mode}, {fate:?} at message {point}");
        // What follows the last commit is not repeated: the ANALYZE.
        assert!(matches!(ran.status.code(), Some(WITH_REJECTS | 5)), "{when}: {ran:#?}");
        expected.check(&workplace, &when).await;
    }
}

/// An empty table with two indexes, and no ledger.
const INDEXED: &str = "DROP SCHEMA IF EXISTS postgres_etl CASCADE; DROP TABLE IF EXISTS t;
    CREATE TABLE t (id int PRIMARY KEY, v text); CREATE INDEX by_v ON t (v) WHERE id > 7;
    COMMENT ON INDEX by_v IS 'kept'";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_at_any_message_the_next_run_rebuilds_the_indexes() {
    let seed = seed();
    all_at_once(MODES, |mode| kill_with_deferred_indexes(mode, seed)).await;
}

async fn kill_with_deferred_indexes(mode: &'static str, seed: u64) {
    let database = support::database().await;
    let load = ["load", "data.csv", "-t", "t", "--import-id", "i", "--chunk-rows", "50", "--mode", mode];
    let load = [&load[..], &["--defer-indexes", "always"]].concat();
    let (proxy, workplace) = indexed_behind(&database, at_message(usize::MAX, Fate::Hold)).await;
    let before: Vec<String> = workplace.values(DEFINITIONS).await;
    workplace.succeed(&load);
    for (point, fate) in kills(seed, proxy.seen()) {
        let (proxy, workplace) = indexed_behind(&database, at_message(point, fate)).await;
        let mut killed = workplace.start(&load);
        proxy.wait_for_strike_or_end(&mut killed);
        killed.kill().unwrap();
        killed.wait().unwrap();
        let workplace = workplace.at(database.url());
        let when = format!("{mode}, {fate:?} at message {point}");
        let ran = workplace.run(&load);
        assert!(ran.status.success(), "{when}: {ran:#?}");
        let found = "SELECT count(*), count(DISTINCT id), bool_and(v = 'v' || id) FROM t";
        assert_eq!(workplace.csv_of(found).await, "200,200,t\n", "{when}");
        let after: Vec<String> = workplace.values(DEFINITIONS).await;
        assert_eq!(after, before, "{when}");
    }
}

/// As [`behind`], with 200 records and an empty table with two indexes.
async fn indexed_behind(database: &TestDb, plan: Plan) -> (Proxy, Workplace) {
    let proxy = Proxy::start(database, plan);
    let rows: Vec<String> = (0..200).map(|id| format!("{id},v{id}\n")).collect();
    let workplace = proxy.workplace(database).await.csv("data.csv", format!("id,v\n{}", rows.concat()));
    workplace.execute(INDEXED).await;
    (proxy, workplace)
}

/// The indexes of `t`, whether they are valid, and their comments.
const DEFINITIONS: &str = "
    SELECT pg_get_indexdef(indexrelid) || indisvalid || indisprimary
           || COALESCE(obj_description(indexrelid, 'pg_class'), '')
    FROM pg_index WHERE indrelid = 't'::regclass ORDER BY 1";

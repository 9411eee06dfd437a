//! One server for all tests, and a database for each.
//!
//! The server belongs to a guardian: this test binary, run once more as a process that starts the server (or
//! joins the one of another test process), waits until its standard input ends, which happens however we end,
//! then stops the server if nobody else uses it and removes its directory.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

use postgres_etl::postgres::embedded::{self, Options};
use rustix::fs::{FlockOperation, flock};
use tokio_postgres::{Client, NoTls};

pub(crate) mod cli;
pub(crate) mod load;
pub(crate) mod query;
pub(crate) mod terminal;

const GUARDIAN: &str = "POSTGRES_ETL_TEST_GUARDIAN";

/// The major version that the server has to have; that of the programs found first if it is not set.
const VERSION: &str = "POSTGRES_ETL_TEST_VERSION";

/// The shared server.
pub(crate) struct TestServer {
    url: String,
}

impl TestServer {
    /// Where its maintenance database is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// The shared server, started by the first who asks.
pub(crate) fn server() -> &'static TestServer {
    static SERVER: OnceLock<TestServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        let mut guardian = Command::new(std::env::current_exe().expect("the test binary knows its path"))
            .args(["--exact", "support::guardian", "--nocapture"])
            .env(GUARDIAN, "1")
            // Ctrl-C is for us; the guardian cleans up after it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test binary can be run again");
        let mut lines = BufReader::new(guardian.stdout.take().expect("stdout is piped"));
        let url = line_after(&mut lines, "url ");
        *GUARDED.lock().unwrap() = Some((guardian, lines));
        wait_for_guardian_at_exit();
        TestServer { url }
    })
}

/// Reads lines until one has `prefix`, and returns the rest of it.
pub(crate) fn line_after(lines: &mut impl std::io::BufRead, prefix: &str) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        let read = lines.read_line(&mut line).expect("the child's output is text");
        assert!(read > 0, "the child ended without saying {prefix:?}; its errors are above");
        if let Some(rest) = line.trim_end().strip_prefix(prefix) {
            return rest.to_owned();
        }
    }
}

#[expect(
    unsafe_code,
    reason = "std has no hook for the end of the process, and tests have no main of their own"
)]
unsafe extern "C" {
    safe fn atexit(callback: extern "C" fn()) -> i32;
}

static GUARDED: Mutex<Option<(Child, BufReader<ChildStdout>)>> = Mutex::new(None);

/// Makes an orderly end of this process wait until the server is gone; a disorderly one leaves that to the guardian.
fn wait_for_guardian_at_exit() {
    extern "C" fn release() {
        if let Some((mut guardian, mut lines)) = GUARDED.lock().ok().and_then(|mut guarded| guarded.take()) {
            drop(guardian.stdin.take());
            let _ = std::io::copy(&mut lines, &mut std::io::sink());
            let _ = guardian.wait();
        }
    }
    assert_eq!(atexit(release), 0, "atexit has room for one more");
}

/// Not a test: the guardian's life, when this binary is run as one.
#[test]
fn guardian() {
    if std::env::var_os(GUARDIAN).is_none() {
        return;
    }
    // Removing the directory must not meet somebody who just comes in: users share this lock, the remover owns it.
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("test-server.lock")).unwrap();
    flock(&lock, FlockOperation::LockShared).unwrap();
    let options = Options { dir: Some(directory()), keep: false, ..Options::default() };
    let server = embedded::start(&options, &mut |_| ()).unwrap_or_else(|e| panic!("{e}; {:?}", e.help()));
    if let Ok(wanted) = std::env::var(VERSION) {
        // Programs that the server's user cannot reach were passed over for others.
        let version = std::fs::read_to_string(directory().join("data/PG_VERSION")).unwrap();
        assert_eq!(version.trim(), wanted, "{VERSION} asks for another server");
    }
    // Not println, which panics when the tests were killed meanwhile, and would leave the server running.
    let _ = writeln!(std::io::stdout(), "\nurl {}", server.url());

    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    server.release().unwrap();
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
        std::fs::remove_dir_all(directory()).unwrap();
    }
}

/// Where every user may pass through, as the server's user has to when root runs the tests; one for each clone and
/// version.
fn directory() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (env!("CARGO_TARGET_TMPDIR"), std::env::var_os(VERSION)).hash(&mut hasher);
    let uid = rustix::process::geteuid().as_raw();
    std::env::temp_dir().join(format!("postgres-etl-tests-{uid}-{:08x}", hasher.finish() as u32))
}

/// A database of one test's own; it goes away with the server.
pub(crate) struct TestDb {
    url: String,
}

impl TestDb {
    /// Where to connect to.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A connection to it.
    pub(crate) async fn connect(&self) -> Client {
        connect(&self.url).await
    }
}

/// An empty database.
pub(crate) async fn database() -> TestDb {
    database_with("").await
}

/// An empty database, created with `options`.
pub(crate) async fn database_with(options: &str) -> TestDb {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = tokio::task::spawn_blocking(server).await.expect("the server starts");
    let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
    let client = connect(server.url()).await;
    client
        .batch_execute(&format!("CREATE DATABASE {name} {options}"))
        .await
        .expect("the server makes a database");
    TestDb { url: server.url().replacen("/postgres?", &format!("/{name}?"), 1) }
}

/// A connection whose driver runs until it is dropped.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the server lets us in");
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn databases_are_separate() {
    let (one, other) = tokio::join!(database(), database());
    one.connect().await.batch_execute("CREATE TABLE here ()").await.unwrap();
    assert_ne!(one.url(), other.url());
    let there = other.connect().await.query_one("SELECT to_regclass('here') IS NULL", &[]).await.unwrap();
    assert!(there.get::<_, bool>(0));
}

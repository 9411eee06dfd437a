//! One server for all tests, and a database for each.
//!
//! The server belongs to a guardian: a second process of this test binary. It starts the server, or joins the one of
//! another test process, and waits for the end of its standard input, which comes however this process ends. Then it
//! stops the server unless others use it, and removes its directory.

use std::collections::BTreeMap;
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

pub(crate) mod chromium;
pub(crate) mod citus;
pub(crate) mod import;
pub(crate) mod load;
pub(crate) mod own_server;
pub(crate) mod pgbouncer;
pub(crate) mod programs;
pub(crate) mod proxy;
pub(crate) mod query;
pub(crate) mod replicas;
pub(crate) mod schema;
pub(crate) mod terminal;
pub(crate) mod workplace;

const GUARDIAN: &str = "POSTGRES_ETL_TEST_GUARDIAN";

/// The major version that the server must have. If unset, the first programs found decide.
const VERSION: &str = "POSTGRES_ETL_TEST_VERSION";

/// The shared server.
pub(crate) struct TestServer {
    url: String,
}

impl TestServer {
    /// The URL of its maintenance database.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// The shared server, started on the first call.
pub(crate) fn server() -> &'static TestServer {
    static SERVER: OnceLock<TestServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        let mut guardian = Command::new(std::env::current_exe().expect("the test binary knows its path"))
            .args(["--exact", "support::guardian", "--nocapture"])
            .env(GUARDIAN, "1")
            // Ctrl-C is meant for this process; the guardian must survive it to clean up.
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

/// Read lines until one begins with `prefix`, and return the rest of that line.
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

/// Make the regular exit of this process wait until the server has stopped; after a crash, the guardian stops it
/// alone.
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

/// Not a test: the guardian, if this binary runs as one.
#[test]
fn guardian() {
    if std::env::var_os(GUARDIAN).is_none() {
        return;
    }
    // Users of the server share this lock; removing the directory takes it exclusively, so that no new user is
    // affected.
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("test-server.lock")).unwrap();
    flock(&lock, FlockOperation::LockShared).unwrap();
    let options =
        Options { dir: Some(directory()), keep: false, settings: test_settings(), ..Options::default() };
    let server = embedded::start(&options, &mut |_| ()).unwrap_or_else(|e| panic!("{e}; {:?}", e.help()));
    if let Ok(wanted) = std::env::var(VERSION) {
        // The search passes over programs that the server's user cannot run, and may end at another version.
        let version = std::fs::read_to_string(directory().join("data/PG_VERSION")).unwrap();
        assert_eq!(version.trim(), wanted, "{VERSION} asks for another server");
    }
    // Not println!, which panics if the tests have been killed meanwhile, and would leave the server running.
    let _ = writeln!(std::io::stdout(), "\nurl {}", server.url());

    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    server.release().unwrap();
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
        std::fs::remove_dir_all(directory()).unwrap();
    }
}

/// Settings of servers for tests: no work of the server's own comes between a test and its tables, and every thread of a
/// large machine may run a test that prepares transactions.
pub(crate) fn test_settings() -> BTreeMap<String, String> {
    let settings = [("autovacuum", "off"), ("max_prepared_transactions", "200")];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The server's directory, one per clone and version. It is in a directory open to all users, as the server's user
/// must reach it if root runs the tests.
fn directory() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (env!("CARGO_TARGET_TMPDIR"), std::env::var_os(VERSION)).hash(&mut hasher);
    let uid = rustix::process::geteuid().as_raw();
    std::env::temp_dir().join(format!("postgres-etl-tests-{uid}-{:08x}", hasher.finish() as u32))
}

/// A database for a single test; it is removed with the server.
pub(crate) struct TestDb {
    url: String,
}

impl TestDb {
    /// The database at `url`, of a server that the test has started.
    pub(crate) fn at(url: String) -> TestDb {
        TestDb { url }
    }

    /// The URL to connect to.
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

/// A client whose connection is driven until the client is dropped.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the server lets us in");
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn databases_are_separate() {
    let (one, other) = tokio::join!(database(), database());
    one.connect().await.batch_execute("CREATE TABLE t ()").await.unwrap();
    assert_ne!(one.url(), other.url());
    let absent = other.connect().await.query_one("SELECT to_regclass('t') IS NULL", &[]).await.unwrap();
    assert!(absent.get::<_, bool>(0));
}

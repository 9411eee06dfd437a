//! PgBouncer, from its Debian package, in front of the shared server.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::TestDb;
use super::workplace::Workplace;

/// Which part of a client's work has a server connection to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PoolMode {
    Session,
    Transaction,
    Statement,
}

/// Whether PgBouncer is not installed, so that a test has to be skipped.
///
/// # Panics
/// When it is missing although no test is to be skipped, as in continuous integration.
pub(crate) fn is_missing() -> bool {
    let is_missing = Command::new("pgbouncer").arg("--version").output().is_err();
    if is_missing {
        let note = "PgBouncer is not installed (apt-get install pgbouncer)";
        assert!(std::env::var_os(COMPLETE).is_none(), "{note}, but {COMPLETE} is set");
        eprintln!("skipped: {note}");
    }
    is_missing
}

/// The variable that, when set, makes a test fail that would be skipped for lack of a program.
pub(crate) const COMPLETE: &str = "POSTGRES_ETL_TEST_COMPLETE";

/// A PgBouncer in front of one database; it ends when it is dropped.
pub(crate) struct PgBouncer {
    child: Child,
    database: TestDb,
    /// The user and group of the server, which it runs as if root runs the tests.
    owner: (u32, u32),
    // Holds the socket.
    dir: tempfile::TempDir,
}

impl PgBouncer {
    /// Start a PgBouncer with up to `size` connections to `database`.
    pub(crate) fn start(database: &TestDb, mode: PoolMode, size: usize) -> PgBouncer {
        PgBouncer::start_with(database, mode, size, "any")
    }

    /// As [`PgBouncer::start`], but its console admits nobody.
    #[allow(dead_code, reason = "the long rounds do not look at reports")]
    pub(crate) fn start_with_closed_console(database: &TestDb, mode: PoolMode, size: usize) -> PgBouncer {
        PgBouncer::start_with(database, mode, size, "trust")
    }

    fn start_with(database: &TestDb, mode: PoolMode, size: usize, auth: &str) -> PgBouncer {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        let server: Config = database.url().parse().unwrap();
        let [Host::Unix(server_dir)] = server.get_hosts() else { panic!("the test server has one socket") };
        let (port, user) = (server.get_ports()[0], server.get_user().unwrap());
        let socket_dir = dir.path().display();
        let mode = match mode {
            PoolMode::Session => "session",
            PoolMode::Transaction => "transaction",
            PoolMode::Statement => "statement",
        };
        let config = format!(
            "[databases]
             * = host={server_dir} port={port} user={user}
             [pgbouncer]
             auth_type = {auth}
             auth_file = {socket_dir}/users.txt
             listen_addr =
             listen_port = 6432
             unix_socket_dir = {socket_dir}
             pool_mode = {mode}
             default_pool_size = {size}
             log_connections = 0
             log_disconnections = 0
             log_stats = 0
             server_fast_close = 1",
            server_dir = server_dir.display(),
        );
        let config: String = config.lines().map(|line| line.trim_start().to_owned() + "\n").collect();
        fs::write(dir.path().join("pgbouncer.ini"), config).unwrap();
        fs::write(dir.path().join("users.txt"), format!("\"{user}\" \"\"\n")).unwrap();
        // The server admits its owner by `peer` authentication; and PgBouncer does not run as root.
        let owner = fs::metadata(server_dir.join(format!(".s.PGSQL.{port}"))).unwrap();
        let owner = (owner.uid(), owner.gid());
        let name = server.get_dbname().unwrap();
        let url = format!("postgresql:///{name}?host={socket_dir}&port=6432&user={user}");
        PgBouncer { child: spawn(dir.path(), owner), database: TestDb { url }, owner, dir }
    }

    /// Kill it, and start it again.
    #[allow(dead_code, reason = "only the long rounds kill it")]
    pub(crate) fn kill_and_start_again(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.dir.path(), self.owner);
    }

    /// The database, by way of the pooler.
    pub(crate) fn database(&self) -> &TestDb {
        &self.database
    }

    /// A workplace whose program is pointed at the pooler.
    pub(crate) async fn workplace(&self) -> Workplace {
        Workplace::on(&self.database).await
    }
}

/// Start a PgBouncer with the configuration in `dir`, as the user and group `owner`, and wait until it is up.
fn spawn(dir: &Path, owner: (u32, u32)) -> Child {
    let mut command = Command::new("pgbouncer");
    command.arg(dir.join("pgbouncer.ini")).stdin(Stdio::null()).stderr(Stdio::piped());
    if rustix::process::geteuid().is_root() {
        command.uid(owner.0).gid(owner.1);
    }
    let mut child = command.spawn().expect("PgBouncer is installed");
    let log = BufReader::new(child.stderr.take().unwrap());
    let mut seen = Vec::new();
    for line in log.lines() {
        seen.push(line.unwrap());
        if seen.last().is_some_and(|line| line.contains("process up")) {
            return child;
        }
    }
    let _ = child.wait();
    panic!("PgBouncer does not start: {seen:#?}");
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

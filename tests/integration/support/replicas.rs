//! A primary and two standbys of it, which listen on Unix sockets.

use std::path::PathBuf;
use std::process::{Command, Output};

use tokio_postgres::Client;

use super::TestDb;
use super::pgbouncer::COMPLETE;
use super::programs::{Postmaster, bin_dir, command, give_away};

/// Settings of all three servers: no TCP, little memory, and the log kept for standbys that are copied at the same time.
const SETTINGS: [&str; 5] = [
    "listen_addresses=",
    "shared_buffers=16MB",
    "max_connections=60",
    "max_wal_size=128MB",
    "wal_keep_size=128MB",
];

/// The names of the servers, which the standbys give to the primary.
pub(crate) const NAMES: [&str; 3] = ["primary", "one", "two"];

/// Whether `pg_basebackup` is missing beside the server's programs, so that a test has to be skipped.
///
/// # Panics
/// When it is missing although no test is to be skipped, as in continuous integration.
pub(crate) fn are_impossible() -> bool {
    let is_missing = !bin_dir().join("pg_basebackup").exists();
    if is_missing {
        let note = format!("pg_basebackup is not in {}", bin_dir().display());
        assert!(std::env::var_os(COMPLETE).is_none(), "{note}, but {COMPLETE} is set");
        eprintln!("skipped: {note}");
    }
    is_missing
}

/// The servers; they are shut down when this is dropped, whatever became of the test.
pub(crate) struct Cluster {
    /// The primary, and the standbys `one` and `two`; `None` once stopped.
    servers: [Option<Postmaster>; 3],
    dir: tempfile::TempDir,
}

impl Cluster {
    /// Start the servers.
    pub(crate) fn start() -> Cluster {
        let dir = tempfile::Builder::new().prefix("etl-replicas-").tempdir().unwrap();
        give_away(dir.path());
        let mut cluster = Cluster { servers: [None, None, None], dir };
        let mut initdb = command("initdb");
        initdb.args(["--no-sync", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        succeed(&initdb.arg(cluster.data(0)).output().unwrap());
        cluster.boot(0);
        let copies = [1, 2].map(|server| {
            let mut copy: Command = command("pg_basebackup");
            let upstream = format!("{} application_name={}", cluster.settings(&[0]), NAMES[server]);
            copy.args(["--no-sync", "--checkpoint=fast", "--write-recovery-conf", "--dbname", &upstream]);
            copy.arg("--pgdata").arg(cluster.data(server)).spawn().unwrap()
        });
        for copy in copies {
            succeed(&copy.wait_with_output().unwrap());
        }
        cluster.boot(1);
        cluster.boot(2);
        cluster
    }

    fn data(&self, server: usize) -> PathBuf {
        self.dir.path().join(NAMES[server])
    }

    /// Start the server with this number.
    pub(crate) fn boot(&mut self, server: usize) {
        let mut settings = SETTINGS.map(str::to_owned).to_vec();
        settings.push(format!("port={}", port(server)));
        settings.push(format!("unix_socket_directories={}", self.dir.path().display()));
        self.servers[server] = Some(Postmaster::start(&self.data(server), &settings));
    }

    /// Shut the server with this number down.
    pub(crate) fn stop(&mut self, server: usize) {
        self.servers[server] = None;
    }

    /// The servers with these numbers, in this order, as key=value settings.
    fn settings(&self, servers: &[usize]) -> String {
        let (hosts, ports) = self.hosts_and_ports(servers);
        format!("host={hosts} port={ports} user=postgres dbname=postgres")
    }

    /// The URL of the servers with these numbers, in this order.
    pub(crate) fn url(&self, servers: &[usize]) -> String {
        let (hosts, ports) = self.hosts_and_ports(servers);
        format!("postgresql:///postgres?host={hosts}&port={ports}&user=postgres")
    }

    fn hosts_and_ports(&self, servers: &[usize]) -> (String, String) {
        let dir = self.dir.path().display().to_string();
        let ports: Vec<String> = servers.iter().map(|server| port(*server).to_string()).collect();
        (vec![dir; servers.len()].join(","), ports.join(","))
    }

    /// The server with this number as reports and errors call it.
    pub(crate) fn endpoint(&self, server: usize) -> String {
        format!("[{}]:{}", self.dir.path().display(), port(server))
    }

    /// The database of the primary.
    pub(crate) fn primary(&self) -> TestDb {
        TestDb::at(self.url(&[0]))
    }

    /// A connection to the server with this number.
    pub(crate) async fn connect(&self, server: usize) -> Client {
        super::connect(&self.url(&[server])).await
    }
}

/// The number in the name of a server's socket.
fn port(server: usize) -> usize {
    5501 + server
}

fn succeed(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

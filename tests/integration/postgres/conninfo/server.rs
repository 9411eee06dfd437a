//! Servers with TLS and without, which listen on a TCP port and ask for passwords.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use postgres_etl::postgres::{SessionOptions, Timeouts, pool};

use super::certificates::authority_and_certificates;
use super::conninfo;

pub(super) const PASSWORD: &str = "s3cret";

/// Who may log in how. `ann` and all others give a password; `tls` must encrypt, `plain` must not, and `cert`
/// presents a certificate.
const HBA: &str = "
local     all all                scram-sha-256
hostnossl all tls   127.0.0.1/32 reject
hostssl   all plain 127.0.0.1/32 reject
hostssl   all cert  127.0.0.1/32 cert
host      all absent 127.0.0.1/32 trust
host      postgres,absent all 127.0.0.1/32 scram-sha-256
";

/// A PostgreSQL server that lives as long as this value.
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
    dir: tempfile::TempDir,
}

impl Server {
    /// The server with TLS that these tests share; the last of them stops it.
    pub(super) fn with_tls() -> Arc<Server> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        Server::shared(&SHARED, true)
    }

    /// The shared server without TLS.
    pub(super) fn without_tls() -> Arc<Server> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        Server::shared(&SHARED, false)
    }

    fn shared(shared: &Mutex<Weak<Server>>, tls: bool) -> Arc<Server> {
        let mut shared = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Server::start(tls));
        *shared = Arc::downgrade(&server);
        server
    }

    pub(super) fn start(tls: bool) -> Server {
        Server::prepare(tls, |_| ())
    }

    /// Start a server after `change` has been made to its directory.
    pub(super) fn prepare(tls: bool, change: impl FnOnce(&Path)) -> Server {
        let dir = tempfile::Builder::new().prefix("etl-conninfo-").tempdir().unwrap();
        let (data, password) = (dir.path().join("data"), dir.path().join("password"));
        fs::write(&password, PASSWORD).unwrap();
        authority_and_certificates(dir.path());
        give_away(dir.path());
        let initdb = command("initdb")
            .args(["--no-sync", "--username=ann", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
            .arg(format!("--pwfile={}", password.display()))
            .arg(&data)
            .output()
            .unwrap();
        assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
        fs::write(data.join("pg_hba.conf"), HBA).unwrap();
        change(dir.path());
        give_away(dir.path());
        let port = unused_port();
        let setting = |name: &str, file: &str| format!("{name}={}", dir.path().join(file).display());
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = command("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-c", &format!("port={port}"), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", &setting("unix_socket_directories", ""), "-c", "fsync=off"])
            .args(["-c", if tls { "ssl=on" } else { "ssl=off" }])
            .args([
                "-c",
                &setting("ssl_cert_file", "server.crt"),
                "-c",
                &setting("ssl_key_file", "server.key"),
            ])
            .args(["-c", &setting("ssl_ca_file", "ca.crt")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Server { child, port, dir };
        server.wait_until_ready();
        server
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let ready = || {
            let pid = fs::read_to_string(self.dir.path().join("data/postmaster.pid")).unwrap_or_default();
            pid.lines().nth(7).is_some_and(|status| status.trim() == "ready")
        };
        while !ready() {
            let ended = self.child.try_wait().unwrap();
            let log = || fs::read_to_string(self.dir.path().join("log")).unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "the server did not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn path(&self, file: &str) -> String {
        self.dir.path().join(file).display().to_string()
    }

    /// The operating system user that it runs as.
    pub(super) fn user_name(&self) -> String {
        let uid = fs::metadata(self.dir.path().join("data")).unwrap().uid().to_string();
        let output = Command::new("id").args(["-un", &uid]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Settings to connect to this server as `ann` with the right password, followed by `more`, which override them.
    pub(super) fn settings(&self, more: &str) -> String {
        format!("host=127.0.0.1 port={} user=ann password={PASSWORD} dbname=postgres {more}", self.port)
    }

    pub(super) async fn execute(&self, sql: &str) {
        let admin = conninfo(&self.settings(""), &[]);
        let pool = pool(&admin, 1, Timeouts::default(), SessionOptions::default()).unwrap();
        pool.get().await.unwrap().batch_execute(sql).await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // SIGINT is PostgreSQL's fast shutdown.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        let _ = self.child.wait();
    }
}

/// One of PostgreSQL's programs, to be run as a user who may run a server.
fn command(program: &str) -> Command {
    let mut command = Command::new(bin_dir().join(program));
    command.current_dir("/");
    if let Some((uid, gid)) = server_user() {
        command.uid(uid).gid(gid);
    }
    command
}

pub(super) fn bin_dir() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).find(|dir| dir.join("initdb").exists());
    let asked = || {
        let output = Command::new("pg_config").arg("--bindir").output().ok()?;
        let dir = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
        dir.join("initdb").exists().then_some(dir)
    };
    let highest = || {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?.parse::<u32>().ok()
        });
        Some(PathBuf::from(format!("/usr/lib/postgresql/{}/bin", versions.max()?)))
    };
    on_path.or_else(asked).or_else(highest).expect("PostgreSQL's programs are installed")
}

/// The user and group that the server runs as if root runs the tests, because PostgreSQL refuses to run as root;
/// `None` otherwise.
fn server_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let id = |flag| {
        let output = Command::new("id").args([flag, "postgres"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().expect("there is a user postgres")
    };
    Some((id("-u"), id("-g")))
}

/// Make the server's user the owner of the directory and its entries.
fn give_away(dir: &Path) {
    let Some((uid, gid)) = server_user() else { return };
    for entry in fs::read_dir(dir).unwrap() {
        chown(entry.unwrap().path(), Some(uid), Some(gid)).unwrap();
    }
    chown(dir, Some(uid), Some(gid)).unwrap();
}

pub(super) fn unused_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

pub(super) fn write_private(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

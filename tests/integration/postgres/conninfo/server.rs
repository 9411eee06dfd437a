//! Servers with TLS and without, which listen on a TCP port and ask for passwords.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

use postgres_etl::postgres::{SessionOptions, Timeouts, pool};
use socket2::{Domain, Socket, Type};

use super::certificates::authority_and_certificates;
use super::conninfo;
use crate::support::programs::{Postmaster, command, give_away};

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
    _postmaster: Postmaster,
    pub(super) port: u16,
    _reserved: UnusedPort,
    dir: tempfile::TempDir,
    /// Whether the role `cert` exists.
    cert: tokio::sync::OnceCell<()>,
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
        let reserved = UnusedPort::new();
        let port = reserved.number;
        let setting = |name: &str, file: &str| format!("{name}={}", dir.path().join(file).display());
        let settings = [
            format!("port={port}"),
            "listen_addresses=127.0.0.1".to_owned(),
            setting("unix_socket_directories", ""),
            format!("ssl={}", if tls { "on" } else { "off" }),
            setting("ssl_cert_file", "server.crt"),
            setting("ssl_key_file", "server.key"),
            setting("ssl_ca_file", "ca.crt"),
        ];
        let cert = tokio::sync::OnceCell::new();
        Server { _postmaster: Postmaster::start(&data, &settings), port, _reserved: reserved, dir, cert }
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

    /// Create the role `cert`, which several tests need, unless one of them has.
    pub(super) async fn create_cert(&self) {
        self.cert.get_or_init(|| self.execute("CREATE ROLE cert LOGIN")).await;
    }

    pub(super) async fn execute(&self, sql: &str) {
        let admin = conninfo(&self.settings(""), &[]);
        let pool = pool(&admin, 1, Timeouts::default(), SessionOptions::default()).unwrap();
        pool.get().await.unwrap().batch_execute(sql).await.unwrap();
    }
}

/// A port at which connections are refused until a test has something listen there. As long as this value lives, no other
/// socket of the machine is given its number.
pub(super) struct UnusedPort {
    pub(super) number: u16,
    /// Bound, but not listening; with `SO_REUSEADDR`, Linux lets another socket listen there.
    _bound: Socket,
}

impl UnusedPort {
    pub(super) fn new() -> UnusedPort {
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        bound.set_reuse_address(true).unwrap();
        bound.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let address = bound.local_addr().unwrap().as_socket().unwrap();
        UnusedPort { number: address.port(), _bound: bound }
    }
}

pub(super) fn write_private(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

//! Connection settings against servers of our own, with TLS and without: what each `sslmode` does, and what each
//! refusal says.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::num::NonZero;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use postgres_etl::postgres::conninfo::{Conninfo, resolve};
use postgres_etl::postgres::{SessionOptions, Timeouts, connect, connect_error, pool};
use postgres_etl::{Error, ErrorKind};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

const PASSWORD: &str = "s3cret";

/// Who may log in how. `ann` and everybody else gives a password; `tls` must encrypt, `plain` must not, and `cert`
/// shows a certificate.
const HBA: &str = "
local     all all                scram-sha-256
hostnossl all tls   127.0.0.1/32 reject
hostssl   all plain 127.0.0.1/32 reject
hostssl   all cert  127.0.0.1/32 cert
host      all absent 127.0.0.1/32 trust
host      postgres,absent all 127.0.0.1/32 scram-sha-256
";

/// A PostgreSQL server that lives as long as this value.
struct Server {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Server {
    /// The server with TLS that the tests of this file share; the last of them stops it.
    fn with_tls() -> Arc<Server> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        Server::shared(&SHARED, true)
    }

    /// The same without TLS.
    fn without_tls() -> Arc<Server> {
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

    fn start(tls: bool) -> Server {
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

    fn path(&self, file: &str) -> String {
        self.dir.path().join(file).display().to_string()
    }

    /// Settings that reach this server as `ann` with the right password, and those in `more`.
    fn settings(&self, more: &str) -> String {
        format!("host=127.0.0.1 port={} user=ann password={PASSWORD} dbname=postgres {more}", self.port)
    }

    async fn execute(&self, sql: &str) {
        let admin = conninfo(&self.settings(""), &[]);
        let (client, connection) = connect(&admin, Timeouts::default()).await.unwrap();
        let driver = tokio::spawn(connection);
        client.batch_execute(sql).await.unwrap();
        drop(client);
        driver.await.unwrap().unwrap();
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

/// One of PostgreSQL's programs, as a user that may run a server.
fn command(program: &str) -> Command {
    let mut command = Command::new(bin_dir().join(program));
    command.current_dir("/");
    if let Some((uid, gid)) = server_user() {
        command.uid(uid).gid(gid);
    }
    command
}

fn bin_dir() -> PathBuf {
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

/// PostgreSQL refuses to run as root: then it runs as the system's `postgres` user.
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

/// Gives the directory and what is in it to the server's user.
fn give_away(dir: &Path) {
    let Some((uid, gid)) = server_user() else { return };
    for entry in fs::read_dir(dir).unwrap() {
        chown(entry.unwrap().path(), Some(uid), Some(gid)).unwrap();
    }
    chown(dir, Some(uid), Some(gid)).unwrap();
}

fn unused_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// `ca.crt`, a server certificate of its for `localhost` only, a client's for the user `cert`, and `other-ca.crt`.
fn authority_and_certificates(dir: &Path) {
    let authority = |name: &str, file: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        fs::write(dir.join(file), params.self_signed(&key).unwrap().pem()).unwrap();
        Issuer::new(params, key)
    };
    let ours = authority("ours", "ca.crt");
    authority("another", "other-ca.crt");
    for (names, common_name, file) in
        [(vec!["localhost".to_owned()], "ignored", "server"), (vec![], "cert", "client")]
    {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        fs::write(dir.join(format!("{file}.crt")), params.signed_by(&key, &ours).unwrap().pem()).unwrap();
        write_private(&dir.join(format!("{file}.key")), &key.serialize_pem());
    }
}

/// Resolves `text` with these variables as the whole environment.
fn conninfo(text: &str, env: &[(&str, &str)]) -> Conninfo {
    let lookup = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    resolve(Some((text, "--database-url")), &lookup).unwrap().unwrap()
}

/// Logs in through a pool; whether the connection is encrypted. With Sync batching, which opens its own sockets, it
/// has to come to the same.
async fn log_in(conninfo: &Conninfo) -> Result<bool, Error> {
    let stock = log_in_for(conninfo, SessionOptions::default()).await;
    let batching = SessionOptions { sync_every: NonZero::new(16).unwrap(), read_only: false };
    let batched = log_in_for(conninfo, batching).await;
    let told = |outcome: &Result<bool, Error>| outcome.as_ref().map_err(ToString::to_string).copied();
    assert_eq!(told(&batched), told(&stock));
    stock
}

async fn log_in_for(conninfo: &Conninfo, session: SessionOptions) -> Result<bool, Error> {
    let pool = pool(conninfo, 1, Timeouts::default(), session)?;
    let client = pool.get().await.map_err(|error| connect_error::from_pool(conninfo, &error))?;
    let row = client.query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).await;
    Ok(row.unwrap().get(0))
}

/// What the login comes to, in short: `tls`, `plain` or the error without its address, and its help.
async fn outcome(text: &str) -> String {
    told(&conninfo(text, &[])).await
}

async fn told(conninfo: &Conninfo) -> String {
    match log_in(conninfo).await {
        Ok(true) => "tls".to_owned(),
        Ok(false) => "plain".to_owned(),
        Err(error) => {
            let text = format!("{error} / {}", error.help().unwrap_or("no help"));
            // So servers before 14 call it.
            let text = text.replace("SSL off", "no encryption").replace("SSL on", "SSL encryption");
            assert!(!text.contains(PASSWORD), "{text}");
            let prefix = format!("failed to connect to {}: ", conninfo.describe());
            text.strip_prefix(&prefix).map(str::to_owned).unwrap_or(text)
        }
    }
}

const NO_TLS: &str =
    "server does not support TLS / set ssl = on in the server, or use sslmode=prefer or disable";

#[tokio::test]
async fn every_sslmode_against_a_server_with_tls_and_one_without() {
    let (with, without) = (Server::with_tls(), Server::without_tls());
    let root = format!("sslrootcert={}", with.path("ca.crt"));
    let mut table = String::new();
    for mode in ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] {
        for (name, server) in [("with", &with), ("without", &without)] {
            // The certificate is for localhost; hostaddr keeps IPv6 out of it.
            let text = server.settings(&format!("host=localhost hostaddr=127.0.0.1 sslmode={mode} {root}"));
            writeln!(table, "{mode} {name}: {}", outcome(&text).await.replace(NO_TLS, "no TLS")).unwrap();
        }
    }
    assert_eq!(
        table,
        "disable with: plain\ndisable without: plain\n\
         allow with: plain\nallow without: plain\n\
         prefer with: tls\nprefer without: plain\n\
         require with: tls\nrequire without: no TLS\n\
         verify-ca with: tls\nverify-ca without: no TLS\n\
         verify-full with: tls\nverify-full without: no TLS\n"
    );
}

#[tokio::test]
async fn certificates_are_checked_as_far_as_the_mode_says() {
    let server = Server::with_tls();
    let (ca, other) = (server.path("ca.crt"), server.path("other-ca.crt"));
    let try_mode = async |more: String| outcome(&server.settings(&more)).await;
    let unknown = "no trusted authority issued the server's certificate / \
                   set sslrootcert=FILE to the certificate of the authority that issued it";

    // 127.0.0.1 is not a name of the certificate.
    assert_eq!(try_mode(format!("sslmode=verify-ca sslrootcert={ca}")).await, "tls");
    let name = try_mode(format!("sslmode=verify-full sslrootcert={ca}")).await;
    assert!(name.starts_with("the server's certificate is for another host name / "), "{name}");
    for mode in ["require", "verify-ca", "verify-full"] {
        assert_eq!(try_mode(format!("sslmode={mode} sslrootcert={other}")).await, unknown);
    }
    assert_eq!(try_mode("sslrootcert=system".to_owned()).await, unknown);
    assert_eq!(try_mode("sslmode=require".to_owned()).await, "tls");
    assert_eq!(try_mode(format!("sslmode=prefer sslrootcert={other}")).await, "tls");
    let missing = try_mode("sslmode=verify-ca".to_owned()).await;
    assert!(missing.starts_with("sslmode verify-ca and verify-full need a root certificate / "), "{missing}");
    let unread = try_mode("sslmode=require sslrootcert=/nowhere".to_owned()).await;
    assert!(unread.starts_with("failed to read sslrootcert /nowhere: "), "{unread}");
}

#[tokio::test]
async fn a_self_signed_certificate_with_only_a_common_name_can_be_its_own_root() {
    let server = Server::start(true);
    // What `openssl req -x509 -subj /CN=localhost` makes.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    fs::write(server.path("server.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(server.path("server.key"), key.serialize_pem()).unwrap();
    server.execute("SELECT pg_reload_conf()").await;

    let root = server.path("server.crt");
    let full = server.settings(&format!("sslmode=verify-full sslrootcert={root}"));
    // The postmaster takes the new certificate when it gets to the signal.
    let deadline = Instant::now() + Duration::from_secs(10);
    let named = format!("{full} host=localhost hostaddr=127.0.0.1");
    while outcome(&named).await != "tls" {
        assert!(Instant::now() < deadline, "{}", outcome(&named).await);
    }
    let name = outcome(&full).await;
    assert!(name.starts_with("the server's certificate is for another host name / "), "{name}");
}

#[tokio::test]
async fn version_1_certificates_encrypt_but_prove_nothing() {
    let server = Server::start(true);
    let key = KeyPair::generate().unwrap();
    let pem = version_1_certificate(&key);
    fs::write(server.path("server.crt"), &pem).unwrap();
    fs::write(server.path("server.key"), key.serialize_pem()).unwrap();
    server.execute("SELECT pg_reload_conf()").await;
    let checked = server.settings(&format!("sslmode=verify-ca sslrootcert={}", server.path("ca.crt")));
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut refusal = outcome(&checked).await;
    while refusal == "tls" {
        assert!(Instant::now() < deadline, "the server never took the new certificate");
        refusal = outcome(&checked).await;
    }
    assert!(refusal.contains("UnsupportedCertVersion / reissue it as X.509 version 3"), "{refusal}");
    for mode in ["prefer", "require", "require channel_binding=require"] {
        assert_eq!(outcome(&server.settings(&format!("sslmode={mode}"))).await, "tls", "{mode}");
    }
}

/// What `openssl x509 -req` made for years, and rcgen does not: a certificate without version and extensions.
fn version_1_certificate(key: &KeyPair) -> String {
    use rcgen::SigningKey as _;
    let element = |tag: u8, content: &[u8]| {
        let length = match u8::try_from(content.len()) {
            Ok(length @ ..0x80) => vec![length],
            Ok(length) => vec![0x81, length],
            Err(_) => [&[0x82][..], &u16::try_from(content.len()).unwrap().to_be_bytes()].concat(),
        };
        [&[tag], &length[..], content].concat()
    };
    // Splits the elements of a sequence whose own header is already off.
    let elements = |mut rest: &[u8]| {
        let mut elements = Vec::new();
        while !rest.is_empty() {
            let (header, length) = match rest[1] {
                0x82 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
                0x81 => (3, usize::from(rest[2])),
                short => (2, usize::from(short)),
            };
            elements.push((header, rest[..header + length].to_vec()));
            rest = &rest[header + length..];
        }
        elements
    };
    let inside = |(header, bytes): &(usize, Vec<u8>)| elements(&bytes[*header..]);
    let certificate = CertificateParams::new([]).unwrap().self_signed(key).unwrap();
    let parts = inside(&elements(certificate.der())[0]);
    let kept = inside(&parts[0]).into_iter().filter(|(_, bytes)| ![0xa0, 0xa3].contains(&bytes[0]));
    let body = element(0x30, &kept.flat_map(|(_, bytes)| bytes).collect::<Vec<u8>>());
    let signature = [vec![0], key.sign(&body).unwrap()].concat();
    let whole = element(0x30, &[body, parts[1].1.clone(), element(0x03, &signature)].concat());
    pem::encode(&pem::Pem::new("CERTIFICATE", whole))
}

#[tokio::test]
async fn allow_and_prefer_try_again_when_the_server_insists() {
    let server = Server::with_tls();
    let roles = format!(
        "CREATE ROLE tls LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE plain LOGIN PASSWORD '{PASSWORD}'; \
         CREATE ROLE cert LOGIN"
    );
    server.execute(&roles).await;
    let as_user =
        async |user: &str, more: &str| outcome(&server.settings(&format!("user={user} {more}"))).await;

    assert_eq!(as_user("tls", "sslmode=allow").await, "tls");
    assert_eq!(as_user("plain", "sslmode=prefer").await, "plain");
    let insists = as_user("tls", "sslmode=disable").await;
    assert!(insists.contains("no encryption (SQLSTATE 28000) / if the server requires TLS"), "{insists}");
    let refused = as_user("plain", "sslmode=require").await;
    assert!(refused.contains("SSL encryption (SQLSTATE 28000) / "), "{refused}");
    let wrong = as_user("tls", "sslmode=allow password=wrong").await;
    assert!(
        wrong.starts_with("password authentication failed for user \"tls\" (SQLSTATE 28P01) / "),
        "{wrong}"
    );

    let (certificate, key) = (server.path("client.crt"), server.path("client.key"));
    let identity = format!("sslmode=require sslcert={certificate} sslkey={key}");
    assert_eq!(as_user("cert", &identity).await, "tls");
    let without = as_user("cert", "sslmode=require").await;
    assert!(without.contains("certificate") && without.contains("sslcert=FILE sslkey=FILE"), "{without}");
}

#[tokio::test]
async fn channel_binding_is_used_over_tls() {
    let server = Server::with_tls();
    assert_eq!(outcome(&server.settings("sslmode=require channel_binding=require")).await, "tls");
    let plain = outcome(&server.settings("sslmode=disable channel_binding=require")).await;
    assert!(plain.contains("channel binding"), "{plain}");
}

#[tokio::test]
async fn unix_sockets_are_never_encrypted() {
    let server = Server::with_tls();
    let text = server.settings(&format!("host={} sslmode=verify-full", server.path("")));
    assert_eq!(outcome(&text).await, "plain");
    let host = server.path("").replace('/', "%2F");
    assert_eq!(
        outcome(&format!("postgresql://ann:{PASSWORD}@{host}:{}/postgres", server.port)).await,
        "plain"
    );
}

#[tokio::test]
async fn refusals_say_why_and_what_to_do() {
    let server = Server::with_tls();
    server.execute("CREATE ROLE \"full\" LOGIN PASSWORD 'full' CONNECTION LIMIT 0").await;
    for (more, expected) in [
        (
            "password=wrong",
            "password authentication failed for user \"ann\" (SQLSTATE 28P01) / \
             check the user name and the password of ann (in PGPASSWORD, ~/.pgpass or the URL)",
        ),
        (
            "password=''",
            "the server requires a password, and none is set / set PGPASSWORD, add a line \
             host:port:database:user:password to ~/.pgpass, or add it to the URL",
        ),
        (
            "user=absent",
            "role \"absent\" does not exist (SQLSTATE 28000) / run `createuser absent`, or name another user in PGUSER \
             or as postgresql://user@host/database",
        ),
        (
            "user=full password=full",
            "too many connections for role \"full\" (SQLSTATE 53300) / use fewer connections, close idle ones, or \
             raise the server's max_connections",
        ),
        (
            "dbname=template1 sslmode=disable",
            "no pg_hba.conf entry for host \"127.0.0.1\", user \"ann\", database \"template1\", no encryption \
             (SQLSTATE 28000) / if the server requires TLS, use sslmode=require; otherwise add a line to its \
             pg_hba.conf",
        ),
        (
            "dbname=template1 sslmode=require",
            "no pg_hba.conf entry for host \"127.0.0.1\", user \"ann\", database \"template1\", SSL encryption \
             (SQLSTATE 28000) / add a line for database template1, user ann and this client's address to the \
             server's pg_hba.conf, and reload the server",
        ),
        (
            "dbname=absent",
            "database \"absent\" does not exist (SQLSTATE 3D000) / run `createdb absent`, or name another database",
        ),
        (
            "host=absent.invalid",
            "the host name cannot be resolved / check its spelling and this machine's name resolution",
        ),
        (
            "host=/nowhere",
            "the socket does not exist: no server listens there / start the server, or leave --database-url out \
             to use the embedded server",
        ),
    ] {
        assert_eq!(outcome(&server.settings(more)).await, expected, "{more}");
    }
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_told_with_what_named_it() {
    let (port, env) = (unused_port().to_string(), [("PGUSER", "ann"), ("PGHOST", "127.0.0.1")]);
    let lookup = |name: &str| {
        let found = env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        found.or_else(|| (name == "PGPORT").then(|| port.clone()))
    };
    let conninfo = resolve(None, &lookup).unwrap().unwrap();
    let error = log_in(&conninfo).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert_eq!(
        error.to_string(),
        format!(
            "failed to connect to postgresql://ann@127.0.0.1:{port}/ann: connection refused: no server listens there"
        )
    );
    assert_eq!(error.help(), Some("start the server, or unset PGHOST to use the embedded server"));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let conninfo = conninfo(&format!("host=127.0.0.1 port={port} user=ann"), &[]);
    let timeouts = Timeouts { connect: Some(Duration::from_millis(100)), ..Timeouts::default() };
    let error = connect(&conninfo, timeouts).await.err().unwrap();
    assert!(error.to_string().ends_with("the server did not answer within 0.1 s"), "{error}");
    let error = pool(&conninfo, 1, timeouts, SessionOptions::default()).unwrap().get().await.err().unwrap();
    let error = connect_error::from_pool(&conninfo, &error);
    assert!(error.to_string().ends_with("the server did not answer in time"), "{error}");
}

#[tokio::test]
async fn password_files_and_services_are_used() {
    let server = Server::with_tls();
    let home = tempfile::tempdir().unwrap();
    let (passwords, services) = (home.path().join(".pgpass"), home.path().join(".pg_service.conf"));
    write_private(
        &passwords,
        &format!("127.0.0.1:{}:*:ann:{PASSWORD}\nlocalhost:*:*:*:wrong\n", server.port),
    );
    let section = format!("[etl]\nhost=127.0.0.1\nport={}\nuser=ann\ndbname=postgres\n", server.port);
    fs::write(&services, section).unwrap();
    let env = [("HOME", home.path().to_str().unwrap()), ("PGSERVICE", "etl")];

    let lookup = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    assert_eq!(told(&resolve(None, &lookup).unwrap().unwrap()).await, "tls");
    let wrong = told(&conninfo("host=localhost hostaddr=127.0.0.1", &env)).await;
    let file = passwords.display();
    assert!(wrong.ends_with(&format!("/ the password is from {file}: correct its line for ann")), "{wrong}");
}

#[tokio::test]
async fn the_next_host_of_several_is_tried() {
    let server = Server::without_tls();
    let text = format!(
        "postgresql://ann:{PASSWORD}@127.0.0.1:{},127.0.0.1:{}/postgres?sslmode=disable",
        unused_port(),
        server.port
    );
    assert_eq!(outcome(&text).await, "plain");
}

//! The rules of libpq, with psql as the oracle: with the same settings, both connect or both fail.
//!
//! `cargo test --test integration oracle::both -- --nocapture` prints the table of cases.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use postgres_etl::postgres::conninfo::resolve;

use super::certificates::self_signed;
use super::fake::{Fake, listen};
use super::server::{PASSWORD, Server, UnusedPort};
use super::{log_in_and_ask, write_encrypted_keys};
use crate::support::programs::bin_dir;

/// Settings to try.
struct Case {
    /// The settings, in which `{name}` stands for a path, a port or a user of the test.
    text: String,
    /// The files of the home directory: their paths, and their contents or `=` and the name of a file to copy.
    home: Vec<(&'static str, Vec<u8>)>,
    /// The first version of psql that can be the oracle: that knows the settings, and not before 15.
    since: u32,
    /// The outcome with an older psql, or without one.
    otherwise: Option<&'static str>,
    /// Where the outcome differs from libpq's on purpose: ours, and the reason.
    decided: Option<(&'static str, &'static str)>,
}

fn case(text: impl Into<String>) -> Case {
    Case { text: text.into(), home: Vec::new(), since: 15, otherwise: None, decided: None }
}

impl Case {
    fn file(mut self, path: &'static str, content: impl AsRef<[u8]>) -> Case {
        self.home.push((path, content.as_ref().to_vec()));
        self
    }

    fn since(mut self, version: u32, otherwise: &'static str) -> Case {
        (self.since, self.otherwise) = (version, Some(otherwise));
        self
    }

    fn decided(mut self, ours: &'static str, reason: &'static str) -> Case {
        self.decided = Some((ours, reason));
        self
    }
}

/// The servers: with a certificate of an authority, with a self-signed one, without TLS, and a standby without TLS; and a
/// port without any.
struct Servers {
    with: Arc<Server>,
    own: Server,
    none: Arc<Server>,
    standby: Server,
    closed: UnusedPort,
}

impl Servers {
    fn start() -> Servers {
        let standby = |dir: &Path| fs::write(dir.join("data/standby.signal"), "").unwrap();
        Servers {
            with: Server::with_tls(),
            own: Server::prepare(true, self_signed),
            none: Server::without_tls(),
            standby: Server::prepare(false, standby),
            closed: UnusedPort::new(),
        }
    }

    /// What the placeholders stand for.
    fn names(&self) -> BTreeMap<&'static str, String> {
        let mut names = BTreeMap::from([
            ("with", self.with.port.to_string()),
            ("own", self.own.port.to_string()),
            ("none", self.none.port.to_string()),
            ("standby", self.standby.port.to_string()),
            ("closed", self.closed.number.to_string()),
            ("silent", listen(Fake::Silent).to_string()),
            ("closing", listen(Fake::Closing).to_string()),
            ("garbage", listen(Fake::Garbage).to_string()),
            ("starting", listen(Fake::Refusing("57P03")).to_string()),
            ("full", listen(Fake::Refusing("53300")).to_string()),
            ("own.crt", self.own.path("server.crt")),
            ("dir", self.with.path("")),
            ("socket", self.with.path("").trim_end_matches('/').to_owned()),
            ("password", PASSWORD.to_owned()),
            ("server-user", self.with.user_name()),
        ]);
        for file in
            ["ca.crt", "other-ca.crt", "ca.crl", "clean.crl", "other-ca.crl", "client.crt", "client.key"]
        {
            names.insert(file, self.with.path(file));
        }
        names
    }
}

fn fill_in(text: &str, names: &BTreeMap<&'static str, String>) -> String {
    names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

const LOGIN: &str = "user=ann password={password} dbname=postgres";

/// What each sslmode makes of each server's certificate.
fn certificate_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for server in ["with", "own", "none"] {
        for mode in ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] {
            for root in ["", "{ca.crt}", "{own.crt}", "{other-ca.crt}", "/nowhere"] {
                let root = if root.is_empty() { String::new() } else { format!(" sslrootcert={root}") };
                let address = "host=localhost hostaddr=127.0.0.1";
                cases.push(case(format!("{address} port={{{server}}} {LOGIN} sslmode={mode}{root}")));
            }
        }
    }
    for (mode, host, port, root) in [
        ("verify-full", "host=127.0.0.1", "with", "ca.crt"),
        ("verify-full", "host=127.0.0.1", "own", "own.crt"),
        ("verify-full", "hostaddr=127.0.0.1", "with", "ca.crt"),
        ("verify-full", "hostaddr=127.0.0.1", "own", "own.crt"),
        ("verify-ca", "hostaddr=127.0.0.1", "with", "ca.crt"),
        ("verify-full", "host=localhost. hostaddr=127.0.0.1", "with", "ca.crt"),
        ("verify-full", "host=LOCALHOST hostaddr=127.0.0.1", "with", "ca.crt"),
    ] {
        cases.push(case(format!("{host} port={{{port}}} {LOGIN} sslmode={mode} sslrootcert={{{root}}}")));
    }
    let dotted = cases.len() - 2;
    cases[dotted].decided = Some(("tls with", "a trailing dot only marks the name as absolute"));
    cases
}

/// Lists of revoked certificates, in the settings and in the home directory.
fn revocation_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let server = format!("host=localhost hostaddr=127.0.0.1 port={{with}} {LOGIN}");
    for mode in ["allow", "prefer", "require", "verify-ca", "verify-full"] {
        for list in ["{ca.crl}", "{clean.crl}", "{other-ca.crl}", "/nowhere"] {
            cases.push(case(format!("{server} sslmode={mode} sslrootcert={{ca.crt}} sslcrl={list}")));
        }
        for list in ["=ca.crl", "=clean.crl"] {
            let text = format!("{server} sslmode={mode}");
            cases.push(case(text).file(".postgresql/root.crt", "=ca.crt").file(".postgresql/root.crl", list));
        }
    }
    cases.push(case(format!("{server} sslmode=require sslcrl={{ca.crl}}")));
    for (list, otherwise) in [("=ca.crl", "refused"), ("=clean.crl", "tls with")] {
        let text = format!("{server} sslmode=verify-full sslrootcert={{ca.crt}} sslcrldir={{home}}/crl");
        // OpenSSL finds a list only under the name that `openssl` computes.
        let since = if Command::new("openssl").arg("version").output().is_ok() { 15 } else { u32::MAX };
        cases.push(case(text).file("crl/HASH.r0", list).since(since, otherwise));
    }
    cases
}

/// Versions of TLS, client certificates and their keys.
fn tls_cases() -> Vec<Case> {
    let server = format!("host=127.0.0.1 port={{with}} {LOGIN}");
    let mut cases: Vec<Case> = [
        "ssl_min_protocol_version=TLSv1.3",
        "ssl_max_protocol_version=tlsv1.2",
        "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
        "ssl_min_protocol_version=TLSv1 ssl_max_protocol_version=TLSv1.2",
        "ssl_min_protocol_version=TLSv1.4",
        "ssl_max_protocol_version=TLSv1.1",
        "channel_binding=require",
        "channel_binding=disable",
        "channel_binding=sometimes",
    ]
    .into_iter()
    .map(|more| case(format!("{server} sslmode=require {more}")))
    .collect();
    let identity =
        "host=127.0.0.1 port={with} user=cert dbname=postgres sslmode=require sslcert={client.crt}";
    cases.push(case(format!("{identity} sslkey={{client.key}}")));
    cases.push(case(identity.to_owned()));
    for key in ["client.der", "encrypted.key", "encrypted.der"] {
        for password in ["", " sslpassword=wrong", " sslpassword=opensesame"] {
            let case = case(format!("{identity} sslkey={{dir}}{key}{password}"));
            cases.push(match (key, password) {
                ("encrypted.der", " sslpassword=opensesame") => {
                    case.decided("tls with", "what the passphrase decrypts is as good in DER as in PEM")
                }
                _ => case,
            });
        }
    }
    for (negotiation, otherwise) in [("direct", "refused"), ("postgres", "tls with")] {
        let text = format!("{server} sslmode=prefer sslnegotiation={negotiation}");
        cases.push(case(text).since(17, otherwise));
    }
    for (versions, otherwise) in [
        ("min_protocol_version=3.0", "tls with"),
        ("max_protocol_version=latest", "tls with"),
        ("min_protocol_version=2.0", "refused"),
    ] {
        cases.push(case(format!("{server} {versions}")).since(18, otherwise));
    }
    cases
}

/// Which of several hosts is used, and which answers are final.
fn host_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for first in ["closed", "silent", "closing", "garbage", "starting", "full"] {
        let text = format!("host=127.0.0.1,127.0.0.1 port={{{first}}},{{none}} {LOGIN} sslmode=disable");
        cases.push(case(format!("{text} connect_timeout=2")));
    }
    let several = "host=localhost,127.0.0.1 hostaddr=127.0.0.1,127.0.0.1 port={with},{none}";
    cases.push(case(format!("host=absent.invalid,127.0.0.1 port={{none}} {LOGIN}")));
    cases.push(case(format!("host=/nowhere,127.0.0.1 port={{none}} {LOGIN}")));
    for wrong in [
        "user=ann password=wrong dbname=postgres",
        "user=ann password={password} dbname=only_in_none",
        "user=nobody password={password} dbname=postgres",
        "user=only_in_none password={password} dbname=postgres",
        "user=ann password={password} dbname=template1",
    ] {
        cases.push(case(format!("{several} {wrong}")));
        cases.push(case(format!("host=127.0.0.1 port={{none}} {wrong}")));
    }
    let passwords = |first: &str| format!("localhost:*:*:*:{first}\n127.0.0.1:*:*:*:{PASSWORD}\n");
    let login = "user=ann dbname=postgres";
    cases.push(case(format!("{several} {login}")).file(".pgpass", passwords("wrong")));
    let reached = "host=localhost,127.0.0.1 hostaddr=127.0.0.1,127.0.0.1 port={closed},{none}";
    cases.push(case(format!("{reached} {login}")).file(".pgpass", passwords("wrong")));
    for content in [
        format!("\u{e9}\n127.0.0.1:*:*:*:{PASSWORD}\n").into_bytes(),
        [b"\xff:*:*:*:x\n127.0.0.1:*:*:*:".as_slice(), PASSWORD.as_bytes()].concat(),
        format!("127.0.0.1:*:*:ann:\n*:*:*:*:{PASSWORD}\n").into_bytes(),
        format!("# 127.0.0.1\n\n127.0.0.1:*:postgres:ann:{PASSWORD}\r\n").into_bytes(),
        b"*:*:*:*:wrong\n".to_vec(),
    ] {
        cases.push(case(format!("host=127.0.0.1 port={{none}} {login}")).file(".pgpass", content));
    }
    let socket = format!("{{socket}}:*:*:ann:{PASSWORD}\n");
    cases.push(case(format!("host={{socket}} port={{with}} {login}")).file(".pgpass", socket));
    let localhost = format!("localhost:*:*:ann:{PASSWORD}\n");
    cases.push(case(format!("host={{socket}} port={{with}} {login}")).file(".pgpass", localhost));
    cases
}

/// Which kind of server is accepted, and how it may authenticate.
fn session_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let both = "host=127.0.0.1,127.0.0.1 port={none},{standby}";
    for attribute in ["any", "read-write", "read-only", "primary", "standby", "prefer-standby", "replica"] {
        for hosts in ["host=127.0.0.1 port={none}", "host=127.0.0.1 port={standby}", both] {
            cases.push(case(format!("{hosts} {LOGIN} target_session_attrs={attribute}")));
        }
    }
    for peer in ["{server-user}", "nobody-else"] {
        cases.push(case(format!("host={{socket}} port={{with}} {LOGIN} requirepeer={peer}")));
        cases.push(case(format!("host=127.0.0.1 port={{with}} {LOGIN} requirepeer={peer}")));
    }
    for (methods, otherwise) in [
        ("scram-sha-256", "tls with"),
        ("!scram-sha-256", "refused"),
        ("md5", "refused"),
        ("password,scram-sha-256", "tls with"),
        ("none", "refused"),
        ("!none", "tls with"),
        ("unheard-of", "refused"),
    ] {
        let text = format!("host=127.0.0.1 port={{with}} {LOGIN} require_auth={methods}");
        cases.push(case(text).since(16, otherwise));
    }
    cases
}

/// The notations, and values that are out of range.
fn notation_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for timeout in ["0", "-1", "2147483647", "2147483648", " 5 ", "5s", "1e3", "+5"] {
        cases.push(case(format!("host=127.0.0.1 port={{none}} {LOGIN} connect_timeout='{timeout}'")));
    }
    for more in ["keepalives_idle=99999999999", "tcp_user_timeout=-1", "keepalives=x", "port=0", "port=65536"]
    {
        cases.push(case(format!("host=127.0.0.1 port={{none}} {LOGIN} {more}")));
    }
    for url in [
        "postgresql://ann:{password}@127.0.0.1:{none}/postgres",
        "postgres://ann:{password}@127.0.0.1:{none}/postgres?connect_timeout=5",
        "postgres://127.0.0.1:{none}/postgres?user=ann&password={password}",
        "postgres://ann:{password}@127.0.0.1:{none},127.0.0.1:{none}/postgres",
        "postgres://ann:{password}@/postgres?host=127.0.0.1&port={none}",
        "postgres://ann:{password}@127.0.0.1:{none}/postgres?nonsense=1",
        "postgres://ann:{password}@127.0.0.1:{none}/postgres?connect_timeout",
        "postgres://ann:%zz@127.0.0.1:{none}/postgres",
    ] {
        cases.push(case(url));
    }
    for blank in [
        " postgres://ann:{password}@127.0.0.1:{none}/postgres",
        "postgres://ann:{password}@127.0.0.1:{none}/postgres\n",
    ] {
        let reason = "files and variables often end in a newline; no URL begins or ends with a blank";
        cases.push(case(blank).decided("plain none", reason));
    }
    let section = "[s]\nhost=127.0.0.1\nport={none}\nuser=ann\npassword={password}\ndbname=postgres\n";
    cases.push(case("service=s").file(".pg_service.conf", section));
    cases.push(case("service=t").file(".pg_service.conf", section));
    cases
}

/// The path of psql, beside the server's programs or where the distribution has put it.
fn psql() -> PathBuf {
    let packaged = || {
        let output = Command::new("pg_config").arg("--bindir").output().ok()?;
        Some(Path::new(String::from_utf8(output.stdout).ok()?.trim()).join("psql"))
    };
    let beside = Some(bin_dir().join("psql")).filter(|path| path.exists());
    beside.or_else(packaged).unwrap_or_else(|| "psql".into())
}

/// The version of psql; 0 if there is none.
fn psql_version() -> u32 {
    let Ok(output) = Command::new(psql()).arg("--version").output() else { return 0 };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .split_whitespace()
        .nth(2)
        .and_then(|version| version.split(['.', 'b', 'r']).next()?.parse().ok());
    version.unwrap_or(0)
}

/// What psql makes of the settings: encrypted or not, which server it reaches, or `refused` and its words.
fn ask_psql(text: &str, home: &Path, names: &BTreeMap<&'static str, String>) -> (String, String) {
    let query = "SELECT ssl, inet_server_port() FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let output = Command::new(psql())
        .env_clear()
        .env("HOME", home)
        .args(["-XAtqw", "-d", text, "-c", query])
        .output()
        .unwrap();
    let row = String::from_utf8_lossy(&output.stdout).into_owned();
    match row.trim().split_once('|') {
        Some((ssl, port)) => (outcome(ssl == "t", port, names), String::new()),
        None => ("refused".to_owned(), String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

async fn ask_us(text: &str, home: &Path, names: &BTreeMap<&'static str, String>) -> (String, String) {
    let lookup = |name: &str| (name == "HOME").then(|| home.display().to_string());
    let asked = match resolve(Some((text, "--database-url")), &lookup) {
        Ok(conninfo) => log_in_and_ask(&conninfo.expect("the text names a server")).await,
        Err(error) => Err(error),
    };
    match asked {
        Ok((ssl, port)) => {
            let port = port.map_or_else(String::new, |port| port.to_string());
            (outcome(ssl, &port, names), String::new())
        }
        Err(error) => ("refused".to_owned(), error.to_string()),
    }
}

/// Such as `tls with` or `plain socket`.
fn outcome(ssl: bool, port: &str, names: &BTreeMap<&'static str, String>) -> String {
    let server = ["with", "own", "none", "standby"].into_iter().find(|name| names[name] == port);
    format!("{} {}", if ssl { "tls" } else { "plain" }, server.unwrap_or("socket"))
}

/// A home directory with the files of `case`.
fn home(case: &Case, names: &BTreeMap<&'static str, String>) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for (path, content) in &case.home {
        let content = match content.strip_prefix(b"=") {
            Some(name) => fs::read(&names[std::str::from_utf8(name).unwrap()]).unwrap(),
            None => match std::str::from_utf8(content) {
                Ok(text) => fill_in(text, names).into_bytes(),
                Err(_) => content.clone(),
            },
        };
        let path = home.path().join(path.replace("HASH", &crl_hash(names)));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    home
}

/// The hash by which OpenSSL finds the list of our authority; any other name will do for us.
fn crl_hash(names: &BTreeMap<&'static str, String>) -> String {
    let output = Command::new("openssl").args(["crl", "-hash", "-noout", "-in", &names["ca.crl"]]).output();
    output.map_or_else(|_| "0".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[tokio::test]
async fn both_connect_or_both_fail() {
    let servers = Servers::start();
    servers.none.execute("CREATE ROLE only_in_none LOGIN SUPERUSER PASSWORD 's3cret'").await;
    servers.none.execute("CREATE DATABASE only_in_none").await;
    servers.with.create_cert().await;
    write_encrypted_keys(&servers.with);
    let (names, version) = (servers.names(), psql_version());
    let mut cases = certificate_cases();
    for more in [revocation_cases(), tls_cases(), host_cases(), session_cases(), notation_cases()] {
        cases.extend(more);
    }
    println!("| settings | files | psql {version} | postgres-etl | |\n| --- | --- | --- | --- | --- |");
    let mut differing = Vec::new();
    for case in &cases {
        let home = home(case, &names);
        let text = fill_in(&case.text, &names).replace("{home}", &home.path().display().to_string());
        let (ours, error) = ask_us(&text, home.path(), &names).await;
        let known = version >= case.since;
        let (theirs, refusal) =
            if known { ask_psql(&text, home.path(), &names) } else { ("unknown".to_owned(), String::new()) };
        let files: Vec<String> =
            case.home.iter().map(|(path, content)| format!("{path}: {}", content.escape_ascii())).collect();
        let (expected, reason) = match case.decided {
            Some((expected, reason)) => (expected.to_owned(), reason),
            None if known => (theirs.clone(), ""),
            None => (case.otherwise.map_or_else(|| ours.clone(), str::to_owned), ""),
        };
        let shown = case.text.replace("{password}", "…").replace('\n', "\\n");
        println!(
            "| `{shown}` | {} | {theirs} | {ours} | {reason} |",
            files.join(", ").replace(PASSWORD, "…")
        );
        if ours != expected {
            differing.push(format!("{shown} {files:?}\n  psql: {theirs} {refusal}  ours: {ours} {error}\n"));
        }
    }
    assert!(differing.is_empty(), "{} of {} differ:\n{}", differing.len(), cases.len(), differing.join("\n"));
}

//! Connection settings against servers with TLS and without: what each `sslmode` does, and what each error says.

mod certificates;
mod fake;
mod oracle;
mod server;

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::num::NonZero;
use std::time::{Duration, Instant};

use certificates::version_1_certificate;
use postgres_etl::postgres::conninfo::{Conninfo, resolve};
use postgres_etl::postgres::{SessionOptions, Timeouts, connect_error, pool};
use postgres_etl::{Error, ErrorKind};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use server::{PASSWORD, Server, UnusedPort, write_private};

use crate::support::workplace::Workplace;

/// Resolve `text` with the variables `env` as the whole environment.
fn conninfo(text: &str, env: &[(&str, &str)]) -> Conninfo {
    let lookup = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    resolve(Some((text, "--database-url")), &lookup).unwrap().unwrap()
}

/// Log in through a pool, and return whether the connection is encrypted. Sync batching must have the same outcome.
async fn log_in(conninfo: &Conninfo) -> Result<bool, Error> {
    let (is_encrypted, _) = log_in_and_ask(conninfo).await?;
    Ok(is_encrypted)
}

/// As [`log_in`]; returns the server's TCP port as well, `None` for a Unix socket.
async fn log_in_and_ask(conninfo: &Conninfo) -> Result<(bool, Option<i32>), Error> {
    let stock = log_in_for(conninfo, SessionOptions::default()).await;
    let batching = SessionOptions { sync_every: NonZero::new(16).unwrap(), ..SessionOptions::default() };
    let batched = log_in_for(conninfo, batching).await;
    let shown = |outcome: &Result<_, Error>| outcome.as_ref().map_err(ToString::to_string).copied();
    assert_eq!(shown(&batched), shown(&stock));
    stock
}

async fn log_in_for(conninfo: &Conninfo, session: SessionOptions) -> Result<(bool, Option<i32>), Error> {
    let pool = pool(conninfo, 1, Timeouts::default(), session)?;
    let client = pool.get().await.map_err(|error| connect_error::from_pool(conninfo, &error))?;
    let query = "SELECT ssl, inet_server_port() FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let row = client.query_one(query, &[]).await.unwrap();
    Ok((row.get(0), row.get(1)))
}

/// The outcome of a login, in short: `tls`, `plain`, or the error without its address and the help.
async fn outcome(text: &str) -> String {
    login_outcome(&conninfo(text, &[])).await
}

async fn login_outcome(conninfo: &Conninfo) -> String {
    match log_in(conninfo).await {
        Ok(true) => "tls".to_owned(),
        Ok(false) => "plain".to_owned(),
        Err(error) => {
            let text = format!("{error} / {}", error.help().unwrap_or("no help"));
            // The words of servers before 14.
            let text = text.replace("SSL off", "no encryption").replace("SSL on", "SSL encryption");
            assert!(!text.contains(PASSWORD), "{text}");
            let prefix = format!("failed to connect to {}: ", conninfo.describe());
            text.strip_prefix(&prefix).map(str::to_owned).unwrap_or(text)
        }
    }
}

/// Write the client's key in other formats: DER, and encrypted as PKCS #8 with the passphrase `opensesame`.
fn write_encrypted_keys(server: &Server) {
    let key = pem::parse(fs::read(server.path("client.key")).unwrap()).unwrap();
    let (salt, iv) = ([1; 8], [2; 16]);
    let parameters = pkcs8::pkcs5::pbes2::Parameters::pbkdf2_sha256_aes256cbc(2048, &salt, &iv).unwrap();
    let plain = pkcs8::PrivateKeyInfo::try_from(key.contents()).unwrap();
    let encrypted = plain.encrypt_with_params(parameters, "opensesame").unwrap();
    let text = pem::encode(&pem::Pem::new("ENCRYPTED PRIVATE KEY", encrypted.as_bytes()));
    write_private(server.path("encrypted.key").as_ref(), &text);
    write_private(server.path("encrypted.der").as_ref(), encrypted.as_bytes());
    write_private(server.path("client.der").as_ref(), key.contents());
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
async fn certificates_are_checked_as_the_mode_demands() {
    let server = Server::with_tls();
    let (ca, other) = (server.path("ca.crt"), server.path("other-ca.crt"));
    let try_mode = async |more: String| outcome(&server.settings(&more)).await;
    let unknown = "no trusted authority issued the server's certificate / \
                   set sslrootcert=FILE to the certificate of the authority that issued it";

    // 127.0.0.1 is not among the names in the certificate.
    assert_eq!(try_mode(format!("sslmode=verify-ca sslrootcert={ca}")).await, "tls");
    let name = try_mode(format!("sslmode=verify-full sslrootcert={ca}")).await;
    assert!(name.starts_with("the server's certificate is for another host name / "), "{name}");
    for mode in ["require", "verify-ca", "verify-full"] {
        assert_eq!(try_mode(format!("sslmode={mode} sslrootcert={other}")).await, unknown);
    }
    assert_eq!(try_mode("sslrootcert=system".to_owned()).await, unknown);
    assert_eq!(try_mode("sslmode=require".to_owned()).await, "tls");
    // As in libpq, a root certificate is used in these modes as well, and the next attempt is without TLS.
    assert_eq!(try_mode(format!("sslmode=prefer sslrootcert={other}")).await, "plain");
    assert_eq!(try_mode(format!("sslmode=prefer sslrootcert={ca}")).await, "tls");
    let missing = try_mode("sslmode=verify-ca".to_owned()).await;
    assert!(missing.starts_with("sslmode verify-ca and verify-full need a root certificate / "), "{missing}");
    assert_eq!(try_mode("sslmode=require sslrootcert=/nowhere".to_owned()).await, "tls");
    let unread = try_mode("sslmode=verify-ca sslrootcert=/nowhere".to_owned()).await;
    assert!(unread.starts_with("failed to read sslrootcert /nowhere: "), "{unread}");
}

#[tokio::test]
async fn a_self_signed_certificate_with_only_a_common_name_can_be_its_own_root() {
    let server = Server::start(true);
    // As `openssl req -x509 -subj /CN=localhost` makes it.
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
    // The postmaster loads the new certificate once it handles the signal.
    let deadline = Instant::now() + Duration::from_secs(10);
    let named = format!("{full} host=localhost hostaddr=127.0.0.1");
    while outcome(&named).await != "tls" {
        assert!(Instant::now() < deadline, "{}", outcome(&named).await);
    }
    let name = outcome(&full).await;
    assert!(name.starts_with("the server's certificate is for another host name / "), "{name}");
}

#[tokio::test]
async fn version_1_certificates_encrypt_but_do_not_authenticate() {
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
        assert!(Instant::now() < deadline, "the server has not loaded the new certificate");
        refusal = outcome(&checked).await;
    }
    assert!(refusal.contains("UnsupportedCertVersion / reissue it as X.509 version 3"), "{refusal}");
    for mode in ["prefer", "require", "require channel_binding=require"] {
        assert_eq!(outcome(&server.settings(&format!("sslmode={mode}"))).await, "tls", "{mode}");
    }
}

#[tokio::test]
async fn allow_and_prefer_try_again_as_the_server_demands() {
    let server = Server::with_tls();
    let roles =
        format!("CREATE ROLE tls LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE plain LOGIN PASSWORD '{PASSWORD}'");
    server.execute(&roles).await;
    server.create_cert().await;
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
async fn the_lane_is_used_over_tls() {
    let server = Server::with_tls();
    server.execute("CREATE TABLE tls_lane (id int PRIMARY KEY, v text)").await;
    // Some values are longer than a TLS record.
    let value =
        |id: usize| format!("{id} ü{}", "x".repeat(if id.is_multiple_of(500) { 20_000 } else { id % 50 }));
    let rows: String = (1..=2000)
        .map(|id| if id % 7 == 0 { format!("{id},\n") } else { format!("{id},{}\n", value(id)) })
        .collect();
    let workplace = Workplace::without_database().csv("rows.csv", format!("id,v\n{rows}"));
    let url = server.settings("sslmode=require");
    let flags = ["--json", "--database-url", &url];
    let exact = "SELECT count(*) = 2000 AND bool_and(v IS NOT DISTINCT FROM CASE WHEN id % 7 > 0 THEN
        id || ' ü' || repeat('x', CASE WHEN id % 500 = 0 THEN 20000 ELSE id % 50 END) END) FROM tls_lane";
    let pool = pool(&conninfo(&url, &[]), 1, Timeouts::default(), SessionOptions::default()).unwrap();
    for mode in ["rows", "batch"] {
        let load = ["load", "rows.csv", "-t", "tls_lane", "--truncate", "--mode", mode];
        let report = workplace.succeed(&[&load[..], &flags].concat()).json();
        let outcome = (&report["through_driver"], &report["rows_loaded"]);
        assert_eq!(outcome, (&serde_json::Value::Null, &2000.into()), "{mode}");
        let row = pool.get().await.unwrap().query_one(exact, &[]).await.unwrap();
        assert!(row.get::<_, bool>(0), "{mode}");
    }
    let query = [
        "query",
        "--sql",
        "SELECT v FROM tls_lane WHERE id = $1",
        "--arg",
        "sequence:1:2000",
        "-n",
        "4000",
        "--verify",
    ];
    let report = workplace.succeed(&[&query[..], &flags].concat()).json();
    let expected = serde_json::json!([null, 4000, 4000, 0]);
    assert_eq!(
        serde_json::json!([
            report["load"]["through_driver"],
            report["queries"],
            report["checked"]["compared"],
            report["checked"]["different"]
        ]),
        expected
    );
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
async fn failed_logins_are_explained_with_a_remedy() {
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
             (SQLSTATE 28000) / if the server requires TLS, use sslmode=require; if not, add a line for \
             this login to its pg_hba.conf",
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

/// Whatever the way of a load, also when only its second connection is refused.
#[tokio::test]
async fn a_refused_login_ends_a_load_before_anything_is_loaded() {
    let server = Server::with_tls();
    server
        .execute(
            "CREATE ROLE lonely LOGIN PASSWORD 'lonely' CONNECTION LIMIT 1;
             CREATE ROLE alone LOGIN PASSWORD 'alone' CONNECTION LIMIT 1;
             CREATE TABLE refused_login (a int PRIMARY KEY); GRANT ALL ON refused_login TO lonely, alone",
        )
        .await;
    let rows = (0..500).map(|row| row.to_string()).collect::<Vec<_>>().join("\n");
    let workplace = Workplace::without_database().csv("data.csv", format!("a\n{rows}\n"));
    let ca = server.path("other-ca.crt");
    let load = |settings: &str, flags: &[&str]| {
        let load = ["load", "data.csv", "-t", "refused_login", "--append", "--database-url", settings];
        workplace.run(&[&load[..], flags].concat())
    };
    let (one, two, import) = (&[][..], &["--connections", "2"][..], &["--import-id", "i"][..]);
    for (settings, flags, says) in [
        ("password=wrong", one, "SQLSTATE 28P01"),
        ("dbname=absent", one, "SQLSTATE 3D000"),
        (&format!("sslmode=verify-full host=localhost sslrootcert={ca}"), one, "no trusted authority issued"),
        ("user=lonely password=lonely", two, "too many connections for role \"lonely\" (SQLSTATE 53300)"),
        // What does not pass by itself is not tried again.
        ("password=wrong", import, "SQLSTATE 28P01"),
        ("dbname=absent", import, "SQLSTATE 3D000"),
        (
            &format!("sslmode=verify-full host=localhost sslrootcert={ca}"),
            import,
            "no trusted authority issued",
        ),
    ] {
        let ran = load(&server.settings(settings), flags);
        assert_eq!(ran.status.code(), Some(4), "{settings}: {ran:#?}");
        assert!(ran.stderr.contains(says) && ran.stderr.contains("help: "), "{settings}: {ran:#?}");
        assert!(!ran.stderr.contains("trying again"), "{settings}: {ran:#?}");
    }
    // No key is there already. The session of a load that has ended counts until its backend has noticed; so another role.
    let ran = load(&server.settings("user=alone password=alone"), one);
    assert_eq!(ran.status.code(), Some(0), "{ran:#?}");
    server.execute("DROP TABLE refused_login; DROP ROLE lonely, alone").await;
}

/// Its locks would otherwise outlast a machine that has died by hours.
#[tokio::test]
async fn the_server_of_an_import_looks_whether_the_machine_of_the_program_answers() {
    let server = Server::with_tls();
    let watched =
        "current_setting('tcp_keepalives_idle') = '30' AND current_setting('tcp_keepalives_interval') = '10'
                   AND current_setting('tcp_keepalives_count') = '3'";
    server.execute(&format!("CREATE TABLE watched (a int, CONSTRAINT watched CHECK ({watched}))")).await;
    let workplace = Workplace::without_database().csv("data.csv", "a\n1\n");
    let load = |settings: &str, flags: &[&str]| {
        let load = ["load", "data.csv", "-t", "watched", "--append", "--database-url", settings];
        workplace.run(&[&load[..], flags].concat())
    };
    let ran = load(&server.settings(""), &[]);
    assert!(ran.stderr.contains("constraint watched"), "a load is not watched: {ran:#?}");
    let ran = load(&server.settings(""), &["--import-id", "watched"]);
    assert!(ran.status.success(), "{ran:#?}");
    // What is set stays.
    let ran = load(&server.settings("options='-c tcp_keepalives_idle=20'"), &["--import-id", "otherwise"]);
    assert!(ran.stderr.contains("constraint watched"), "{ran:#?}");
    server.execute("DROP TABLE watched; DROP SCHEMA postgres_etl CASCADE").await;
}

#[tokio::test]
async fn a_refused_connection_names_the_source_of_its_address() {
    let unused = UnusedPort::new();
    let (port, env) = (unused.number.to_string(), [("PGUSER", "ann"), ("PGHOST", "127.0.0.1")]);
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
async fn a_silent_server_times_out() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let conninfo = conninfo(&format!("host=127.0.0.1 port={port} user=ann"), &[]);
    let timeouts = Timeouts { connect: Some(Duration::from_millis(100)), ..Timeouts::default() };
    let error = pool(&conninfo, 1, timeouts, SessionOptions::default()).unwrap().get().await.err().unwrap();
    let error = connect_error::from_pool(&conninfo, &error);
    assert!(error.to_string().ends_with("the server did not answer in time"), "{error}");
}

#[tokio::test]
async fn password_files_and_services_are_used() {
    let server = Server::with_tls();
    let home = tempfile::tempdir().unwrap();
    let (passwords, services) = (home.path().join(".pgpass"), home.path().join(".pg_service.conf"));
    write_private(&passwords, format!("127.0.0.1:{}:*:ann:{PASSWORD}\nlocalhost:*:*:*:wrong\n", server.port));
    let section = format!("[etl]\nhost=127.0.0.1\nport={}\nuser=ann\ndbname=postgres\n", server.port);
    fs::write(&services, section).unwrap();
    let env = [("HOME", home.path().to_str().unwrap()), ("PGSERVICE", "etl")];

    let lookup = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    assert_eq!(login_outcome(&resolve(None, &lookup).unwrap().unwrap()).await, "tls");
    let wrong = login_outcome(&conninfo("host=localhost hostaddr=127.0.0.1", &env)).await;
    let file = passwords.display();
    assert!(wrong.ends_with(&format!("/ the password is from {file}: correct its line for ann")), "{wrong}");
}

#[tokio::test]
async fn the_next_host_of_several_is_tried() {
    let (unused, server) = (UnusedPort::new(), Server::without_tls());
    let text = format!(
        "postgresql://ann:{PASSWORD}@127.0.0.1:{},127.0.0.1:{}/postgres?sslmode=disable",
        unused.number, server.port
    );
    assert_eq!(outcome(&text).await, "plain");
}

#[tokio::test]
async fn all_connections_of_a_pool_go_to_the_server_of_the_first() {
    let (unused, server) = (UnusedPort::new(), Server::without_tls());
    let first = unused.number;
    let text = format!("host=127.0.0.1,127.0.0.1 port={first},{} user=ann password={PASSWORD}", server.port);
    let conninfo = conninfo(&format!("{text} dbname=postgres sslmode=disable"), &[]);
    let pool = pool(&conninfo, 2, Timeouts::default(), SessionOptions::default()).unwrap();
    let _held = pool.get().await.unwrap();
    // Now the first host is up again, and would refuse the login.
    fake::listen_at(first, fake::Fake::Refusing("53300"));
    drop(pool.get().await.unwrap());
    let several = login_outcome(&conninfo).await;
    assert!(several.contains(&format!("127.0.0.1:{first}: not now (SQLSTATE 53300)")), "{several}");
}

#[tokio::test]
async fn a_host_is_left_after_connect_timeout_wherever_in_the_login_it_falls_silent() {
    let server = Server::without_tls();
    let silent = fake::listen(fake::Fake::Silent);
    for mode in ["disable", "prefer", "require"] {
        let text = format!("host=127.0.0.1,127.0.0.1 port={silent},{} connect_timeout=1", server.port);
        let text = format!("{text} user=ann password={PASSWORD} dbname=postgres sslmode={mode}");
        let outcome = outcome(&text).await;
        let silence = format!("127.0.0.1:{silent}: the server did not answer within 1 s; ");
        let expected = if mode == "require" { outcome.starts_with(&silence) } else { outcome == "plain" };
        assert!(expected, "{mode}: {outcome}");
    }
}

#[tokio::test]
async fn a_login_refused_by_the_first_host_loads_nothing_into_the_second() {
    let (with, without) = (Server::with_tls(), Server::without_tls());
    without.execute("CREATE TABLE IF NOT EXISTS refused_first (a int)").await;
    let workplace = Workplace::without_database().csv("refused_first.csv", "a\n1\n");
    let passwords = format!("localhost:*:*:*:wrong\n127.0.0.1:*:*:*:{PASSWORD}\n");
    write_private(&workplace.path("passwords"), passwords);
    let load = |first: u16| {
        let url = format!(
            "host=localhost,127.0.0.1 hostaddr=127.0.0.1,127.0.0.1 port={first},{} user=ann dbname=postgres \
             passfile={}",
            without.port,
            workplace.path("passwords").display()
        );
        let args = ["load", "refused_first.csv", "--table", "refused_first", "--append", "--json"];
        workplace.run(&[&args[..], &["--receipt", "receipt.json", "--database-url", &url]].concat())
    };
    let refused = load(with.port);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(refused.stderr.contains("password authentication failed"), "{}", refused.stderr);

    let unused = UnusedPort::new();
    let loaded = load(unused.number);
    assert_eq!(loaded.status.code(), Some(0), "{loaded:?}");
    for document in [loaded.json(), workplace.read_json("receipt.json")] {
        let server = &document["server"];
        let named = [&server["host"], &server["address"], &server["database"], &server["role"]];
        assert_eq!(named, ["127.0.0.1", "127.0.0.1", "postgres", "ann"]);
        assert_eq!(server["port"], without.port);
        assert_eq!(document["rows_loaded"], 1);
        assert!(!document.to_string().contains(PASSWORD));
    }
}

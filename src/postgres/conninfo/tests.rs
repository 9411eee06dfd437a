use std::os::unix::fs::PermissionsExt as _;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::error::ErrorKind;
use crate::postgres::conninfo::hosts::default_host;
use crate::postgres::endpoint::Secret;
use crate::postgres::tls::RootCertificates;

const FLAG: &str = "--database-url";

/// Resolve `url` with `env` as the whole environment.
fn from(url: &str, env: &[(&str, &str)]) -> Result<Option<Conninfo>> {
    let lookup = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    resolve(Some((url, FLAG)), &lookup)
}

fn some(url: &str, env: &[(&str, &str)]) -> Conninfo {
    from(url, env).unwrap().unwrap()
}

fn error(url: &str, env: &[(&str, &str)]) -> Error {
    from(url, env).unwrap_err()
}

/// The password for the first host.
fn password(conninfo: &Conninfo) -> Option<&str> {
    let Secret(password) = conninfo.hosts()[0].password.as_ref()?;
    Some(std::str::from_utf8(password).unwrap())
}

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn nothing_is_resolved_when_no_server_is_named() {
    assert!(from("", &[]).unwrap().is_none());
    assert!(from(" ", &[("PGUSER", "ann"), ("PGDATABASE", "shop"), ("PGHOST", "")]).unwrap().is_none());
    assert_eq!(some("", &[("PGHOST", "h")]).named_by(), "PGHOST");
    assert_eq!(some("", &[("PGHOSTADDR", "::1")]).named_by(), "PGHOSTADDR");
    assert_eq!(some("host=h", &[("PGHOST", "i")]).named_by(), FLAG);
}

#[test]
fn descriptions_are_urls_without_the_password() {
    let describe = |url| some(url, &[("PGUSER", "ann")]).describe();
    assert_eq!(describe("postgres://bob:secret@h/d"), "postgresql://bob@h:5432/d");
    assert_eq!(describe("postgres://h:1,[::1]:2"), "postgresql://ann@h:1,[::1]:2/ann");
    assert_eq!(describe("host=/run/postgresql"), "postgresql://ann@[/run/postgresql]/ann");
    assert_eq!(describe("host=/run/postgresql port=6"), "postgresql://ann@[/run/postgresql]:6/ann");
    let debug = format!("{:?}", some("postgres://bob:secret@h/d", &[]));
    assert!(!debug.contains("secret") && debug.contains("bob"), "{debug}");
}

#[test]
fn text_takes_precedence_over_service_over_environment() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("services");
    std::fs::write(&file, "[s]\nhost=service\nport=7\nuser=sue\nsslsni=1\n").unwrap();
    let file = file.to_str().unwrap();
    let env = [
        ("PGSERVICEFILE", file),
        ("PGSERVICE", "s"),
        ("PGUSER", "eve"),
        ("PGPORT", "8"),
        ("PGDATABASE", "e"),
        ("PGPASSWORD", "p"),
        ("PGAPPNAME", "app"),
    ];
    assert_eq!(some("", &env).describe(), "postgresql://sue@service:7/e");
    assert_eq!(some("postgres://text/t", &env).describe(), "postgresql://sue@text:7/t");
    assert_eq!(password(&some("", &env)), Some("p"));
    assert_eq!(some("", &env).config().get_application_name(), Some("app"));
    assert_eq!(some("service=s dbname=d", &env[..1]).config().get_dbname(), Some("d"));
    let missing = error("service=t", &env);
    assert_eq!(missing.to_string(), format!("no service t in {file}"));
}

#[test]
fn the_users_service_file_takes_precedence_over_the_systems() {
    let (home, system) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(system.path().join("pg_service.conf"), "[a]\nhost=system\n[b]\nhost=system\n").unwrap();
    std::fs::write(home.path().join(".pg_service.conf"), "[a]\nhost=own\nprot=1\n[c]\nhost=own\n").unwrap();
    let env = [
        ("HOME", home.path().to_str().unwrap()),
        ("PGSYSCONFDIR", system.path().to_str().unwrap()),
        ("PGUSER", "u"),
    ];
    assert_eq!(some("service=b", &env).describe(), "postgresql://u@system:5432/u");
    assert_eq!(some("service=c", &env).describe(), "postgresql://u@own:5432/u");
    let misspelt = error("service=a", &env);
    assert!(misspelt.to_string().starts_with("unknown parameter prot in service a in "), "{misspelt}");
    assert!(misspelt.help().unwrap().starts_with("did you mean port?"), "{misspelt:?}");
}

#[test]
fn passwords_come_from_the_password_file() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".pgpass");
    private(&file, "a:*:*:*:one\nb:*:*:*:two\nc:*:*:*:two\nlocalhost:*:*:*:socket\n");
    let env = [("HOME", home.path().to_str().unwrap())];
    let found = some("host=a", &env);
    assert_eq!(password(&found), Some("one"));
    assert_eq!(found.hosts()[0].password_file, Some(file.clone()));
    assert_eq!(password(&some("host=b,c", &env)), Some("two"));
    assert_eq!(password(&some("host=/tmp", &env)), Some("socket"));
    assert_eq!(password(&some("host=a password=own", &env)), Some("own"));
    assert_eq!(password(&some("host=a", &[env[0], ("PGPASSWORD", "env")])), Some("env"));
    assert_eq!(password(&some("host=a passfile=/nowhere", &env)), None);
    let several = some("host=a,b,d", &env);
    let passwords: Vec<_> = several.hosts().iter().map(|host| host.password.clone()).collect();
    assert_eq!(passwords, [Some(Secret(b"one".to_vec())), Some(Secret(b"two".to_vec())), None]);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(password(&some("host=a", &env)), None);
}

#[test]
fn defaults() {
    let conninfo = some("postgres://h", &[]);
    let config = conninfo.config();
    let user = whoami::username().unwrap();
    assert_eq!(config.get_user(), Some(user.as_str()));
    assert_eq!(config.get_dbname(), Some(user.as_str()));
    assert_eq!(config.get_application_name(), Some("postgres-etl"));
    assert_eq!(config.get_connect_timeout(), Some(&DEFAULT_CONNECT_TIMEOUT));
    assert_eq!(config.get_tcp_user_timeout(), Some(&TCP_USER_TIMEOUT));
    assert_eq!(config.get_keepalives_idle(), KEEPALIVES_IDLE);
    assert_eq!(conninfo.tls().mode, TlsMode::Prefer);
    let second = Duration::from_secs(1);
    assert_eq!(conninfo.clone().with_connect_timeout(second).config().get_connect_timeout(), Some(&second));
    assert_eq!(some("host=h", &[("PGCONNECT_TIMEOUT", "0")]).config().get_connect_timeout(), None);
    let local = some("host=h tcp_user_timeout=1500", &[]);
    assert_eq!(local.config().get_tcp_user_timeout(), Some(&Duration::from_millis(1500)));
}

#[test]
fn the_default_host_is_the_first_directory_with_a_socket() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dirs = [a.path().to_str().unwrap(), b.path().to_str().unwrap()];
    assert_eq!(default_host(&dirs, 5432), HostName::Tcp("localhost".into()));
    std::fs::write(b.path().join(".s.PGSQL.5432"), "").unwrap();
    assert_eq!(default_host(&dirs, 5432), HostName::Unix(dirs[1].into()));
    assert_eq!(default_host(&dirs, 5433), HostName::Tcp("localhost".into()));
}

#[test]
fn time_zone_and_date_style_are_sent_as_options() {
    let env = [("PGTZ", "UTC"), ("PGDATESTYLE", "ISO, DMY"), ("PGOPTIONS", "-c a=b")];
    assert_eq!(
        some("host=h", &env).config().get_options(),
        Some(r"-c TimeZone=UTC -c DateStyle=ISO,\ DMY -c a=b")
    );
    assert_eq!(some("host=h", &env[..1]).config().get_options(), Some("-c TimeZone=UTC"));
}

#[test]
fn an_address_without_a_host_name_is_shown_in_its_place() {
    let conninfo = some("hostaddr=127.0.0.1,::1 port=1,2 user=u", &[]);
    assert_eq!(conninfo.describe(), "postgresql://u@127.0.0.1:1,[::1]:2/u");
    assert!(conninfo.hosts().iter().all(|host| host.host == HostName::AddressOnly));
}

#[test]
fn neither_a_password_nor_a_text_that_may_hold_one_is_shown() {
    let env = [("PGPASSWORD", "secret")];
    let debug = format!("{:?}", some("host=h sslcert=c sslkey=k sslpassword=secret", &env));
    assert!(!debug.contains("secret"), "{debug}");
    for text in [
        "ann:secret@h/d",
        "ann:secret@h/d?sslmode=require",
        "jdbc:postgresql://h/d?user=ann&password=secret",
        "jdbc:postgresql://ann:secret@h/d?ssl=true",
        "//ann:secret@h/d?connect_timeout=3",
        "host=h pass word=secret",
        "user=ann passwd=secret",
        "password=my secret=x",
        "postgres://ann:secret@h:port/d",
    ] {
        let refusal = error(text, &[]);
        let shown = format!("{refusal} {:?} {refusal:?}", refusal.help());
        assert!(!shown.contains("secret"), "{text}: {shown}");
    }
}

#[test]
fn tls_settings() {
    let tls = |url| some(url, &[]).tls().clone();
    assert_eq!(tls("host=/tmp sslmode=verify-full").mode, TlsMode::Disable);
    assert_eq!(tls("host=h sslmode=verify-ca").mode, TlsMode::VerifyCa);
    assert_eq!(tls("postgres://h?ssl=true").mode, TlsMode::Require);
    let system = tls("host=h sslrootcert=system");
    assert_eq!((system.mode, system.roots), (TlsMode::VerifyFull, Some(RootCertificates::System)));
    assert_eq!(tls("host=h sslrootcert=f").roots, Some(RootCertificates::File("f".into())));
    let identity = tls("host=h sslcert=c sslkey=k").identity.unwrap();
    assert_eq!((identity.certificate, identity.key), ("c".into(), "k".into()));

    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".postgresql")).unwrap();
    std::fs::write(home.path().join(".postgresql/root.crt"), "").unwrap();
    let root = some("host=h", &[("HOME", home.path().to_str().unwrap())]).tls().roots.clone();
    assert_eq!(root, Some(RootCertificates::File(home.path().join(".postgresql/root.crt"))));
}

#[test]
fn errors_name_the_origin_and_a_remedy() {
    for (url, env, message, help) in [
        (
            "mysql://h/d",
            ("", ""),
            "failed to read the connection settings in --database-url: unknown scheme mysql://",
            "postgresql://user@host:5432/database",
        ),
        (
            "postgres://h?sslmod=x",
            ("", ""),
            "unknown parameter sslmod in --database-url",
            "did you mean sslmode?",
        ),
        ("postgres://h?schema=x", ("", ""), "unknown parameter schema in --database-url", "?sslmode=require"),
        ("password=my secret=s host=h", ("", ""), "unknown parameter in --database-url", "quote values"),
        ("postgres://h:70000", ("", ""), "invalid port \"70000\" in --database-url", "1 to 65535"),
        ("host=h", ("PGPORT", "x"), "invalid port \"x\" in PGPORT", "1 to 65535"),
        ("host=h", ("PGSSLMODE", "on"), "invalid sslmode \"on\" in PGSSLMODE", "verify-full"),
        (
            "host=h sslrootcert=system sslmode=require",
            ("", ""),
            "invalid sslmode \"require\" in --database-url",
            "verify-full",
        ),
        (
            "host=h sslnegotiation=direct",
            ("", ""),
            "invalid sslnegotiation \"direct\" in --database-url",
            "require",
        ),
        ("host=a,b port=1,2,3", ("", ""), "invalid port \"1,2,3\" in --database-url", "one for each host"),
        ("host=a,b", ("PGHOSTADDR", "::1"), "invalid hostaddr \"::1\" in PGHOSTADDR", "(2)"),
        (
            "host=h connect_timeout=soon",
            ("", ""),
            "invalid connect_timeout \"soon\" in --database-url",
            "seconds",
        ),
        (
            "host=h",
            ("PGTARGETSESSIONATTRS", "replica"),
            "invalid target_session_attrs \"replica\" in PGTARGETSESSIONATTRS",
            "prefer-standby",
        ),
        (
            "host=h sslcertmode=require",
            ("", ""),
            "parameter sslcertmode in --database-url is not supported",
            "leave sslcertmode out",
        ),
        (
            "host=h",
            ("PGREQUIREAUTH", "kerberos"),
            "invalid require_auth \"kerberos\" in PGREQUIREAUTH",
            "scram-sha-256",
        ),
        (
            "host=h connect_timeout=3000000000",
            ("", ""),
            "invalid connect_timeout \"3000000000\" in --database-url",
            "2147483647",
        ),
        (
            "host=h ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
            ("", ""),
            "invalid ssl_max_protocol_version \"TLSv1.2\" in --database-url",
            "TLSv1.3",
        ),
        (
            "host=h min_protocol_version=3.2",
            ("", ""),
            "parameter min_protocol_version in --database-url is not supported",
            "leave",
        ),
    ] {
        let error = error(url, &[env]);
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Usage, message));
        assert!(error.help().unwrap().contains(help), "{:?}", error.help());
    }
    let toml = resolve(Some(("mysql://", "config.toml [database] url")), &|_| None).unwrap_err();
    assert_eq!(toml.kind(), ErrorKind::Config);
}

#[test]
fn settings_without_effect_are_accepted() {
    let text = "host=h gssencmode=prefer sslsni=1 client_encoding=auto max_protocol_version=latest sslcrl=''";
    some(text, &[("PGGSSENCMODE", "disable")]);
}

/// What both notations are made of: what separates their parts, names, and what is anything at all.
fn fragments() -> impl Strategy<Value = String> {
    let known = r"postgresql:// postgres:// jdbc: host= port= user= password= dbname= hostaddr= options= connect_timeout= sslmode=
                  target_session_attrs= = ' \ / // ? & @ : , [ ] ::1 % %2 %00 %40 ann h 5432 70000 -1 require é";
    let known = known.split_whitespace().chain([" ", "\0"]).collect::<Vec<_>>();
    prop_oneof![4 => select(known).prop_map(str::to_owned), 1 => any::<String>()]
}

/// `value` as it may stand anywhere in a URL.
fn in_url(value: &str) -> String {
    percent_encode(value.as_bytes(), NON_ALPHANUMERIC).to_string()
}

/// `value` as it may stand anywhere among words.
fn in_words(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}

proptest! {
    #[test]
    fn no_text_panics_and_none_shows_the_password(fragments in vec(fragments(), 0..20)) {
        let text = fragments.concat();
        // Neither files are what is tried here, nor that the password is also, say, the host.
        prop_assume!(!["s3cret", "passfile", "service", "ssl"].iter().any(|part| text.contains(part)));
        match from(&text, &[("PGUSER", "ann"), ("PGPASSWORD", "s3cret")]) {
            Ok(Some(conninfo)) => {
                let shown = format!("{conninfo:?} {}", conninfo.describe());
                prop_assert!(!shown.contains("s3cret"), "{}", shown);
            }
            Ok(None) => {}
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn url_and_words_say_the_same(
        values in ["[^\u{0}]{1,9}", "[^\u{0}]{1,9}", "[^\u{0}]{1,9}", "[^\u{0}]{1,9}"],
        host in "[a-z][a-z0-9.-]{0,9}",
        port in 1_u16..,
    ) {
        let [user, secret, dbname, application] = &values;
        let [url, words] = [in_url as fn(&str) -> String, in_words].map(|quoted| {
            [user, secret, dbname, application].map(|value| quoted(value))
        });
        let url = format!("postgres://{}:{}@{host}:{port}/{}?application_name={}", url[0], url[1], url[2], url[3]);
        let words = format!(
            "user={} password={} host={host} port={port} dbname = {}\tapplication_name={}",
            words[0], words[1], words[2], words[3]
        );
        for text in [url, words] {
            let found = some(&text, &[]);
            let host = HostName::Tcp(host.clone());
            prop_assert_eq!((&found.hosts()[0].host, found.hosts()[0].port), (&host, port), "{}", text);
            prop_assert_eq!((found.user(), found.dbname()), (user.as_str(), dbname.as_str()), "{}", text);
            prop_assert_eq!(password(&found), Some(secret.as_str()), "{}", text);
            prop_assert_eq!(found.config().get_application_name(), Some(application.as_str()), "{}", text);
        }
    }
}

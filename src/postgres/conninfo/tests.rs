use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::error::ErrorKind;

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

fn password(conninfo: &Conninfo) -> Option<&str> {
    conninfo.config().get_password().map(|password| std::str::from_utf8(password).unwrap())
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
    assert_eq!((password(&found), found.password_file()), (Some("one"), Some(file.as_path())));
    assert_eq!(password(&some("host=b,c", &env)), Some("two"));
    assert_eq!(password(&some("host=/tmp", &env)), Some("socket"));
    assert_eq!(password(&some("host=a password=own", &env)), Some("own"));
    assert_eq!(password(&some("host=a", &[env[0], ("PGPASSWORD", "env")])), Some("env"));
    assert_eq!(password(&some("host=a passfile=/nowhere", &env)), None);
    let different = error("host=a,b", &env).to_string();
    assert!(different.ends_with("has different passwords for the hosts"), "{different}");
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
    assert_eq!(default_host(&dirs, 5432), "localhost");
    std::fs::write(b.path().join(".s.PGSQL.5432"), "").unwrap();
    assert_eq!(default_host(&dirs, 5432), dirs[1]);
    assert_eq!(default_host(&dirs, 5433), "localhost");
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
fn an_address_without_a_host_name_is_also_the_host_name() {
    let conninfo = some("hostaddr=127.0.0.1,::1 port=1,2", &[]);
    assert_eq!(conninfo.config().get_hosts(), [Host::Tcp("127.0.0.1".into()), Host::Tcp("::1".into())]);
    assert_eq!(conninfo.config().get_hostaddrs().len(), 2);
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
    assert_eq!(tls("host=h sslcert=c sslkey=k").identity, Some(("c".into(), "k".into())));

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
            ("PGTARGETSESSIONATTRS", "standby"),
            "invalid target_session_attrs \"standby\" in PGTARGETSESSIONATTRS",
            "read-write",
        ),
        (
            "host=h sslcrl=f",
            ("", ""),
            "parameter sslcrl in --database-url is not supported",
            "leave sslcrl out",
        ),
        (
            "host=h",
            ("PGREQUIREAUTH", "scram-sha-256"),
            "parameter require_auth in PGREQUIREAUTH is not supported",
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
    let text =
        "host=h gssencmode=prefer sslsni=1 client_encoding=auto ssl_min_protocol_version=TLSv1.2 sslcrl=''";
    some(text, &[("PGGSSENCMODE", "disable")]);
}

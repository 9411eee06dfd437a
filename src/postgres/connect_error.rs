//! Why there is no connection, in one paragraph, and what to do about it.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use deadpool_postgres::{PoolError, TimeoutType};
use rustls::CertificateError;
use tokio_postgres::config::Host;
use tokio_postgres::error::{DbError, SqlState};

use crate::Error;
use crate::postgres::conninfo::Conninfo;

/// What [`Pool::get`](deadpool_postgres::Pool::get) failed with.
pub fn of_pool(conninfo: &Conninfo, error: &PoolError) -> Error {
    match error {
        PoolError::Backend(error) => of_driver(conninfo, error),
        PoolError::Timeout(TimeoutType::Wait) => {
            Error::connect(format!("no connection to {} came free in time", conninfo.describe())).with_help(
                "every connection of the pool is busy; allow more of them, or look for a blocked query",
            )
        }
        PoolError::Timeout(_) => no_answer(conninfo, "it does not answer in time"),
        other => failed(conninfo, &other.to_string()),
    }
}

/// What the driver failed with while it connected.
pub fn of_driver(conninfo: &Conninfo, error: &tokio_postgres::Error) -> Error {
    if let Some(db) = error.as_db_error() {
        return of_server(conninfo, db);
    }
    let source = error.source();
    let cause = source.map_or_else(|| error.to_string(), ToString::to_string);
    if is_tls(error) {
        let tls = source.and_then(|source| source.downcast_ref::<io::Error>()).and_then(io::Error::get_ref);
        return of_tls(conninfo, &cause, tls.and_then(|tls| tls.downcast_ref()));
    }
    if let Some(io) = source.and_then(|source| source.downcast_ref::<io::Error>()) {
        return of_socket(conninfo, io);
    }
    match cause.as_str() {
        "password missing" => failed(conninfo, "the server asks for a password and none is given").with_help(
            "set PGPASSWORD, add a line host:port:database:user:password to ~/.pgpass, or put it in the URL",
        ),
        _ if error.is_closed() => failed(conninfo, "the server closed the connection")
            .with_help("the server's log says why; a port of another program does the same"),
        // The driver's configuration and SCRAM errors name themselves.
        _ => failed(conninfo, &cause),
    }
}

/// The server accepted a connection, or seemed to, and then said nothing for `limit`.
pub fn of_time(conninfo: &Conninfo, limit: Duration) -> Error {
    no_answer(conninfo, &format!("it does not answer within {} s", limit.as_secs_f32()))
}

/// Whether `error` comes from the TLS handshake or from a server that has no TLS.
pub(super) fn is_tls(error: &tokio_postgres::Error) -> bool {
    // The driver does not tell the kind of its errors in any other way.
    error.to_string() == "error performing TLS handshake"
}

fn failed(conninfo: &Conninfo, cause: &str) -> Error {
    Error::connect(format!("failed to connect to {}: {cause}", conninfo.describe()))
}

fn no_answer(conninfo: &Conninfo, cause: &str) -> Error {
    failed(conninfo, cause).with_help(
        "check the host and the port, and whether a firewall drops the packets; connect_timeout=SECONDS waits longer",
    )
}

fn of_socket(conninfo: &Conninfo, error: &io::Error) -> Error {
    let text = error.to_string();
    let or_embedded = match conninfo.named_by() {
        flag if flag.starts_with('-') => format!("leave {flag} out"),
        variable if variable.starts_with("PG") || variable == "DATABASE_URL" => format!("unset {variable}"),
        file => format!("remove it from {file}"),
    };
    let start = format!("start the server, or {or_embedded} to use the one that postgres-etl starts itself");
    if text.contains("lookup address") || text.contains("resolve any") {
        return failed(conninfo, "the host name cannot be resolved")
            .with_help("check its spelling, and this machine's name service");
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            failed(conninfo, "connection refused, so no server listens there").with_help(start)
        }
        io::ErrorKind::NotFound => {
            failed(conninfo, "there is no such socket, so no server listens there").with_help(start)
        }
        io::ErrorKind::TimedOut => no_answer(conninfo, "it does not answer in time"),
        io::ErrorKind::PermissionDenied if error.get_ref().is_some() => failed(conninfo, &text).with_help(
            "target_session_attrs wants another kind of server: name the primary, or leave it out",
        ),
        io::ErrorKind::PermissionDenied if conninfo.config().get_hosts().iter().all(is_socket) => {
            failed(conninfo, &text).with_help("this operating system user may not use the server's socket")
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            failed(conninfo, &format!("the connection was cut during the log-in ({text})"))
                .with_help("check that the port is PostgreSQL's own; its log says why it hung up")
        }
        _ => failed(conninfo, &text),
    }
}

fn is_socket(host: &Host) -> bool {
    matches!(host, Host::Unix(_))
}

fn of_tls(conninfo: &Conninfo, cause: &str, error: Option<&rustls::Error>) -> Error {
    let Some(error) = error else {
        let error = failed(conninfo, cause);
        return match cause {
            "server does not support TLS" => {
                error.with_help("turn ssl on in the server, or use sslmode=prefer or disable")
            }
            _ => error,
        };
    };
    let (what, help) = match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer => (
                "no trusted authority issued the server's certificate".to_owned(),
                "sslrootcert=FILE names the certificate of the authority that did",
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
                "the server's certificate is for another host name".to_owned(),
                "connect to the name in the certificate (hostaddr=… may give its address), or use sslmode=verify-ca",
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                ("the server's certificate has expired".to_owned(), "renew it, and reload the server")
            }
            other => {
                let what = match other {
                    CertificateError::Other(other) => other.0.to_string(),
                    other => other.to_string(),
                };
                (
                    format!("the server's certificate is not valid: {what}"),
                    "reissue it as X.509 version 3 with a subjectAltName for the host",
                )
            }
        },
        rustls::Error::AlertReceived(alert) => (
            format!("the server broke off the TLS handshake: {alert:?}"),
            "it may want a client certificate: sslcert=FILE sslkey=FILE",
        ),
        other => (
            format!("the TLS handshake failed: {other}"),
            "the server must speak TLS 1.2 or later; its log may say more",
        ),
    };
    failed(conninfo, &what).with_help(help)
}

fn of_server(conninfo: &Conninfo, db: &DbError) -> Error {
    let message = db.message();
    let (user, dbname) =
        (conninfo.config().get_user().unwrap_or(""), conninfo.config().get_dbname().unwrap_or(""));
    let help = match db.code() {
        code if *code == SqlState::INVALID_PASSWORD => Some(match conninfo.password_file() {
            Some(file) => format!("the password came from {}: mend its line for {user}", file.display()),
            None if conninfo.config().get_password().is_some() => {
                format!("check the user name and the password of {user} (PGPASSWORD, ~/.pgpass or the URL)")
            }
            None => format!("give the password of {user}: PGPASSWORD, ~/.pgpass or in the URL"),
        }),
        code if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            // All of these share a code; only the (perhaps translated) message tells which it is.
            Some(if message.contains("no encryption") || message.contains("SSL off") {
                "the server wants TLS from here: use sslmode=require; else add a line to its pg_hba.conf"
                    .to_owned()
            } else if message.contains("pg_hba.conf") {
                format!(
                    "add a line for database {dbname}, user {user} and this address to the server's pg_hba.conf, and reload it"
                )
            } else if message.contains("client certificate") {
                "give a certificate that the server trusts: sslcert=FILE sslkey=FILE".to_owned()
            } else if message.contains("does not exist") {
                format!("createuser {user}, or name another user: PGUSER or postgresql://user@host/database")
            } else {
                format!(
                    "the server does not let {user} log in this way; its log and pg_hba.conf say what it wants"
                )
            })
        }
        code if *code == SqlState::INVALID_CATALOG_NAME => Some(format!("createdb {dbname}")),
        code if *code == SqlState::TOO_MANY_CONNECTIONS => {
            Some("use fewer connections, end idle ones, or raise the server's max_connections".to_owned())
        }
        code if *code == SqlState::CANNOT_CONNECT_NOW => {
            Some("the server is starting, stopping or recovering; try again shortly".to_owned())
        }
        code if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            Some(format!("GRANT CONNECT ON DATABASE {dbname} TO {user}"))
        }
        _ => db.hint().map(str::to_owned),
    };
    let error = failed(conninfo, &format!("{message} (SQLSTATE {})", db.code().code()));
    match help {
        Some(help) => error.with_help(help),
        None => error,
    }
}

//! Explains why a connection could not be opened, and what to do about it.
//!
//! The errors of the driver and of the pool name neither the server nor a remedy. The functions here turn them into an
//! [`Error`] that does both: its message names the server without the password, and its help says what to change.
//!
//! ```no_run
//! # use postgres_etl::postgres::{Conninfo, SessionOptions, Timeouts, connect_error, pool};
//! # async fn open(conninfo: Conninfo) -> postgres_etl::Result<()> {
//! let pool = pool(&conninfo, 8, Timeouts::default(), SessionOptions::default())?;
//! let client = pool.get().await.map_err(|error| connect_error::from_pool(&conninfo, &error))?;
//! # Ok(()) }
//! ```

use std::error::Error as _;
use std::io;
use std::time::Duration;

use deadpool_postgres::{PoolError, TimeoutType};
use rustls::CertificateError;
use tokio_postgres::config::Host;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::Error;
use crate::postgres::conninfo::Conninfo;

/// Explain why [`Pool::get`](deadpool_postgres::Pool::get) failed on a pool for `conninfo`.
///
/// Always an error of kind [`ErrorKind::Connect`](crate::ErrorKind::Connect).
pub fn from_pool(conninfo: &Conninfo, error: &PoolError) -> Error {
    match error {
        PoolError::Backend(error) => from_driver(conninfo, error),
        PoolError::Timeout(TimeoutType::Wait) => {
            Error::connect(format!("no connection to {} became free in time", conninfo.describe())).with_help(
                "all connections of the pool are in use; enlarge the pool, or look for a blocked query",
            )
        }
        PoolError::Timeout(_) => timed_out(conninfo, "the server did not answer in time"),
        other => failed(conninfo, &other.to_string()),
    }
}

/// Whether `error` leaves open what the server did with the request: it is not the server's answer to it.
///
/// A server that ends the session in the middle of a COMMIT may have committed.
pub(crate) fn is_answer_lost(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_none_or(|db| {
        let code = db.code().code();
        db.parsed_severity() != Some(Severity::Error) || code.starts_with("08") || code.starts_with("57P")
    })
}

/// Explain why the driver failed to open a connection to the server of `conninfo`.
///
/// Always an error of kind [`ErrorKind::Connect`](crate::ErrorKind::Connect).
pub fn from_driver(conninfo: &Conninfo, error: &tokio_postgres::Error) -> Error {
    if let Some(db) = error.as_db_error() {
        return from_server(conninfo, db);
    }
    let source = error.source();
    let cause = source.map_or_else(|| error.to_string(), ToString::to_string);
    if is_tls(error) {
        let tls = source.and_then(|source| source.downcast_ref::<io::Error>()).and_then(io::Error::get_ref);
        return from_tls(conninfo, &cause, tls.and_then(|tls| tls.downcast_ref()));
    }
    if let Some(io) = source.and_then(|source| source.downcast_ref::<io::Error>()) {
        return from_socket(conninfo, io);
    }
    match cause.as_str() {
        "password missing" => failed(conninfo, "the server requires a password, and none is set").with_help(
            "set PGPASSWORD, add a line host:port:database:user:password to ~/.pgpass, or add it to the URL",
        ),
        _ if error.is_closed() => failed(conninfo, "the server closed the connection").with_help(
            "see the server's log, and check that PostgreSQL listens on this port, not another program",
        ),
        // The driver's own configuration and SCRAM errors are clear enough.
        _ => failed(conninfo, &cause),
    }
}

/// The error for a connection attempt that did not complete within `limit`.
///
/// Its kind is [`ErrorKind::Connect`](crate::ErrorKind::Connect).
pub fn from_timeout(conninfo: &Conninfo, limit: Duration) -> Error {
    timed_out(conninfo, &format!("the server did not answer within {} s", limit.as_secs_f32()))
}

/// Whether `error` is a failed TLS handshake or a server without TLS.
pub(super) fn is_tls(error: &tokio_postgres::Error) -> bool {
    // The driver reveals the kind of its errors only through this text.
    error.to_string() == "error performing TLS handshake"
}

fn failed(conninfo: &Conninfo, cause: &str) -> Error {
    Error::connect(format!("failed to connect to {}: {cause}", conninfo.describe()))
}

fn timed_out(conninfo: &Conninfo, cause: &str) -> Error {
    failed(conninfo, cause).with_help(
        "check the host, the port and any firewall in between, or set a longer connect_timeout=SECONDS",
    )
}

fn from_socket(conninfo: &Conninfo, error: &io::Error) -> Error {
    let text = error.to_string();
    let or_embedded = match conninfo.named_by() {
        flag if flag.starts_with('-') => format!("leave {flag} out"),
        variable if variable.starts_with("PG") || variable == "DATABASE_URL" => format!("unset {variable}"),
        file => format!("remove it from {file}"),
    };
    let start = format!("start the server, or {or_embedded} to use the embedded server");
    if text.contains("lookup address") || text.contains("resolve any") {
        return failed(conninfo, "the host name cannot be resolved")
            .with_help("check its spelling and this machine's name resolution");
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            failed(conninfo, "connection refused: no server listens there").with_help(start)
        }
        io::ErrorKind::NotFound => {
            failed(conninfo, "the socket does not exist: no server listens there").with_help(start)
        }
        io::ErrorKind::TimedOut => timed_out(conninfo, "the server did not answer in time"),
        io::ErrorKind::PermissionDenied if error.get_ref().is_some() => failed(conninfo, &text).with_help(
            "target_session_attrs does not match this server: connect to the primary, or leave it out",
        ),
        io::ErrorKind::PermissionDenied if conninfo.config().get_hosts().iter().all(is_socket) => {
            failed(conninfo, &text)
                .with_help("the operating system user needs permission to use the server's socket")
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            failed(conninfo, &format!("the connection was closed during login ({text})"))
                .with_help("check that PostgreSQL listens on this port, and see its log for the reason")
        }
        _ => failed(conninfo, &text),
    }
}

fn is_socket(host: &Host) -> bool {
    matches!(host, Host::Unix(_))
}

fn from_tls(conninfo: &Conninfo, cause: &str, error: Option<&rustls::Error>) -> Error {
    let Some(error) = error else {
        let error = failed(conninfo, cause);
        return match cause {
            "server does not support TLS" => {
                error.with_help("set ssl = on in the server, or use sslmode=prefer or disable")
            }
            _ => error,
        };
    };
    let (what, help) = match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer => (
                "no trusted authority issued the server's certificate".to_owned(),
                "set sslrootcert=FILE to the certificate of the authority that issued it",
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
                "the server's certificate is for another host name".to_owned(),
                "connect to the name in the certificate, if need be with hostaddr=ADDRESS, or use sslmode=verify-ca",
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                ("the server's certificate has expired".to_owned(), "renew it and reload the server")
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
            format!("the server aborted the TLS handshake: {alert:?}"),
            "it may require a client certificate: sslcert=FILE sslkey=FILE",
        ),
        other => (
            format!("the TLS handshake failed: {other}"),
            "the server must support TLS 1.2 or later; see its log for details",
        ),
    };
    failed(conninfo, &what).with_help(help)
}

fn from_server(conninfo: &Conninfo, db: &DbError) -> Error {
    let message = db.message();
    let (user, dbname) =
        (conninfo.config().get_user().unwrap_or(""), conninfo.config().get_dbname().unwrap_or(""));
    let help = match db.code() {
        code if *code == SqlState::INVALID_PASSWORD => Some(match conninfo.password_file() {
            Some(file) => format!("the password is from {}: correct its line for {user}", file.display()),
            None if conninfo.config().get_password().is_some() => {
                format!(
                    "check the user name and the password of {user} (in PGPASSWORD, ~/.pgpass or the URL)"
                )
            }
            None => format!("set the password of {user} in PGPASSWORD, ~/.pgpass or the URL"),
        }),
        code if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            // These errors share an SQLSTATE and differ only in their messages, which may be translated.
            Some(if message.contains("no encryption") || message.contains("SSL off") {
                "if the server requires TLS, use sslmode=require; otherwise add a line to its pg_hba.conf"
                    .to_owned()
            } else if message.contains("pg_hba.conf") {
                format!(
                    "add a line for database {dbname}, user {user} and this client's address to the server's \
                     pg_hba.conf, and reload the server"
                )
            } else if message.contains("client certificate") {
                "use a client certificate that the server trusts: sslcert=FILE sslkey=FILE".to_owned()
            } else if message.contains("does not exist") {
                format!(
                    "run `createuser {user}`, or name another user in PGUSER or as postgresql://user@host/database"
                )
            } else {
                format!("the server does not allow {user} to log in this way; see its log and pg_hba.conf")
            })
        }
        code if *code == SqlState::INVALID_CATALOG_NAME => {
            Some(format!("run `createdb {dbname}`, or name another database"))
        }
        code if *code == SqlState::TOO_MANY_CONNECTIONS => {
            Some("use fewer connections, close idle ones, or raise the server's max_connections".to_owned())
        }
        code if *code == SqlState::CANNOT_CONNECT_NOW => {
            Some("the server is starting up, shutting down or recovering; try again shortly".to_owned())
        }
        code if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            Some(format!("run GRANT CONNECT ON DATABASE {dbname} TO {user}"))
        }
        _ => db.hint().map(str::to_owned),
    };
    let error = failed(conninfo, &format!("{message} (SQLSTATE {})", db.code().code()));
    match help {
        Some(help) => error.with_help(help),
        None => error,
    }
}

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
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::Error;
use crate::error::known_remedy;
use crate::postgres::connect_failure::{
    ConnectFailure, FailedAttempt, FailureReason, is_tls, login_may_pass,
};
use crate::postgres::conninfo::Conninfo;
use crate::postgres::endpoint::HostEntry;
use crate::postgres::target_session::TargetSession;

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
        PoolError::Timeout(_) => failed(conninfo, "the server did not answer in time").with_help(TIMED_OUT),
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

/// Explain why a connection of a pool for `conninfo` could not be opened.
///
/// Always an error of kind [`ErrorKind::Connect`](crate::ErrorKind::Connect).
pub fn from_driver(conninfo: &Conninfo, error: &tokio_postgres::Error) -> Error {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    let failure = io.and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref());
    if let Some(failure) = failure {
        return from_failure(conninfo, failure);
    }
    let reason = explain_login(conninfo, conninfo.hosts().first(), error);
    let explained = reason.add_help(failed(conninfo, &reason.cause));
    of_login(if login_may_pass(error) { explained } else { explained.lasting() }, Some(error))
}

/// `explained`, with the SQLSTATE of the `error` of a login.
fn of_login(explained: Error, error: Option<&tokio_postgres::Error>) -> Error {
    match error.and_then(tokio_postgres::Error::code) {
        Some(state) => explained.with_sqlstate(state.code()),
        None => explained,
    }
}

/// Explain `failure`. What happened at earlier hosts is told as well; the help is about the last one.
pub(crate) fn from_failure(conninfo: &Conninfo, failure: &ConnectFailure) -> Error {
    let explained: Vec<Explained> =
        failure.attempts.iter().map(|attempt| explain(conninfo, attempt)).collect();
    let Some(last) = explained.last() else { return failed(conninfo, "no host is set") };
    let cause = if conninfo.hosts().len() == 1 {
        last.cause.clone()
    } else {
        let causes = failure.attempts.iter().zip(&explained);
        let causes: Vec<String> =
            causes.map(|(attempt, explained)| format!("{}: {}", attempt.endpoint, explained.cause)).collect();
        causes.join("; ")
    };
    let error = last.add_help(failed(conninfo, &cause));
    let login = failure.attempts.last().and_then(|attempt| match &attempt.reason {
        FailureReason::Login(error) => Some(error),
        _ => None,
    });
    of_login(if failure.may_pass() { error } else { error.lasting() }, login)
}

/// What went wrong at the last of the addresses of `failure`.
pub(crate) fn last_cause(conninfo: &Conninfo, failure: &ConnectFailure) -> String {
    failure.attempts.last().map_or_else(String::new, |attempt| explain(conninfo, attempt).cause)
}

/// The error for a connection attempt that did not complete within `limit`.
///
/// Its kind is [`ErrorKind::Connect`](crate::ErrorKind::Connect).
pub(crate) fn from_timeout(conninfo: &Conninfo, limit: Duration) -> Error {
    failed(conninfo, &silence(limit)).with_help(TIMED_OUT)
}

const TIMED_OUT: &str =
    "check the host, the port and any firewall in between, or set a longer connect_timeout=SECONDS";

/// What went wrong, and what to do about it.
struct Explained {
    cause: String,
    help: Option<String>,
}

impl Explained {
    fn new(cause: impl Into<String>) -> Explained {
        Explained { cause: cause.into(), help: None }
    }

    fn with_help(mut self, help: impl Into<String>) -> Explained {
        self.help = Some(help.into());
        self
    }

    fn add_help(&self, error: Error) -> Error {
        match &self.help {
            Some(help) => error.with_help(help.clone()),
            None => error,
        }
    }
}

fn failed(conninfo: &Conninfo, cause: &str) -> Error {
    Error::connect(format!("failed to connect to {}: {cause}", conninfo.describe()))
}

fn silence(limit: Duration) -> String {
    format!("the server did not answer within {} s", limit.as_secs_f32())
}

fn explain(conninfo: &Conninfo, attempt: &FailedAttempt) -> Explained {
    match &attempt.reason {
        FailureReason::Unresolved(_) => Explained::new("the host name cannot be resolved")
            .with_help("check its spelling and this machine's name resolution"),
        FailureReason::Unreachable(error) => explain_socket(conninfo, Some(&attempt.host), error),
        FailureReason::Silent(limit) => Explained::new(silence(*limit)).with_help(TIMED_OUT),
        FailureReason::Unwanted(wanted) => Explained::new(wanted.mismatch()).with_help(match wanted {
            _ if conninfo.has_target_session() => {
                "target_session_attrs demands another kind of server: add a host of that kind, or remove the setting"
            }
            TargetSession::Standby => "replicas are wanted: add standbys to the hosts of the URL",
            _ => "only a primary accepts changes: start it, or add it to the hosts",
        }),
        FailureReason::WrongPeer(user) => Explained::new(format!("the server runs as user {user}"))
            .with_help("requirepeer names another user: correct it if you trust this server"),
        FailureReason::Login(error) => explain_login(conninfo, Some(&attempt.host), error),
    }
}

fn explain_login(conninfo: &Conninfo, host: Option<&HostEntry>, error: &tokio_postgres::Error) -> Explained {
    if let Some(db) = error.as_db_error() {
        return explain_refusal(conninfo, host, db);
    }
    let source = error.source();
    let cause = source.map_or_else(|| error.to_string(), ToString::to_string);
    if is_tls(error) {
        let tls = source.and_then(|source| source.downcast_ref::<io::Error>()).and_then(io::Error::get_ref);
        return explain_tls(&cause, tls.and_then(|tls| tls.downcast_ref()));
    }
    if let Some(io) = source.and_then(|source| source.downcast_ref::<io::Error>()) {
        return explain_socket(conninfo, host, io);
    }
    match cause.as_str() {
        "password missing" => Explained::new("the server requires a password, and none is set").with_help(
            "set PGPASSWORD, add a line host:port:database:user:password to ~/.pgpass, or add it to the URL",
        ),
        _ if error.is_closed() => Explained::new("the server closed the connection").with_help(
            "see the server's log, and check that PostgreSQL listens on this port, not another program",
        ),
        // The driver's own configuration and SCRAM errors are clear enough.
        _ => Explained::new(cause),
    }
}

fn explain_socket(conninfo: &Conninfo, host: Option<&HostEntry>, error: &io::Error) -> Explained {
    let text = error.to_string();
    let named_by = conninfo.named_by();
    let or_embedded = match named_by.split_once(" in ") {
        Some((variable, file)) => format!("remove {variable} from {file}"),
        None if named_by.starts_with('-') => format!("leave {named_by} out"),
        None if named_by.contains(' ') => format!("remove the server from {named_by}"),
        None => format!("unset {named_by}"),
    };
    let start = format!("start the server, or {or_embedded} to use the embedded server");
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            Explained::new("connection refused: no server listens there").with_help(start)
        }
        io::ErrorKind::NotFound => {
            Explained::new("the socket does not exist: no server listens there").with_help(start)
        }
        io::ErrorKind::TimedOut => Explained::new("the server did not answer in time").with_help(TIMED_OUT),
        io::ErrorKind::PermissionDenied if error.get_ref().is_some() => Explained::new(text)
            .with_help("require_auth demands another method: see the server's pg_hba.conf"),
        io::ErrorKind::PermissionDenied if host.is_some_and(HostEntry::is_unix) => Explained::new(text)
            .with_help("the operating system user needs permission to use the server's socket"),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            Explained::new(format!("the connection was closed during login ({text})"))
                .with_help("check that PostgreSQL listens on this port, and see its log for the reason")
        }
        _ => Explained::new(text),
    }
}

fn explain_tls(cause: &str, error: Option<&rustls::Error>) -> Explained {
    let Some(error) = error else {
        let error = Explained::new(cause);
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
                "use the name in the certificate as the host (hostaddr=ADDRESS sets the address), or use sslmode=verify-ca",
            ),
            CertificateError::Revoked => (
                "the server's certificate has been revoked".to_owned(),
                "do not trust this server until its certificate has been replaced",
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
    Explained::new(what).with_help(help)
}

fn explain_refusal(conninfo: &Conninfo, host: Option<&HostEntry>, db: &DbError) -> Explained {
    let message = db.message();
    let (user, dbname) = (conninfo.user(), conninfo.dbname());
    let help = match db.code() {
        code if *code == SqlState::INVALID_PASSWORD => {
            Some(match host.and_then(|host| host.password_file.as_ref()) {
                Some(file) => format!("the password is from {}: correct its line for {user}", file.display()),
                None if host.is_some_and(|host| host.password.is_some()) => {
                    format!(
                        "check the user name and the password of {user} (in PGPASSWORD, ~/.pgpass or the URL)"
                    )
                }
                None => format!("set the password of {user} in PGPASSWORD, ~/.pgpass or the URL"),
            })
        }
        code if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            // These errors share an SQLSTATE and differ only in their messages, which may be translated.
            Some(if message.contains("no encryption") || message.contains("SSL off") {
                "if the server requires TLS, use sslmode=require; if not, add a line for this login to its pg_hba.conf"
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
        code => db.hint().or_else(|| known_remedy(code.code(), message)).map(str::to_owned),
    };
    Explained { cause: format!("{message} (SQLSTATE {})", db.code().code()), help }
}

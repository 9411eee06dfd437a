//! Why a connection could not be opened.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, Error as PgError, NoTls};

use crate::postgres::endpoint::{Endpoint, HostEntry};
use crate::postgres::target_session::TargetSession;
use crate::postgres::transport::{Address, Transport};

/// Why no connection could be opened: what happened at each address, the last of them decisive.
#[derive(Debug)]
pub(crate) struct ConnectFailure {
    pub(crate) attempts: Vec<FailedAttempt>,
}

/// A failed attempt to connect to one address.
#[derive(Debug)]
pub(crate) struct FailedAttempt {
    pub(crate) host: HostEntry,
    pub(crate) endpoint: Endpoint,
    pub(crate) reason: FailureReason,
}

/// Why an address could not be used.
#[derive(Debug)]
pub(crate) enum FailureReason {
    /// The host name could not be resolved.
    Unresolved(io::Error),
    /// No socket could be opened.
    Unreachable(io::Error),
    /// The login was not completed within this time.
    Silent(Duration),
    /// A server of this kind is demanded.
    Unwanted(TargetSession),
    /// The server's process does not belong to the user that `requirepeer` names.
    WrongPeer(String),
    /// The login failed.
    Login(PgError),
}

impl FailureReason {
    /// Whether the next host may be tried.
    pub(super) fn is_final(&self) -> bool {
        match self {
            FailureReason::Login(error) => error.code() != Some(&SqlState::CANNOT_CONNECT_NOW),
            FailureReason::WrongPeer(_) => true,
            _ => false,
        }
    }

    /// Whether the same attempt may succeed a little later, with nothing changed here: the server is being started, say, or has
    /// no connection left.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            FailureReason::Unresolved(error) => {
                let text = error.to_string();
                text.contains("Temporary failure") || text.contains("Try again")
            }
            FailureReason::Unreachable(error) => error.kind() != io::ErrorKind::PermissionDenied,
            FailureReason::Silent(_) => true,
            FailureReason::Unwanted(_) | FailureReason::WrongPeer(_) => false,
            FailureReason::Login(error) => login_may_pass(error),
        }
    }

    /// Whether another address of the same host would answer alike.
    pub(super) fn is_about_host(&self) -> bool {
        matches!(self, FailureReason::Login(_) | FailureReason::Unwanted(_))
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints: Vec<String> =
            self.attempts.iter().map(|attempt| attempt.endpoint.to_string()).collect();
        write!(f, "failed to connect to {}", endpoints.join(", "))
    }
}

impl std::error::Error for ConnectFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.attempts.last()?.reason {
            FailureReason::Login(error) => Some(error),
            FailureReason::Unresolved(error) | FailureReason::Unreachable(error) => Some(error),
            _ => None,
        }
    }
}

impl ConnectFailure {
    /// Whether the same attempt may succeed a little later. Of several hosts, one may be about to become what is wanted.
    pub(super) fn may_pass(&self) -> bool {
        match self.attempts.last() {
            Some(last) if last.reason.is_final() => last.reason.may_pass(),
            _ => {
                let is_unwanted =
                    |attempt: &FailedAttempt| matches!(attempt.reason, FailureReason::Unwanted(_));
                self.attempts.iter().any(|attempt| attempt.reason.may_pass())
                    || self.attempts.len() > 1 && self.attempts.iter().any(is_unwanted)
            }
        }
    }

    /// Record a failed attempt at `address`, or at none if the name of `host` could not be resolved.
    pub(super) fn add(&mut self, host: &HostEntry, address: Option<&Address>, reason: FailureReason) {
        let ip = match address {
            Some(Address::Tcp(address)) => Some(address.ip()),
            _ => None,
        };
        self.attempts.push(FailedAttempt { host: host.clone(), endpoint: host.endpoint(ip), reason });
    }

    /// This failure as an error of the driver, which only the driver can create: it hits it on its first write.
    pub(crate) async fn into_driver_error(self) -> PgError {
        let mut config = Config::new();
        config.user("nobody").ssl_mode(SslMode::Disable);
        let transport = Transport::Unreachable(Some(io::Error::other(self)));
        config.connect_raw(transport, NoTls).await.err().expect("login needs a server")
    }
}

/// As [`FailureReason::may_pass`], of the `error` of a login.
pub(super) fn login_may_pass(error: &PgError) -> bool {
    if let Some(code) = error.code() {
        let code = code.code();
        return code.starts_with("08") || matches!(code, "53300" | "57P01" | "57P02" | "57P03");
    }
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    let is_lasting = |io: &io::Error| {
        use io::ErrorKind::{InvalidData, InvalidInput, PermissionDenied};
        matches!(io.kind(), InvalidData | InvalidInput | PermissionDenied)
    };
    // What else keeps a login from succeeding is a setting.
    !is_tls(error) && (error.is_closed() || io.is_some_and(|io| !is_lasting(io)))
}

/// Whether `error` is a failed TLS handshake or a server without TLS.
pub(super) fn is_tls(error: &PgError) -> bool {
    // The driver reveals the kind of its errors only through this text.
    error.to_string() == "error performing TLS handshake"
}

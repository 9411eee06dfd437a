//! What the owner of a connection sees of its stream and changes about it after logging in.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::auth::AuthMethod;
use crate::fatal::FatalError;
use crate::lend::Lender;

/// A handle to a [`SyncBatching`](crate::SyncBatching) stream that remains when the driver has taken the stream.
///
/// Take it with [`SyncBatching::control`](crate::SyncBatching::control) before connecting. With TLS it also controls
/// the stream that [`BatchingTls`](crate::BatchingTls) creates. Clones control the same stream.
///
/// Apart from [`require_auth`](Self::require_auth), the changes are for connections that share server sessions with
/// strangers, because a transaction pooler such as PgBouncer stands between. Make them while no request is in flight; they affect all later ones.
///
/// ```no_run
/// # use std::num::NonZero;
/// # use tokio_postgres_sync_batching::SyncBatching;
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = tokio_postgres::Config::new();
/// let socket = tokio::net::TcpStream::connect("localhost:6432").await?;
/// let stream = SyncBatching::new(socket, NonZero::new(64).unwrap());
/// let control = stream.control();
/// let (client, connection) = config.connect_raw(stream, tokio_postgres::NoTls).await?;
/// tokio::spawn(connection);
/// let message = client.simple_query("SELECT pg_backend_pid()").await?;
/// # let backend_pid = 0;
/// // ... parse the message ...
/// if control.login_pid() != Some(backend_pid) {
///     control.unname_statements();
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct StreamControl {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The process ID in `BackendKeyData`, or 0.
    login_pid: AtomicI32,
    unnames: AtomicBool,
    /// Goes before the names of statements.
    prefix: OnceLock<String>,
    read_only: AtomicBool,
    fatal_error: Mutex<Option<FatalError>>,
    /// The set of methods that the server may ask for, or 0 for all.
    auth: AtomicU8,
    lender: Mutex<LenderHandle>,
}

/// Where to borrow the stream from; `None` before there is one.
#[derive(Default)]
struct LenderHandle(Option<Weak<dyn Lender>>);

impl fmt::Debug for LenderHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LenderHandle")
    }
}

impl StreamControl {
    /// Where to borrow the stream from; `None` if the connection is closed.
    pub(crate) fn lender(&self) -> Option<Arc<dyn Lender>> {
        self.state.lender.lock().unwrap_or_else(PoisonError::into_inner).0.as_ref()?.upgrade()
    }

    /// Notes where to borrow the stream from. Of an encrypted connection that is the stream inside the encryption, which
    /// comes last.
    pub(crate) fn set_lender(&self, lender: &Arc<dyn Lender>) {
        self.state.lender.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(Arc::downgrade(lender));
    }

    /// Fail the login unless the server authenticates the client by one of `methods`, before anything is revealed to it.
    ///
    /// Call this before logging in. The error is of kind
    /// [`PermissionDenied`](std::io::ErrorKind::PermissionDenied).
    pub fn require_auth(&self, methods: &[AuthMethod]) {
        self.state.auth.store(AuthMethod::set(methods), Relaxed);
    }

    /// The process ID that the server sent when the connection was opened; `None` if it has not sent any.
    ///
    /// A pooler sends one of its own, which is not the `pg_backend_pid()` of the server that executes the statements.
    pub fn login_pid(&self) -> Option<i32> {
        Some(self.state.login_pid.load(Relaxed)).filter(|pid| *pid != 0)
    }

    /// Use the server's unnamed statement instead of those that the driver names, which would outlive a transaction.
    ///
    /// Each group of statements is then complete in itself: a statement is parsed again, from the text that the driver
    /// sent once, in every group that uses it. A statement that the driver has prepared before is not known here and
    /// still goes by its name.
    pub fn unname_statements(&self) {
        self.state.unnames.store(true, Relaxed);
    }

    /// Put `prefix` before the names that the driver gives to statements, which are `s0`, `s1` … in every process.
    ///
    /// With a prefix that no other process uses, a statement that a pooler leaves in a server session, or looks for in
    /// another one, is never taken for a stranger's. Only the first call has an effect, and none after
    /// [`unname_statements`](Self::unname_statements). A statement that the driver has prepared before is not known
    /// here and still goes by its name.
    pub fn prefix_statements(&self, prefix: String) {
        let _ = self.state.prefix.set(prefix);
    }

    /// Make the transaction of every group read-only, with a statement at its start whose result the driver does not
    /// see.
    ///
    /// Unlike `SET default_transaction_read_only`, this leaves nothing behind in the server's session. Simple queries,
    /// and so transactions that consist of nothing else, are not affected.
    pub fn make_groups_read_only(&self) {
        self.state.read_only.store(true, Relaxed);
    }

    /// The error with which the server ended the session; `None` if it has not, or gave no reason.
    ///
    /// The driver does not pass it on in the middle of a COPY, and reports only that the connection is closed.
    pub fn fatal_error(&self) -> Option<FatalError> {
        self.state.fatal_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_fatal_error(&self, error: FatalError) {
        *self.state.fatal_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(crate) fn allowed_auth(&self) -> u8 {
        self.state.auth.load(Relaxed)
    }

    pub(crate) fn set_login_pid(&self, pid: i32) {
        self.state.login_pid.store(pid, Relaxed);
    }

    pub(crate) fn unnames(&self) -> bool {
        self.state.unnames.load(Relaxed)
    }

    pub(crate) fn prefix(&self) -> Option<&str> {
        self.state.prefix.get().map(String::as_str)
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.state.read_only.load(Relaxed)
    }
}

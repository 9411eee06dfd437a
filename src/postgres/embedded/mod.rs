//! The embedded server: a PostgreSQL cluster that this program initialises, starts, joins and stops.
//!
//! [`start`] first tries to join the running server of a directory, which costs one startup exchange over its
//! socket. Otherwise it takes the directory's start lock, finds the PostgreSQL binaries, initialises the cluster if
//! there is none, and starts the postmaster in a new session. The server listens on a Unix socket only and accepts
//! its owner and root by `peer` authentication. Durability settings stay on, and by default the server outlives the
//! process that started it.
//!
//! All functions here block; in async code, call them from `spawn_blocking`.
//!
//! ```text
//! dirs       the directories of a server               probe     one startup exchange: is it ready?
//! user       the OS user that runs it                  locks     start.lock, use.lock
//! search     finds the binaries                        process   initdb, postmaster, log
//! fetch      downloads them when not installed         settings  server.conf, pg_hba.conf, pg_ident.conf
//! ```

mod binaries;
mod dirs;
mod fetch;
mod locks;
mod options;
mod probe;
mod process;
mod search;
mod settings;
mod user;

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::Serialize;

use crate::postgres::embedded::binaries::Binaries;
use crate::postgres::embedded::dirs::ServerDirs;
use crate::postgres::embedded::locks::Lock;
use crate::postgres::embedded::options::{DATABASE, DIRECTORY_SETTING, PORT, USER};
use crate::postgres::embedded::probe::{ServerState, probe};
use crate::postgres::embedded::process::Backoff;
use crate::postgres::embedded::search::find_or_fetch;
use crate::postgres::embedded::user::ServerUser;
use crate::{Error, Result};

pub(in crate::postgres) use crate::postgres::embedded::user::user_name;

pub use crate::postgres::embedded::options::{BinaryLookup, Options};

/// The characters of a path that are percent-encoded in a URL: all but slashes and the unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// How long a server may leave probes unanswered. Each report that it is starting or recovering restarts the limit.
const RESPONSE_LIMIT: Duration = Duration::from_secs(60);
/// How long to wait for the backends of a killed postmaster to end.
const ORPHAN_LIMIT: Duration = Duration::from_secs(20);

/// What [`start`] had to do to get a running [`Server`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Nothing: the server was already running.
    Joined,
    /// Start the server on its existing cluster.
    Started,
    /// Initialise a new, empty cluster and start the server on it.
    Initialised,
}

/// A running server, marked as in use for as long as this value lives.
///
/// Dropping the value leaves the server running. [`Server::release`] stops it if [`Options::keep`] is false and no
/// other process uses it.
#[derive(Debug)]
pub struct Server {
    /// The directory of its Unix socket: the `host` of a connection.
    pub socket_dir: PathBuf,
    /// The port number in the name of its socket. The server does not listen on TCP.
    pub port: u16,
    /// The superuser to log in as.
    pub user: String,
    /// The database to connect to.
    pub database: String,
    /// Its version, such as "15.18"; only the major version if the server did not report it.
    pub version: String,
    /// What [`start`] had to do to get it running.
    pub origin: Origin,
    dirs: ServerDirs,
    keep: bool,
    in_use: Lock,
}

impl Server {
    /// The connection URL, in a form that psql, libpq and tokio-postgres accept.
    pub fn url(&self) -> String {
        url(&self.dirs)
    }

    /// End this use of the server, and stop it if [`Options::keep`] is false and this was its last user.
    ///
    /// # Errors
    /// When the server has to be stopped and does not stop.
    pub fn release(self) -> Result<()> {
        if self.keep {
            return Ok(());
        }
        // The start lock serialises two simultaneous releases, so that the second one finds itself the last.
        let _start = Lock::start(&self.dirs, &mut |_| ())?;
        let Some(_alone) = self.in_use.into_exclusive() else { return Ok(()) };
        match process::postmaster(&self.dirs) {
            Some(pid) => process::stop(&self.dirs, pid),
            None => Ok(()),
        }
    }
}

/// What [`stop`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StopOutcome {
    /// The server was running and has been stopped.
    Stopped,
    /// The server was not running.
    NotRunning,
}

/// The state of a server, as [`status`] finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Status {
    /// Whether it accepts connections.
    pub running: bool,
    /// Why `running` is false although a server exists or may exist; `None` if it runs or there is none.
    pub note: Option<String>,
    /// The process ID of the postmaster; `None` if there is none or the operating system hides it.
    pub pid: Option<i32>,
    /// The server's version while it runs, otherwise the major version of its cluster; `None` without a cluster.
    pub version: Option<String>,
    /// The data directory of its cluster.
    pub data_directory: PathBuf,
    /// The directory of its Unix socket.
    pub socket_directory: PathBuf,
    /// The connection URL, valid while the server runs.
    pub url: String,
    /// The server's log file.
    pub log: PathBuf,
}

/// Join the server of [`Options::dir`] if it runs, otherwise start it, initialising its cluster first if necessary.
///
/// `note` is called with a line of text before each step that takes noticeable time.
///
/// # Errors
/// [`ErrorKind::Launch`](crate::ErrorKind::Launch), with a remedy as its help, when the PostgreSQL binaries are
/// missing or of the wrong version, the directory is not writable, or the server does not start; the last lines of
/// the server's log are then part of the message.
pub fn start(options: &Options, note: &mut dyn FnMut(&str)) -> Result<Server> {
    let dirs = ServerDirs::locate(options.dir.as_deref())?;
    let config = settings::render(&dirs, settings::memory(), &options.settings)?;
    if dirs.socket_is_private() {
        let in_use = Lock::shared(&dirs)?;
        if let ServerState::Ready(version) = probe(&dirs.socket()) {
            note_changed_settings(&dirs, &config, note);
            return Ok(server(dirs, options, version, Origin::Joined, in_use));
        }
    }

    let user = ServerUser::choose(&dirs.data)?;
    let dirs = dirs.create()?;
    if let Some(shut) = user.first_inaccessible(&dirs.root) {
        return Err(Error::launch(format!(
            "the server has to run as user {}, which has no access to {}",
            user.name,
            shut.display()
        ))
        .with_help(format!(
            "run `chmod o+x {}`, or set {DIRECTORY_SETTING} to another directory",
            shut.display()
        )));
    }
    let start = Lock::start(&dirs, note)?;
    let in_use = Lock::shared(&dirs)?;
    if let Some(version) = wait_until_settled(&dirs)? {
        return Ok(server(dirs, options, version, Origin::Joined, in_use));
    }
    let binaries = find_or_fetch(options.bin_dir.as_deref(), options.lookup.as_ref(), &dirs, &user, note)?;
    let origin = if dirs.cluster_version().is_some() { Origin::Started } else { Origin::Initialised };
    if origin == Origin::Initialised {
        note(&format!("initialising a PostgreSQL {} cluster in {}", binaries.version, dirs.data.display()));
        process::initdb(&dirs, &binaries, &user, &start)?;
    }
    dirs.create_socket_dir(&user)?;
    // Render again: the socket directory depends on the canonical path, which may not have existed before.
    let config = settings::render(&dirs, settings::memory(), &options.settings)?;
    dirs.write("server.conf", &config)?;
    dirs.write("pg_hba.conf", settings::HBA)?;
    dirs.write("pg_ident.conf", &settings::ident(&user.name))?;
    note(&format!("starting PostgreSQL {}", binaries.version));
    let version = boot(&dirs, &binaries, &user, note)?;
    Ok(server(dirs, options, version, origin, in_use))
}

/// Stop the server of [`Options::dir`], even if it is in use, by a fast shutdown, and wait for its end.
///
/// # Errors
/// When the postmaster cannot be signalled or takes more than five minutes to end.
pub fn stop(options: &Options) -> Result<StopOutcome> {
    let dirs = ServerDirs::locate(options.dir.as_deref())?;
    if !dirs.data.try_exists().map_err(|e| dirs.unwritable("access", &dirs.data, e))? {
        return Ok(StopOutcome::NotRunning);
    }
    let _start = Lock::start(&dirs, &mut |_| ())?;
    match process::postmaster(&dirs) {
        Some(pid) => process::stop(&dirs, pid).map(|()| StopOutcome::Stopped),
        None => Ok(StopOutcome::NotRunning),
    }
}

/// Report the state of the server of [`Options::dir`] without changing anything.
///
/// # Errors
/// When the directory is not named and there is no home directory to find it in.
pub fn status(options: &Options) -> Result<Status> {
    let dirs = ServerDirs::locate(options.dir.as_deref())?;
    let state = inspect(&dirs);
    let pid = process::postmaster(&dirs).map(|pid| pid.as_raw_nonzero().get());
    let note = match &state {
        ServerState::Ready(_) => None,
        ServerState::NotReady => Some("it is starting, recovering or shutting down".to_owned()),
        ServerState::Unresponsive => Some("it accepts connections but does not answer".to_owned()),
        ServerState::Refused(why) => Some(why.clone()),
        ServerState::NotListening => pid.map(|_| "it does not listen on its socket".to_owned()),
    };
    let (running, version) = match state {
        ServerState::Ready(version) => (true, version),
        _ => (false, None),
    };
    Ok(Status {
        running,
        note,
        pid,
        version: version.or_else(|| dirs.cluster_version()),
        url: url(&dirs),
        data_directory: dirs.data,
        socket_directory: dirs.socket_dir,
        log: dirs.log,
    })
}

fn url(dirs: &ServerDirs) -> String {
    let host = percent_encode(dirs.socket_dir.as_os_str().as_encoded_bytes(), ENCODED);
    // Without an explicit port libpq would use PGPORT.
    format!("postgresql:///{DATABASE}?host={host}&port={PORT}&user={USER}")
}

fn server(
    dirs: ServerDirs,
    options: &Options,
    version: Option<String>,
    origin: Origin,
    in_use: Lock,
) -> Server {
    Server {
        socket_dir: dirs.socket_dir.clone(),
        port: PORT,
        user: USER.to_owned(),
        database: DATABASE.to_owned(),
        version: version.or_else(|| dirs.cluster_version()).unwrap_or_default(),
        origin,
        keep: options.keep,
        in_use,
        dirs,
    }
}

/// Probe the socket if its directory is private to the server; report missing permission as a refusal.
fn inspect(dirs: &ServerDirs) -> ServerState {
    if dirs.socket_is_private() {
        return probe(&dirs.socket());
    }
    match fs::metadata(&dirs.data) {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => ServerState::Refused(e.to_string()),
        _ => ServerState::NotListening,
    }
}

/// Wait until the server either accepts connections or is certain not to run. Hold the start lock while calling.
///
/// `Some` if it runs, with its version unless all its connections are taken.
#[expect(
    clippy::option_option,
    reason = "the outer one says whether it runs; a server without free connections hides its version"
)]
fn wait_until_settled(dirs: &ServerDirs) -> Result<Option<Option<String>>> {
    let mut backoff = Backoff::new(RESPONSE_LIMIT);
    loop {
        // Read the pid before probing: a server that ends in between must not be taken for one without a socket.
        let pid = process::postmaster(dirs);
        match (inspect(dirs), pid) {
            (ServerState::Ready(version), _) => return Ok(Some(version)),
            (ServerState::Refused(why), _) => return Err(refused(dirs, &why)),
            (ServerState::NotListening, None) => return Ok(None),
            // This holds even without a pid: its process may be invisible from here, as in another container.
            (ServerState::NotReady, _) => backoff.extend(RESPONSE_LIMIT),
            (ServerState::NotListening, Some(pid))
                if process::reports_ready(dirs) && process::postmaster(dirs) == Some(pid) =>
            {
                let pid = pid.as_raw_nonzero();
                let socket = dirs.socket();
                return Err(Error::launch(format!(
                    "the server (pid {pid}) has lost its socket {}",
                    socket.display()
                ))
                .with_help(format!("stop it with `kill -INT {pid}`, then try again")));
            }
            _ => {}
        }
        if !backoff.pause() {
            let error = unresponsive(dirs);
            return Err(match pid {
                Some(pid) => error.with_help(format!(
                    "if it is suspended, resume it with `kill -CONT {pid}`; otherwise end it with `kill -KILL {pid}`: committed \
                     data is kept"
                )),
                None => error,
            });
        }
    }
}

/// Start the postmaster, wait until it accepts connections, and return its version.
fn boot(
    dirs: &ServerDirs,
    binaries: &Binaries,
    user: &ServerUser,
    note: &mut dyn FnMut(&str),
) -> Result<Option<String>> {
    let mut orphans = Backoff::slow(ORPHAN_LIMIT);
    let mut waiting = false;
    loop {
        process::disown_stale_locks(dirs)?;
        let (log, from) = process::open_log(dirs)?;
        let mut child = process::spawn(dirs, binaries, user, log)?;
        if let Some(version) = await_ready(dirs, &mut child)? {
            // If the server ends before this process does, it must be reaped.
            std::thread::spawn(move || child.wait());
            return Ok(version);
        }
        let logged = process::log_since(dirs, from);
        if logged.contains("pre-existing shared memory block") {
            // Idle backends of a killed postmaster end at once, busy ones after their query.
            if !waiting {
                note("waiting for the backends of a killed postmaster to end");
                waiting = true;
            }
            if orphans.pause() {
                continue;
            }
            let error = process::did_not_start(
                dirs,
                "cannot start until the backends of its killed postmaster have ended",
                &logged,
            );
            let pids: Vec<_> = process::orphans(dirs).iter().map(ToString::to_string).collect();
            return Err(error.with_help(match pids.as_slice() {
                [] => "wait for their queries to end, or end these processes".to_owned(),
                pids => format!("wait for their queries to end, or end them with `kill {}`", pids.join(" ")),
            }));
        }
        // Another postmaster, whose starter was killed before it became ready, may have won the cluster.
        return match wait_until_settled(dirs)? {
            Some(version) => Ok(version),
            None => Err(process::did_not_start(dirs, "ended while starting", &logged)),
        };
    }
}

/// Wait until a new server accepts connections, and return its version; `None` if it ended instead.
#[expect(clippy::option_option, reason = "as in `wait_until_settled`")]
fn await_ready(dirs: &ServerDirs, child: &mut Child) -> Result<Option<Option<String>>> {
    let mut backoff = Backoff::new(RESPONSE_LIMIT);
    loop {
        let failure = match probe(&dirs.socket()) {
            ServerState::Ready(version) => return Ok(Some(version)),
            ServerState::Refused(why) => Some(refused(dirs, &why)),
            ServerState::NotReady => {
                backoff.extend(RESPONSE_LIMIT);
                None
            }
            ServerState::NotListening | ServerState::Unresponsive => None,
        };
        let ended =
            child.try_wait().map_err(|e| Error::launch(format!("failed to wait for the server: {e}")))?;
        if ended.is_some() {
            return Ok(None);
        }
        if let Some(error) = failure.or_else(|| (!backoff.pause()).then(|| unresponsive(dirs))) {
            // The child has not been reaped, so its pid cannot have been reused.
            process::abandon(child);
            return Err(error);
        }
    }
}

fn refused(dirs: &ServerDirs, why: &str) -> Error {
    Error::launch(format!("the server at {} refused the connection: {why}", dirs.socket().display()))
        .with_help(format!("stop that server, or set {DIRECTORY_SETTING} to another directory"))
}

fn unresponsive(dirs: &ServerDirs) -> Error {
    let what = format!("has not answered for {} s", RESPONSE_LIMIT.as_secs());
    process::did_not_start(dirs, &what, &process::log_since(dirs, 0))
}

/// Note it when the running server was started with settings other than `config`.
fn note_changed_settings(dirs: &ServerDirs, config: &str, note: &mut dyn FnMut(&str)) {
    if fs::read_to_string(dirs.root.join("server.conf")).is_ok_and(|running| running != config) {
        note(
            "the running server was started with other settings; the configured ones take effect at its next start",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_survives_any_path() {
        let dirs = ServerDirs::locate(Some("/srv/my-etl_1.0~/a b/ü?&=%+#".as_ref())).unwrap();
        let host = "/srv/my-etl_1.0~/a%20b/%C3%BC%3F%26%3D%25%2B%23/socket";
        assert_eq!(url(&dirs), format!("postgresql:///postgres?host={host}&port=5432&user=postgres"));
    }
}

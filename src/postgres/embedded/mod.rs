//! The server that starts itself: a PostgreSQL cluster of our own, initialised, started, joined and stopped here.
//!
//! [`start`] either joins the server of a directory, which costs one startup exchange over its socket, or takes
//! the directory's start lock, finds the programs, makes the cluster if there is none, and runs the postmaster in
//! a session of its own. The server listens on a Unix socket only, lets in its owner and root by the operating
//! system's word (`peer`), keeps durability on, and by default outlives the command that started it.
//!
//! Everything here blocks; call it from `spawn_blocking`.
//!
//! ```text
//! place      directories and the user that serves      probe     is it there? one startup exchange
//! binaries   finds initdb and postgres                 locks     start.lock, use.lock
//! fetch      gets them when there are none             process   initdb, postmaster, log
//! settings   server.conf, pg_hba.conf, pg_ident.conf
//! ```

mod binaries;
mod fetch;
mod locks;
mod options;
mod place;
mod probe;
mod process;
mod search;
mod settings;

use crate::postgres::embedded::options::DIRECTORY_SETTING;
use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::Serialize;

use crate::postgres::embedded::binaries::Binaries;
use crate::postgres::embedded::locks::Lock;
use crate::postgres::embedded::options::{DATABASE, PORT, USER};
pub use crate::postgres::embedded::options::{Options, Search};
use crate::postgres::embedded::place::{Place, ServerUser};
use crate::postgres::embedded::probe::{Answer, probe};
use crate::postgres::embedded::process::Backoff;
use crate::postgres::embedded::search::find_or_fetch;

use crate::{Error, Result};

/// What is encoded of a path in a URL: all but slashes and the characters that are never reserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// How long a server may be silent; while it says that it is starting or recovering, it has all the time it needs.
const SILENCE: Duration = Duration::from_secs(60);
/// How long the backends of a killed postmaster may take to notice.
const ORPHANS: Duration = Duration::from_secs(20);

/// How a [`Server`] came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It was running already.
    Joined,
    /// Its cluster existed and was started.
    Started,
    /// It has a new, empty cluster.
    Initialised,
}

/// A running server that knows it is in use for as long as this value lives.
///
/// Dropping it leaves the server running; [`Server::release`] stops it where [`Options::keep`] is off.
#[derive(Debug)]
pub struct Server {
    /// The directory of its socket: the `host` of a connection.
    pub socket_dir: PathBuf,
    /// The number in its socket's name.
    pub port: u16,
    /// The superuser to connect as.
    pub user: String,
    /// The database to connect to.
    pub database: String,
    /// Its version, such as "15.18".
    pub version: String,
    /// Whether it was there before.
    pub origin: Origin,
    place: Place,
    keep: bool,
    in_use: Lock,
}

impl Server {
    /// A connection URL for psql, libpq and tokio-postgres.
    pub fn url(&self) -> String {
        url(&self.place)
    }

    /// Ends this use of the server; without [`Options::keep`] its last user stops it.
    ///
    /// # Errors
    /// When the server has to be stopped and does not stop.
    pub fn release(self) -> Result<()> {
        if self.keep {
            return Ok(());
        }
        // Under the start lock, so that of two users leaving at once one sees that it is the last.
        let _start = Lock::start(&self.place, &mut |_| ())?;
        let Some(_alone) = self.in_use.into_exclusive() else { return Ok(()) };
        match process::postmaster(&self.place) {
            Some(pid) => process::stop(&self.place, pid),
            None => Ok(()),
        }
    }
}

/// What [`stop`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// It ran, and is gone now.
    Stopped,
    /// There was nothing to stop.
    NotRunning,
}

/// What [`status`] knows about a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether it takes connections.
    pub running: bool,
    /// Why it cannot be said to run although something is there, or may be.
    pub note: Option<String>,
    /// The postmaster's process id, while there is one that we may see.
    pub pid: Option<i32>,
    /// Its version when it runs, the cluster's major version when it does not, nothing without a cluster.
    pub version: Option<String>,
    /// The cluster's files.
    pub data_directory: PathBuf,
    /// The directory of its socket.
    pub socket_directory: PathBuf,
    /// Where to connect to while it runs.
    pub url: String,
    /// What the server has to say.
    pub log: PathBuf,
}

/// Joins the server of `options.dir`, or makes and starts it; `say` gets a line for each thing that takes time.
///
/// # Errors
/// [`ErrorKind::Launch`](crate::error::ErrorKind::Launch) with the remedy: no programs, the wrong version of them, a directory
/// that cannot be written to, or a server that does not come up, in which case its own log lines are quoted.
pub fn start(options: &Options, say: &mut dyn FnMut(&str)) -> Result<Server> {
    let place = Place::find(options.dir.as_deref())?;
    let config = settings::render(&place, settings::memory(), &options.settings)?;
    if place.socket_is_private() {
        let in_use = Lock::shared(&place)?;
        if let Answer::Ready(version) = probe(&place.socket()) {
            note_changed_settings(&place, &config, say);
            return Ok(server(place, options, version, Origin::Joined, in_use));
        }
    }

    let user = ServerUser::choose(&place)?;
    let place = place.create()?;
    if let Some(shut) = user.shut_out_at(&place.dir) {
        return Err(Error::launch(format!(
            "user {} must run the server and cannot enter {}",
            user.name,
            shut.display()
        ))
        .with_help(format!("`chmod o+x {}`, or set {DIRECTORY_SETTING}", shut.display())));
    }
    let start = Lock::start(&place, say)?;
    let in_use = Lock::shared(&place)?;
    if let Some(version) = settled(&place)? {
        return Ok(server(place, options, version, Origin::Joined, in_use));
    }
    let binaries = find_or_fetch(options.bin_dir.as_deref(), options.search.as_ref(), &place, &user, say)?;
    let origin = if place.cluster_version().is_some() { Origin::Started } else { Origin::Initialised };
    if origin == Origin::Initialised {
        say(&format!("initialising a PostgreSQL {} cluster in {}", binaries.version, place.data.display()));
        process::initdb(&place, &binaries, &user, &start)?;
    }
    place.create_socket_dir(&user)?;
    // Rendered again: the socket's directory depends on the real path, which may only exist since just now.
    let config = settings::render(&place, settings::memory(), &options.settings)?;
    place.write("server.conf", &config)?;
    place.write("pg_hba.conf", settings::HBA)?;
    place.write("pg_ident.conf", &settings::ident(&user.name))?;
    say(&format!("starting PostgreSQL {}", binaries.version));
    let version = boot(&place, &binaries, &user, say)?;
    Ok(server(place, options, version, origin, in_use))
}

/// Stops the server of `options.dir`, in use or not, with a fast shutdown; back when it is gone.
///
/// # Errors
/// When its process may not be signalled or takes minutes to end.
pub fn stop(options: &Options) -> Result<Stopped> {
    let place = Place::find(options.dir.as_deref())?;
    if !place.data.try_exists().map_err(|e| place.unwritable("look for", &place.data, &e))? {
        return Ok(Stopped::NotRunning);
    }
    let _start = Lock::start(&place, &mut |_| ())?;
    match process::postmaster(&place) {
        Some(pid) => process::stop(&place, pid).map(|()| Stopped::Stopped),
        None => Ok(Stopped::NotRunning),
    }
}

/// Looks at the server of `options.dir` and changes nothing.
///
/// # Errors
/// When there is no home directory to look in.
pub fn status(options: &Options) -> Result<Status> {
    let place = Place::find(options.dir.as_deref())?;
    let answer = look(&place);
    let pid = process::postmaster(&place).map(|pid| pid.as_raw_nonzero().get());
    let note = match &answer {
        Answer::Ready(_) => None,
        Answer::NotYet => Some("it is starting, recovering or shutting down".to_owned()),
        Answer::Silent => Some("it takes connections and does not answer".to_owned()),
        Answer::Refused(why) => Some(why.clone()),
        Answer::Absent => pid.map(|_| "it does not listen on its socket".to_owned()),
    };
    let (running, version) = match answer {
        Answer::Ready(version) => (true, version),
        _ => (false, None),
    };
    Ok(Status {
        running,
        note,
        pid,
        version: version.or_else(|| place.cluster_version()),
        url: url(&place),
        data_directory: place.data,
        socket_directory: place.socket_dir,
        log: place.log,
    })
}

fn url(place: &Place) -> String {
    let host = percent_encode(place.socket_dir.as_os_str().as_encoded_bytes(), ENCODED);
    // The port is spelt out because libpq would otherwise take it from PGPORT.
    format!("postgresql:///{DATABASE}?host={host}&port={PORT}&user={USER}")
}

fn server(place: Place, options: &Options, version: Option<String>, origin: Origin, in_use: Lock) -> Server {
    Server {
        socket_dir: place.socket_dir.clone(),
        port: PORT,
        user: USER.to_owned(),
        database: DATABASE.to_owned(),
        version: version.or_else(|| place.cluster_version()).unwrap_or_default(),
        origin,
        keep: options.keep,
        in_use,
        place,
    }
}

/// What answers at the socket, if that is ours; not being allowed to look is an answer too.
fn look(place: &Place) -> Answer {
    if place.socket_is_private() {
        return probe(&place.socket());
    }
    match fs::metadata(&place.data) {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Answer::Refused(e.to_string()),
        _ => Answer::Absent,
    }
}

/// Waits until the server either answers, with its version, or is surely not there; call under the start lock.
#[expect(
    clippy::option_option,
    reason = "whether it runs, and the version, which a full server does not tell"
)]
fn settled(place: &Place) -> Result<Option<Option<String>>> {
    let mut backoff = Backoff::new(SILENCE);
    loop {
        // The pid first: a server that ends between the two looks must not pass for one that lost its socket.
        let pid = process::postmaster(place);
        match (look(place), pid) {
            (Answer::Ready(version), _) => return Ok(Some(version)),
            (Answer::Refused(why), _) => return Err(refused(place, &why)),
            (Answer::Absent, None) => return Ok(None),
            // Even without a pid: it may run where we do not see processes, such as in another container.
            (Answer::NotYet, _) => backoff.extend(SILENCE),
            (Answer::Absent, Some(pid))
                if process::calls_itself_ready(place) && process::postmaster(place) == Some(pid) =>
            {
                let pid = pid.as_raw_nonzero();
                let socket = place.socket();
                return Err(Error::launch(format!(
                    "the server (pid {pid}) has lost its socket {}",
                    socket.display()
                ))
                .with_help(format!("stop it with `kill -INT {pid}`, then try again")));
            }
            _ => {}
        }
        if !backoff.pause() {
            let error = silent(place);
            return Err(match pid {
                Some(pid) => error.with_help(format!(
                    "its pid is {pid}: `kill -CONT {pid}` wakes a server that was stopped, and `kill -KILL {pid}` ends \
                     any; nothing committed is lost"
                )),
                None => error,
            });
        }
    }
}

/// Runs the postmaster until it takes connections, and returns its version.
fn boot(
    place: &Place,
    binaries: &Binaries,
    user: &ServerUser,
    say: &mut dyn FnMut(&str),
) -> Result<Option<String>> {
    let mut orphans = Backoff::slow(ORPHANS);
    let mut waiting = false;
    loop {
        process::disown_stale_locks(place)?;
        let (log, from) = process::open_log(place)?;
        let mut child = process::spawn(place, binaries, user, log)?;
        if let Some(version) = await_ready(place, &mut child)? {
            // It outlives this thread, but if it ends before this process does, somebody has to collect it.
            std::thread::spawn(move || child.wait());
            return Ok(version);
        }
        let said = process::log_since(place, from);
        if said.contains("pre-existing shared memory block") {
            // Backends of a postmaster that was killed: idle ones notice at once, busy ones after their query.
            if !waiting {
                say("waiting for the backends of a killed server to end");
                waiting = true;
            }
            if orphans.pause() {
                continue;
            }
            let error =
                process::did_not_start(place, "cannot start while a killed server's backends live", &said);
            let pids: Vec<_> = process::orphans(place).iter().map(ToString::to_string).collect();
            return Err(error.with_help(match pids.as_slice() {
                [] => "wait for their queries to end, or end these processes".to_owned(),
                pids => format!("wait for their queries to end, or end them with `kill {}`", pids.join(" ")),
            }));
        }
        // A postmaster whose starter was killed before it could see it come up has beaten ours to the cluster.
        return match settled(place)? {
            Some(version) => Ok(version),
            None => Err(process::did_not_start(place, "ended while starting", &said)),
        };
    }
}

/// Waits for a new server to answer; `None` when it ended instead.
#[expect(clippy::option_option, reason = "as for `settled`")]
fn await_ready(place: &Place, child: &mut Child) -> Result<Option<Option<String>>> {
    let mut backoff = Backoff::new(SILENCE);
    loop {
        let failure = match probe(&place.socket()) {
            Answer::Ready(version) => return Ok(Some(version)),
            Answer::Refused(why) => Some(refused(place, &why)),
            Answer::NotYet => {
                backoff.extend(SILENCE);
                None
            }
            Answer::Absent | Answer::Silent => None,
        };
        let ended =
            child.try_wait().map_err(|e| Error::launch(format!("failed to watch the server: {e}")))?;
        if ended.is_some() {
            return Ok(None);
        }
        if let Some(error) = failure.or_else(|| (!backoff.pause()).then(|| silent(place))) {
            // It is our child, not yet waited for, so the pid is surely its own.
            process::abandon(child);
            return Err(error);
        }
    }
}

fn refused(place: &Place, why: &str) -> Error {
    Error::launch(format!("the server at {} refuses us: {why}", place.socket().display()))
        .with_help(format!("stop that server, or set {DIRECTORY_SETTING} to another directory"))
}

fn silent(place: &Place) -> Error {
    let what = format!("has not answered for {} s", SILENCE.as_secs());
    process::did_not_start(place, &what, &process::log_since(place, 0))
}

/// Says so when the running server has other settings than those asked for.
fn note_changed_settings(place: &Place, config: &str, say: &mut dyn FnMut(&str)) {
    if fs::read_to_string(place.dir.join("server.conf")).is_ok_and(|running| running != config) {
        say(
            "the server runs with other settings than those asked for; stop it to have them at its next start",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_survives_any_path() {
        let place = Place::find(Some("/srv/my-etl_1.0~/a b/ü?&=%+#".as_ref())).unwrap();
        let host = "/srv/my-etl_1.0~/a%20b/%C3%BC%3F%26%3D%25%2B%23/socket";
        assert_eq!(url(&place), format!("postgresql:///postgres?host={host}&port=5432&user=postgres"));
    }
}

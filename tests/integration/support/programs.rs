//! PostgreSQL's own programs, and servers that a test starts with them.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A running server, which is shut down when this is dropped.
pub(crate) struct Postmaster(Child);

impl Postmaster {
    /// Start a server on the cluster in `data` with `settings`, and wait until it accepts connections. Its log is the
    /// file beside `data` of that name, ending in .log.
    pub(crate) fn start(data: &Path, settings: &[String]) -> Postmaster {
        let log = data.with_extension("log");
        let mut command = command("postgres");
        command.arg("-D").arg(data).args(["-c", "fsync=off"]);
        command.args(settings.iter().flat_map(|setting| ["-c", setting.as_str()]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let mut server = Postmaster(command.spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        let ready = || {
            let pid = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            pid.lines().nth(7).is_some_and(|status| status.trim() == "ready")
        };
        while !ready() {
            let ended = server.0.try_wait().unwrap();
            let log = || fs::read_to_string(&log).unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "the server did not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        // SIGINT is PostgreSQL's fast shutdown.
        let _ = kill_process(Pid::from_child(&self.0), Signal::INT);
        let _ = self.0.wait();
    }
}

/// One of PostgreSQL's programs, to be run as a user who may run a server.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(bin_dir().join(program));
    command.current_dir("/");
    if let Some((uid, gid)) = server_user() {
        command.uid(uid).gid(gid);
    }
    command
}

pub(crate) fn bin_dir() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A link to it may stand alone.
    let on_path = std::env::split_paths(&path).find_map(|dir| dir.join("initdb").canonicalize().ok());
    let on_path = on_path.and_then(|initdb| Some(initdb.parent()?.to_owned()));
    let asked = || {
        let output = Command::new("pg_config").arg("--bindir").output().ok()?;
        let dir = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
        dir.join("initdb").exists().then_some(dir)
    };
    let highest = || {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?.parse::<u32>().ok()
        });
        Some(PathBuf::from(format!("/usr/lib/postgresql/{}/bin", versions.max()?)))
    };
    on_path.or_else(asked).or_else(highest).expect("PostgreSQL's programs are installed")
}

/// The user and group that the server runs as if root runs the tests, because PostgreSQL refuses to run as root;
/// `None` otherwise.
fn server_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let id = |flag| {
        let output = Command::new("id").args([flag, "postgres"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().expect("there is a user postgres")
    };
    Some((id("-u"), id("-g")))
}

/// Make the server's user the owner of the directory and its entries.
pub(crate) fn give_away(dir: &Path) {
    let Some((uid, gid)) = server_user() else { return };
    for entry in fs::read_dir(dir).unwrap() {
        chown(entry.unwrap().path(), Some(uid), Some(gid)).unwrap();
    }
    chown(dir, Some(uid), Some(gid)).unwrap();
}

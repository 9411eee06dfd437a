//! The server as processes: `initdb`, the postmaster, and how to tell ours from others.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::error::ErrorKind;
use crate::postgres::embedded::binaries::Binaries;
use crate::postgres::embedded::locks::Lock;
use crate::postgres::embedded::options::{DIRECTORY_SETTING, USER};
use crate::postgres::embedded::place::{Place, ServerUser, create_private};
use crate::{Error, Result};

/// A log that has grown beyond this is set aside at the next start.
const MAX_LOG: u64 = 16 << 20;
/// How long a fast shutdown may take; it ends with a checkpoint that may have gigabytes to write.
const STOP_TIMEOUT: Duration = Duration::from_secs(300);

/// Waits with growing pauses between looks, up to a deadline.
pub(super) struct Backoff {
    pause: Duration,
    longest: Duration,
    deadline: Instant,
}

impl Backoff {
    pub(super) fn new(limit: Duration) -> Self {
        let (pause, longest) = (Duration::from_millis(1), Duration::from_millis(20));
        Backoff { pause, longest, deadline: Instant::now() + limit }
    }

    /// For looks that are not cheap.
    pub(super) fn slow(limit: Duration) -> Self {
        let (pause, longest) = (Duration::from_millis(50), Duration::from_secs(1));
        Backoff { pause, longest, deadline: Instant::now() + limit }
    }

    /// Pauses, or says that the time is up.
    pub(super) fn pause(&mut self) -> bool {
        if Instant::now() >= self.deadline {
            return false;
        }
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(self.longest);
        true
    }

    /// Starts the time over: something has happened that deserves patience.
    pub(super) fn extend(&mut self, limit: Duration) {
        self.deadline = Instant::now() + limit;
    }
}

/// The process that `postmaster.pid` names, if it lives and serves the cluster of `place`.
///
/// The file survives crashes and pids are used again, so the number alone says nothing.
pub(super) fn postmaster(place: &Place) -> Option<Pid> {
    pid_in_file(place).filter(|&pid| serves(pid, place))
}

fn pid_in_file(place: &Place) -> Option<Pid> {
    first_line_pid(&fs::read_to_string(place.data.join("postmaster.pid")).ok()?)
}

/// The owner of a lock file; a single-user server, which writes its pid negated, is nobody that we could join.
fn first_line_pid(text: &str) -> Option<Pid> {
    text.lines().next()?.trim().parse().ok().filter(|&pid| pid > 0).and_then(Pid::from_raw)
}

/// Whether the postmaster has finished starting, by its own account.
pub(super) fn calls_itself_ready(place: &Place) -> bool {
    let text = fs::read_to_string(place.data.join("postmaster.pid")).unwrap_or_default();
    text.lines().nth(7).is_some_and(|status| status.trim() == "ready")
}

/// Whether that process is a postgres of this cluster; a zombie is not.
fn serves(pid: Pid, place: &Place) -> bool {
    let number = pid.as_raw_nonzero();
    if cfg!(target_os = "linux") {
        // It works inside its data directory. Where root may not look into other users' processes, as in most
        // containers, what the postmaster was started with has to do.
        return match fs::read_link(format!("/proc/{number}/cwd")) {
            Ok(cwd) => cwd == place.data,
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                let arguments = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
                arguments
                    .split(|&b| b == 0)
                    .any(|argument| argument == place.data.as_os_str().as_encoded_bytes())
            }
            Err(_) => false,
        };
    }
    if test_kill_process(pid).is_err() {
        return false;
    }
    let ps = Command::new("ps").args(["-o", "command=", "-p", &number.to_string()]).output();
    ps.is_ok_and(|ps| String::from_utf8_lossy(&ps.stdout).contains(&*place.data.to_string_lossy()))
}

/// Backends that outlive their postmaster, as far as this system lets us see them.
pub(super) fn orphans(place: &Place) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(|&pid| serves(pid, place)).collect()
}

/// Makes the cluster: `initdb` into `data.new`, renamed once it is whole.
///
/// `initdb` inherits `start`, so that nobody begins again under its feet should we be killed: by Ctrl-C for
/// instance, which does not reach `initdb` itself.
pub(super) fn initdb(place: &Place, binaries: &Binaries, user: &ServerUser, start: &Lock) -> Result<()> {
    let new = place.dir.join("data.new");
    if let Err(e) = fs::remove_dir_all(&new)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        return Err(place.unwritable("remove", &new, &e));
    }
    create_private(&new, user).map_err(|e| place.unwritable("create directory", &new, &e))?;
    let program = binaries.dir.join("initdb");
    let mut command = as_user(&program, user);
    command.args(["-U", USER, "-A", "peer", "-E", "UTF8", "--locale=C", "-D"]).arg(&new).current_dir(&new);
    let lent = start.lend().map_err(|e| Error::launch(format!("failed to share the start lock: {e}")))?;
    let output = command.stdin(lent).output().map_err(|e| cannot_run(&program, user, &e))?;
    if !output.status.success() {
        let _ = fs::remove_dir_all(&new);
        return Err(initdb_failed(place, &output));
    }
    // The rename is what makes the cluster exist; without the sync a power failure could take it, and all that
    // was loaded since, away again.
    fs::rename(&new, &place.data)
        .and_then(|()| File::open(&place.dir)?.sync_all())
        .map_err(|e| place.unwritable("rename", &new, &e))
}

fn initdb_failed(place: &Place, output: &Output) -> Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let complaint: Vec<_> = said.lines().map(str::trim).collect();
    let is_complaint = |line: &&str| line.starts_with("initdb: error") || line.contains("FATAL:");
    let complaint: Vec<_> = complaint.into_iter().filter(is_complaint).collect();
    let complaint = if complaint.is_empty() { last_lines(&said, 5).join("; ") } else { complaint.join("; ") };
    Error::launch(format!("failed to initialise a cluster in {}: {complaint}", place.dir.display()))
        .with_help(format!("{DIRECTORY_SETTING} names another directory, perhaps on another disk"))
}

/// Runs the postmaster, which outlives us.
pub(super) fn spawn(place: &Place, binaries: &Binaries, user: &ServerUser, log: File) -> Result<Child> {
    let program = binaries.dir.join("postgres");
    let mut command = as_user(&program, user);
    // The whole path rather than ".": it tells whoever lists processes which server this is.
    command.arg("-D").arg(&place.data);
    let mut config = std::ffi::OsString::from("config_file=");
    config.push(place.dir.join("server.conf"));
    command.arg("-c").arg(config).current_dir(&place.data);
    let errors = log.try_clone().map_err(|e| place.unwritable("open", &place.log, &e))?;
    command.stdin(std::process::Stdio::null()).stdout(log).stderr(errors);
    command.spawn().map_err(|e| cannot_run(&program, user, &e))
}

/// A program that runs as `user`, in a session of its own: neither Ctrl-C nor the end of the terminal reaches it.
fn as_user(program: &Path, user: &ServerUser) -> Command {
    let mut command = Command::new(program);
    // Our reading of the log relies on English, and macOS needs some locale to start at all.
    command.env("LC_ALL", "C").env_remove("LANGUAGE").env_remove("PGDATA");
    if user.switch {
        // With root's uid given up, std drops the supplementary groups too.
        command.uid(user.uid).gid(user.gid);
    }
    #[expect(unsafe_code, reason = "std has no stable way to start a child in a new session")]
    // SAFETY: setsid is a bare system call, async-signal-safe, and touches no memory of the parent.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into));
    }
    command
}

fn cannot_run(program: &Path, user: &ServerUser, e: &std::io::Error) -> Error {
    Error::launch(format!("failed to run {} as user {}: {e}", program.display(), user.name))
}

/// Ends a server that does not come up, without waiting: the next start recovers whatever it was doing.
pub(super) fn abandon(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::QUIT);
    }
}

/// Lets go of the lock files, of the data and of the socket, that a killed postmaster has left behind.
///
/// Postgres refuses to start while their pid exists, though it be a zombie's or by now somebody else's.
pub(super) fn disown_stale_locks(place: &Place) -> Result<()> {
    for path in [place.data.join("postmaster.pid"), place.socket_lock()] {
        disown(&path, place).map_err(|e| place.unwritable("write", &path, &e))?;
    }
    Ok(())
}

/// Naming ourselves, its parent, marks the file as stale to postgres, and leaves the shared memory key in it, by
/// which postgres finds old backends. A file removed instead could be the one that a server, started by somebody
/// who was killed, has just put there; what we rewrite is the very file that we have read.
fn disown(path: &Path, place: &Place) -> std::io::Result<()> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let mut file = match OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let stale = |pid| test_kill_process(pid).is_ok() && !serves(pid, place);
    if !first_line_pid(&text).is_some_and(stale) {
        return Ok(());
    }
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    let text = format!("{}\n{rest}", std::process::id());
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())
}

/// Fast shutdown, and only back when the process is gone.
pub(super) fn stop(place: &Place, pid: Pid) -> Result<()> {
    let number = pid.as_raw_nonzero();
    match kill_process(pid, Signal::INT) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(e) => {
            return Err(Error::launch(format!("failed to stop the server (pid {number}): {e}"))
                .with_help("stop it as the user that runs it, or as root"));
        }
    }
    let mut backoff = Backoff::new(STOP_TIMEOUT);
    while serves(pid, place) {
        if !backoff.pause() {
            let log = place.log.display();
            return Err(Error::launch(format!("the server (pid {number}) is still shutting down"))
                .with_help(format!(
                    "{log} says what it is doing; `kill -QUIT {number}` ends it without a checkpoint"
                )));
        }
    }
    if !place.socket_dir.starts_with(&place.dir) {
        let _ = fs::remove_dir(&place.socket_dir);
    }
    Ok(())
}

/// Opens the server's log for appending, and says how long it is now.
pub(super) fn open_log(place: &Place) -> Result<(File, u64)> {
    let failed = |e: std::io::Error| place.unwritable("open", &place.log, &e);
    if fs::symlink_metadata(&place.log).is_ok_and(|meta| meta.len() > MAX_LOG) {
        fs::rename(&place.log, place.log.with_extension("log.old")).map_err(failed)?;
    }
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let log = OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(flags).open(&place.log);
    let log = log.map_err(failed)?;
    place.hand_over(&log).map_err(failed)?;
    let length = log.metadata().map_err(failed)?.len();
    Ok((log, length))
}

/// What the server has logged since its log was `from` bytes long, or the end of it.
pub(super) fn log_since(place: &Place, from: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(&place.log)?;
        let end = file.metadata()?.len().saturating_sub(1 << 20);
        file.seek(SeekFrom::Start(from.max(end)))?;
        let mut bytes = Vec::new();
        file.take(1 << 20).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// The error for a server that did not come up, with what it said itself.
pub(super) fn did_not_start(place: &Place, what: &str, log: &str) -> Error {
    let mut message = format!("the server {what}");
    let lines = last_lines(log, 8);
    if !lines.is_empty() {
        message.push_str("; the end of its log:");
        for line in lines {
            message.push_str("\n  ");
            message.push_str(line);
        }
    }
    Error::new(ErrorKind::Launch, message).with_help(format!(
        "the whole log is in {}; settings come from [server.settings] in config.toml",
        place.log.display()
    ))
}

fn last_lines(text: &str, count: usize) -> Vec<&str> {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

//! The server's processes: `initdb`, the postmaster, and how to recognise them; its lock files and its log.

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
use crate::postgres::embedded::dirs::ServerDirs;
use crate::postgres::embedded::locks::Lock;
use crate::postgres::embedded::options::{DIRECTORY_SETTING, USER};
use crate::postgres::embedded::user::{ServerUser, create_private};
use crate::{Error, Result};

/// The size in bytes beyond which the log is rotated at the next start.
const MAX_LOG_BYTES: u64 = 16 << 20;
/// How long to wait for a fast shutdown, whose final checkpoint may write gigabytes.
const STOP_TIMEOUT: Duration = Duration::from_secs(300);

/// Growing pauses between attempts, up to a deadline.
pub(super) struct Backoff {
    pause: Duration,
    longest: Duration,
    deadline: Instant,
}

impl Backoff {
    /// Pauses from 1 ms to 20 ms, for `limit` in total.
    pub(super) fn new(limit: Duration) -> Self {
        let (pause, longest) = (Duration::from_millis(1), Duration::from_millis(20));
        Backoff { pause, longest, deadline: Instant::now() + limit }
    }

    /// Pauses from 50 ms to 1 s, for `limit` in total: for expensive attempts.
    pub(super) fn slow(limit: Duration) -> Self {
        let (pause, longest) = (Duration::from_millis(50), Duration::from_secs(1));
        Backoff { pause, longest, deadline: Instant::now() + limit }
    }

    /// Sleep and return true, or return false if the deadline has passed.
    pub(super) fn pause(&mut self) -> bool {
        if Instant::now() >= self.deadline {
            return false;
        }
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(self.longest);
        true
    }

    /// Move the deadline to `limit` from now, after a sign of progress.
    pub(super) fn extend(&mut self, limit: Duration) {
        self.deadline = Instant::now() + limit;
    }
}

/// The postmaster of the cluster in `dirs`, if one runs: the process named by `postmaster.pid` or, where that file is
/// damaged, the one that was started for the directory.
///
/// The file survives crashes, and the operating system reuses pids, so the number alone proves nothing.
pub(super) fn postmaster(dirs: &ServerDirs) -> Option<Pid> {
    let named = pid_in_file(dirs).filter(|&pid| serves(pid, dirs));
    named.or_else(|| processes(dirs).find(|&pid| is_started_for(pid, dirs)))
}

fn pid_in_file(dirs: &ServerDirs) -> Option<Pid> {
    first_line_pid(&fs::read_to_string(dirs.data.join("postmaster.pid")).ok()?)
}

/// The pid on the first line of a lock file. `None` for a single-user server, which writes its pid negated and cannot
/// be joined.
fn first_line_pid(text: &str) -> Option<Pid> {
    text.lines().next()?.trim().parse().ok().filter(|&pid| pid > 0).and_then(Pid::from_raw)
}

/// Whether `postmaster.pid` reports that the postmaster is ready.
pub(super) fn reports_ready(dirs: &ServerDirs) -> bool {
    let text = fs::read_to_string(dirs.data.join("postmaster.pid")).unwrap_or_default();
    text.lines().nth(7).is_some_and(|status| status.trim() == "ready")
}

/// Whether the process is a postmaster or backend of this cluster. A zombie is not.
fn serves(pid: Pid, dirs: &ServerDirs) -> bool {
    let number = pid.as_raw_nonzero();
    if cfg!(target_os = "linux") {
        // PostgreSQL processes run in their data directory. Where even root may not read the working directory of
        // other users' processes, as in most containers, compare the arguments of the postmaster.
        return match fs::read_link(format!("/proc/{number}/cwd")) {
            Ok(cwd) => cwd == dirs.data,
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => is_started_for(pid, dirs),
            Err(_) => false,
        };
    }
    if test_kill_process(pid).is_err() {
        return false;
    }
    let ps = Command::new("ps").args(["-o", "command=", "-p", &number.to_string()]).output();
    ps.is_ok_and(|ps| String::from_utf8_lossy(&ps.stdout).contains(&*dirs.data.to_string_lossy()))
}

/// Whether the data directory is among the arguments of the process, as for a postmaster. Backends replace theirs.
fn is_started_for(pid: Pid, dirs: &ServerDirs) -> bool {
    let arguments = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    arguments.split(|&b| b == 0).any(|argument| argument == dirs.data.as_os_str().as_encoded_bytes())
}

/// The processes of the cluster, as far as `/proc` shows them.
fn processes(dirs: &ServerDirs) -> impl Iterator<Item = Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(|&pid| serves(pid, dirs))
}

/// The processes of the cluster that have outlived their postmaster.
pub(super) fn orphans(dirs: &ServerDirs) -> Vec<Pid> {
    processes(dirs).collect()
}

/// Create the cluster: run `initdb` on `data.new`, and rename that directory once it is complete.
///
/// `initdb` inherits the start lock, so that no other process interferes with it if this one is killed, for example by
/// Ctrl-C, which does not reach `initdb`.
pub(super) fn initdb(dirs: &ServerDirs, binaries: &Binaries, user: &ServerUser, start: &Lock) -> Result<()> {
    let new = dirs.root.join("data.new");
    if let Err(e) = fs::remove_dir_all(&new)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        return Err(dirs.unwritable("remove", &new, e));
    }
    create_private(&new, user).map_err(|e| dirs.unwritable("create directory", &new, e))?;
    let program = binaries.dir.join("initdb");
    let mut command = as_user(&program, user);
    command.args(["-U", USER, "-A", "peer", "-E", "UTF8", "--locale=C", "-D"]).arg(&new).current_dir(&new);
    let lent = start.lend().map_err(|e| Error::launch(format!("failed to share the start lock: {e}")))?;
    let output = command.stdin(lent).output().map_err(|e| cannot_run(&program, user, &e))?;
    if !output.status.success() {
        let _ = fs::remove_dir_all(&new);
        return Err(initdb_failed(dirs, &output));
    }
    // Sync the directory: otherwise a power failure could undo the rename, and lose the cluster with all its data.
    fs::rename(&new, &dirs.data)
        .and_then(|()| File::open(&dirs.root)?.sync_all())
        .map_err(|e| dirs.unwritable("rename", &new, e))
}

fn initdb_failed(dirs: &ServerDirs, output: &Output) -> Error {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let is_error = |line: &&str| line.starts_with("initdb: error") || line.contains("FATAL:");
    let errors: Vec<_> = stderr.lines().map(str::trim).filter(is_error).collect();
    let cause = if errors.is_empty() { last_lines(&stderr, 5).join("; ") } else { errors.join("; ") };
    Error::launch(format!("failed to initialise a cluster in {}: {cause}", dirs.root.display()))
        .with_help(format!("set {DIRECTORY_SETTING} to another directory, perhaps on another disk"))
}

/// Start the postmaster, which outlives this process.
pub(super) fn spawn(dirs: &ServerDirs, binaries: &Binaries, user: &ServerUser, log: File) -> Result<Child> {
    let program = binaries.dir.join("postgres");
    let mut command = as_user(&program, user);
    // The full path, unlike ".", identifies the server in a process list.
    command.arg("-D").arg(&dirs.data);
    let mut config = std::ffi::OsString::from("config_file=");
    config.push(dirs.root.join("server.conf"));
    command.arg("-c").arg(config).current_dir(&dirs.data);
    let errors = log.try_clone().map_err(|e| dirs.unwritable("open", &dirs.log, e))?;
    command.stdin(std::process::Stdio::null()).stdout(log).stderr(errors);
    command.spawn().map_err(|e| cannot_run(&program, user, &e))
}

/// A command that runs `program` as `user` in a new session, which neither Ctrl-C nor the end of the terminal reaches.
fn as_user(program: &Path, user: &ServerUser) -> Command {
    let mut command = Command::new(program);
    // The log is searched for English messages, and on macOS the postmaster does not start without a locale.
    command.env("LC_ALL", "C").env_remove("LANGUAGE").env_remove("PGDATA");
    if user.switch {
        // When root changes the uid, std also drops the supplementary groups.
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

/// Shut down a server that does not become ready, immediately and without waiting; the next start recovers it.
pub(super) fn abandon(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::QUIT);
    }
}

/// Invalidate the lock files of the data directory and the socket that a killed postmaster has left behind.
///
/// PostgreSQL refuses to start while their pid exists, even if it is now that of a zombie or of another program.
pub(super) fn disown_stale_locks(dirs: &ServerDirs) -> Result<()> {
    for path in [dirs.data.join("postmaster.pid"), dirs.socket_lock()] {
        disown(&path, dirs).map_err(|e| dirs.unwritable("write", &path, e))?;
    }
    Ok(())
}

/// Replace the pid in a stale lock file by that of this process, which makes the file stale to a postmaster started by
/// it and keeps the shared memory key, by which the postmaster finds old backends.
///
/// The file is rewritten rather than removed: a removal could hit a newer file, just created by a server whose starter
/// was killed. The open file is certainly the one that was read.
fn disown(path: &Path, dirs: &ServerDirs) -> std::io::Result<()> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let mut file = match OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let is_stale = match first_line_pid(&text) {
        Some(pid) => test_kill_process(pid).is_ok() && !serves(pid, dirs),
        // Left empty or damaged by a full disk or a crash of the machine. A negative number is that of a single-user server.
        None => !text.trim_start().starts_with('-') && orphans(dirs).is_empty(),
    };
    if !is_stale {
        return Ok(());
    }
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    let text = format!("{}\n{rest}", std::process::id());
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())
}

/// Request a fast shutdown, and wait until the process has ended.
pub(super) fn stop(dirs: &ServerDirs, pid: Pid) -> Result<()> {
    let number = pid.as_raw_nonzero();
    match kill_process(pid, Signal::INT) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(e) => {
            return Err(Error::launch(format!("failed to stop the server (pid {number}): {e}"))
                .with_help("stop it as the user that runs it, or as root"));
        }
    }
    let mut backoff = Backoff::new(STOP_TIMEOUT);
    while serves(pid, dirs) {
        if !backoff.pause() {
            let log = dirs.log.display();
            return Err(Error::launch(format!("the server (pid {number}) is still shutting down"))
                .with_help(format!(
                    "see {log} for its progress; `kill -QUIT {number}` ends it without a checkpoint"
                )));
        }
    }
    if !dirs.socket_dir.starts_with(&dirs.root) {
        let _ = fs::remove_dir(&dirs.socket_dir);
    }
    Ok(())
}

/// Open the server's log for appending, and return it with its present length in bytes.
pub(super) fn open_log(dirs: &ServerDirs) -> Result<(File, u64)> {
    let failed = |e: std::io::Error| dirs.unwritable("open", &dirs.log, e);
    if fs::symlink_metadata(&dirs.log).is_ok_and(|meta| meta.len() > MAX_LOG_BYTES) {
        fs::rename(&dirs.log, dirs.log.with_extension("log.old")).map_err(failed)?;
    }
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let log = OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(flags).open(&dirs.log);
    let log = log.map_err(failed)?;
    dirs.hand_over(&log).map_err(failed)?;
    let length = log.metadata().map_err(failed)?.len();
    Ok((log, length))
}

/// The text of the log from offset `from` on, or its last MiB if that is shorter.
pub(super) fn log_since(dirs: &ServerDirs, from: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(&dirs.log)?;
        let end = file.metadata()?.len().saturating_sub(1 << 20);
        file.seek(SeekFrom::Start(from.max(end)))?;
        let mut bytes = Vec::new();
        file.take(1 << 20).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// The error for a server that did not become ready, with the last lines of `log`. `what` completes "the server …".
pub(super) fn did_not_start(dirs: &ServerDirs, what: &str, log: &str) -> Error {
    let mut message = format!("the server {what}");
    let lines = last_lines(log, 8);
    if !lines.is_empty() {
        message.push_str("; its log ends:");
        for line in lines {
            message.push_str("\n  ");
            message.push_str(line);
        }
    }
    Error::new(ErrorKind::Launch, message).with_help(format!(
        "see {} for the whole log; change settings in [server.settings] of config.toml",
        dirs.log.display()
    ))
}

fn last_lines(text: &str, count: usize) -> Vec<&str> {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

//! One command run to its end, and what it and the server used meanwhile.

use std::fs;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use postgres_etl::{Error, ErrorKind, Progress, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::cli::bench::processes::{children, cpu_seconds, peak_bytes};
use crate::cli::bench::tally::roughly;

/// The time between two looks at the memory of the processes.
const INTERVAL: Duration = Duration::from_millis(10);

/// What a command used and printed.
#[derive(Debug)]
pub(super) struct Measured {
    /// From its start to its end.
    pub(super) seconds: f64,
    /// User and system time of its process and of the children that it has waited for.
    pub(super) cpu_seconds: Option<f64>,
    /// Peak resident memory of its process.
    pub(super) peak_bytes: Option<u64>,
    /// CPU time of the server's processes.
    pub(super) server_cpu_seconds: Option<f64>,
    /// Peak resident memory of the largest of the server's processes that began meanwhile, as far as they were seen.
    pub(super) server_peak_bytes: Option<u64>,
    pub(super) stdout: String,
}

/// Run `command` to its end, beside the server whose first process is `postmaster`, if that is on this machine. It is
/// killed when `progress` is cancelled, and when it takes longer than `limit`.
///
/// # Errors
/// When it cannot be started, fails, or is killed.
pub(super) fn measure(
    mut command: Command,
    postmaster: Option<i32>,
    progress: &Progress,
    limit: Duration,
) -> Result<Measured> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed =
        |error: std::io::Error| Error::new(ErrorKind::Input, format!("failed to run {program}: {error}"));
    let (mut stdout, mut stderr) =
        (tempfile::tempfile().map_err(failed)?, tempfile::tempfile().map_err(failed)?);
    let outputs = (stdout.try_clone().map_err(failed)?, stderr.try_clone().map_err(failed)?);
    // Ctrl-C is for this program, which then ends the command.
    command.stdin(Stdio::null()).stdout(outputs.0).stderr(outputs.1).process_group(0);
    let server_before = postmaster.and_then(cpu_seconds_of_all);
    let started = Instant::now();
    let mut child = command.spawn().map_err(failed)?;
    let has_to_end = || progress.is_cancelled() || started.elapsed() > limit;
    let (memory, was_killed) = watch(&child, postmaster, &has_to_end);
    let seconds = started.elapsed().as_secs_f64();
    // Until it is waited for, the process is there with its times.
    let used = cpu_seconds(child.id() as i32);
    let status = child.wait().map_err(failed)?;
    let server_after = postmaster.and_then(cpu_seconds_of_all);
    if progress.is_cancelled() {
        return Err(Error::interrupted());
    }
    if was_killed {
        let limit = roughly(limit.as_secs_f64());
        return Err(Error::new(ErrorKind::Input, format!("no end after {limit}: it was killed")));
    }
    let read = |file: &mut fs::File| {
        let mut text = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut text)).map_err(failed)?;
        Ok::<_, Error>(String::from_utf8_lossy(&text).into_owned())
    };
    let (stdout, stderr) = (read(&mut stdout)?, read(&mut stderr)?);
    if !status.success() {
        let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
        return Err(Error::new(ErrorKind::Input, format!("{program} failed ({status}): {}", last.trim())));
    }
    Ok(Measured {
        seconds,
        cpu_seconds: used,
        peak_bytes: memory.client,
        server_cpu_seconds: server_before.zip(server_after).map(|(before, after)| (after - before).max(0.0)),
        server_peak_bytes: memory.server,
        stdout,
    })
}

/// The largest resident memory seen.
struct PeakMemory {
    client: Option<u64>,
    server: Option<u64>,
}

/// Wait until `child` has ended, look at the memory of the processes meanwhile, and kill it once it `has_to_end`; return
/// whether it was killed.
fn watch(
    child: &Child,
    postmaster: Option<i32>,
    has_to_end: &(dyn Fn() -> bool + Sync),
) -> (PeakMemory, bool) {
    let pid = Pid::from_child(child);
    let (has_ended, client, server) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let was_killed = AtomicBool::new(false);
    // The peaks of older ones are not of this command.
    let older: Vec<i32> = postmaster.map(children).unwrap_or_default();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !has_ended.load(Relaxed) {
                client.fetch_max(peak_bytes(pid.as_raw_pid()).unwrap_or(0), Relaxed);
                let backends = postmaster.into_iter().flat_map(children).filter(|pid| !older.contains(pid));
                server.fetch_max(backends.filter_map(peak_bytes).max().unwrap_or(0), Relaxed);
                if !has_ended.load(Relaxed) && has_to_end() {
                    // It may have ended by now.
                    let _ = kill_process_group(pid, Signal::KILL);
                    was_killed.store(true, Relaxed);
                }
                thread::sleep(INTERVAL);
            }
        });
        // Without reaping it, so that its times can be read. It has to be there: it is a child that nobody else waits
        // for.
        let ended = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        has_ended.store(true, Relaxed);
        ended.map(drop).unwrap_or_default();
    });
    let seen = |bytes: AtomicU64| Some(bytes.into_inner()).filter(|bytes| *bytes > 0);
    (PeakMemory { client: seen(client), server: seen(server) }, was_killed.into_inner())
}

/// The CPU time of the process `postmaster`, of its children, and of those that have ended.
fn cpu_seconds_of_all(postmaster: i32) -> Option<f64> {
    let of_children: f64 = children(postmaster).into_iter().filter_map(cpu_seconds).sum();
    Some(cpu_seconds(postmaster)? + of_children)
}

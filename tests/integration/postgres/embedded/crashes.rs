//! The embedded server when it or the processes that use it are killed, stopped or interrupted, or race each other.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use postgres_etl::postgres::embedded::{self, Origin, StopOutcome};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, geteuid, getsid, kill_process, kill_process_group, test_kill_process};

use super::{Fixture, ask, finish, spawn};
use crate::support;

/// Wait until the process `pid` is gone, also as a zombie: a thread of this process waits for the postmasters that it has
/// started.
fn wait_until_gone(pid: Pid) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while test_kill_process(pid).is_ok() {
        assert!(Instant::now() < deadline, "process {pid:?} does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn two_processes_race_to_one_server() {
    let fixture = Fixture::new();
    let children = [(); 2].map(|()| spawn(fixture.child("use")));
    let mut origins = Vec::new();
    let children = children.map(|(child, mut lines)| {
        origins.push(support::line_after(&mut lines, "origin "));
        (child, lines)
    });
    origins.sort();
    assert_eq!(origins, ["Initialised", "Joined"]);
    for (child, lines) in children {
        finish(child, lines);
    }
}

#[test]
fn outlives_the_killed_process_that_started_it() {
    let fixture = Fixture::new();
    let (mut child, mut lines) = spawn(fixture.child("use"));
    assert_eq!(support::line_after(&mut lines, "origin "), "Initialised");
    child.kill().unwrap();
    child.wait().unwrap();
    let pid = fixture.postmaster();
    assert_eq!(getsid(Some(pid)).unwrap(), pid, "it leads a session of its own");
    assert_eq!(fixture.start().origin, Origin::Joined);
}

#[test]
fn initialises_again_after_a_kill_while_initialising() {
    let fixture = Fixture::new();
    let (mut child, mut lines) = spawn(fixture.child("use"));
    support::line_after(&mut lines, "say initialising ");
    child.kill().unwrap();
    child.wait().unwrap();
    let server = fixture.start();
    assert_eq!(ask(&server, "SELECT 1"), "1");
    assert!(!fixture.dir.join("data.new").exists());
}

#[test]
fn ctrl_c_does_not_end_initdb_halfway() {
    let fixture = Fixture::new();
    let mut command = fixture.child("use");
    command.process_group(0);
    let (mut child, mut lines) = spawn(command);
    support::line_after(&mut lines, "say initialising ");
    // After it has written these configuration files, initdb would not survive an interrupt.
    while !fixture.dir.join("data.new/pg_ident.conf").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    // Like the terminal, send the signal to the whole process group.
    kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::INT.as_raw()));
    let lock = fs::File::open(fixture.dir.join("start.lock")).unwrap();
    let busy = flock(&lock, FlockOperation::NonBlockingLockExclusive);
    assert_eq!(busy, Err(Errno::WOULDBLOCK), "initdb goes on, and holds the lock");
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    assert!(fixture.dir.join("data.new/PG_VERSION").exists(), "an interrupted initdb would have cleaned up");
    drop(lock);

    let server = fixture.start();
    assert_eq!((server.origin, ask(&server, "SELECT 1")), (Origin::Initialised, "1".to_owned()));
    assert!(!fixture.dir.join("data.new").exists());
}

#[test]
fn recovers_from_a_killed_postmaster() {
    let fixture = Fixture::new();
    let server = fixture.start();
    ask(&server, "CREATE TABLE kept AS SELECT 42 AS answer");
    kill_process(fixture.postmaster(), Signal::KILL).unwrap();
    // Backends may live on for a moment, and the PID file and the socket remain.
    let again = fixture.start();
    assert_eq!(again.origin, Origin::Started);
    assert_eq!(ask(&again, "SELECT answer FROM kept"), "42");
}

#[test]
fn recovers_from_a_damaged_lock_file() {
    for content in [&b""[..], b"\n", b"not a number\n", b"\xff\xfe\0\0"] {
        let fixture = Fixture::new();
        ask(&fixture.start(), "CREATE TABLE kept AS SELECT 7 AS seven");
        let postmaster = fixture.postmaster();
        kill_process(postmaster, Signal::QUIT).unwrap();
        wait_until_gone(postmaster);
        fs::write(fixture.dir.join("data/postmaster.pid"), content).unwrap();
        assert_eq!(ask(&fixture.start(), "SELECT seven FROM kept"), "7", "{content:?}");
    }
}

/// PostgreSQL itself notices within a minute that its lock file is damaged, and until then it runs.
#[test]
fn a_server_whose_lock_file_is_damaged_is_found_and_stopped() {
    let fixture = Fixture::new();
    drop(fixture.start());
    let postmaster = fixture.postmaster();
    fs::write(fixture.dir.join("data/postmaster.pid"), b"\xff").unwrap();
    let status = embedded::status(&fixture.options()).unwrap();
    assert_eq!((status.running, status.pid), (true, Some(postmaster.as_raw_nonzero().get())));
    assert_eq!(embedded::stop(&fixture.options()).unwrap(), StopOutcome::Stopped);
    wait_until_gone(postmaster);
}

/// As in a container without an init process, where zombies are never reaped.
#[test]
fn starts_while_the_killed_postmaster_is_a_zombie() {
    let fixture = Fixture::new();
    let (mut parent, mut lines) = spawn(fixture.child("use"));
    assert_eq!(support::line_after(&mut lines, "origin "), "Initialised");
    let postmaster = fixture.postmaster();
    kill_process(Pid::from_child(&parent), Signal::STOP).unwrap();
    // Wait until it has stopped, or it might reap the postmaster first.
    rustix::process::waitpid(Some(Pid::from_child(&parent)), rustix::process::WaitOptions::UNTRACED).unwrap();
    kill_process(postmaster, Signal::KILL).unwrap();
    assert_eq!(fixture.start().origin, Origin::Started);
    assert!(test_kill_process(postmaster).is_ok(), "the zombie remains");
    assert_eq!(fixture.start().origin, Origin::Joined);
    assert_eq!(embedded::stop(&fixture.options()).unwrap(), StopOutcome::Stopped);
    parent.kill().unwrap();
    parent.wait().unwrap();
}

#[test]
fn a_recycled_pid_is_neither_believed_nor_killed() {
    let fixture = Fixture::new();
    drop(fixture.start());
    let postmaster = fixture.postmaster();
    kill_process(postmaster, Signal::KILL).unwrap();
    // Until then it would be found by its arguments.
    wait_until_gone(postmaster);
    let data = fs::metadata(fixture.dir.join("data")).unwrap();
    let mut bystander = Command::new("cat");
    bystander.stdin(Stdio::piped());
    if geteuid().is_root() {
        // PostgreSQL itself recognises PIDs of processes of other users as recycled.
        bystander.uid(data.uid()).gid(data.gid());
    }
    let mut bystander = bystander.spawn().unwrap();
    for lock in ["data/postmaster.pid", "socket/.s.PGSQL.5432.lock"] {
        let lock = fixture.dir.join(lock);
        let text = fs::read_to_string(&lock).unwrap();
        let rest = text.split_once('\n').unwrap().1;
        fs::write(&lock, format!("{}\n{rest}", bystander.id())).unwrap();
    }

    assert_eq!(embedded::stop(&fixture.options()).unwrap(), StopOutcome::NotRunning);
    assert_eq!(fixture.start().origin, Origin::Started);
    assert_eq!(embedded::stop(&fixture.options()).unwrap(), StopOutcome::Stopped);
    assert!(bystander.try_wait().unwrap().is_none(), "the bystander lives");
    drop(bystander.stdin.take());
    bystander.wait().unwrap();
}

#[test]
fn a_stopped_postmaster_is_reported_as_not_answering() {
    let fixture = Fixture::new();
    let _server = fixture.start();
    let postmaster = fixture.postmaster();
    kill_process(postmaster, Signal::STOP).unwrap();
    let status = embedded::status(&fixture.options()).unwrap();
    kill_process(postmaster, Signal::CONT).unwrap();
    assert_eq!((status.running, status.pid), (false, Some(postmaster.as_raw_pid())));
    assert!(status.note.unwrap().contains("does not answer"));
}

#[test]
#[ignore = "takes a minute"]
fn waiting_for_a_stopped_postmaster_times_out() {
    let fixture = Fixture::new();
    let _server = fixture.start();
    let postmaster = fixture.postmaster();
    kill_process(postmaster, Signal::STOP).unwrap();
    let error = embedded::start(&fixture.options(), &mut |_| ());
    kill_process(postmaster, Signal::CONT).unwrap();
    let error = error.expect_err("it must not start");
    assert!(error.to_string().contains("has not answered for 60 s"), "{error}");
    assert!(error.help().unwrap().contains(&format!("kill -CONT {postmaster}")), "{error:?}");
}

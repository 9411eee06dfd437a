//! The embedded server, through crashes, races and misuse.

mod crashes;
mod errors;
mod lifecycle;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use postgres_etl::postgres::embedded::{self, Options, Origin, Server, StopOutcome};
use postgres_etl::{Error, ErrorKind};
use rustix::process::Pid;
use tempfile::TempDir;

use crate::support;

const CHILD_DOES: &str = "POSTGRES_ETL_TEST_CHILD";
const CHILD_DIR: &str = "POSTGRES_ETL_TEST_DIR";

/// A directory for a single test, whose server is stopped at the end of the test.
struct Fixture {
    root: TempDir,
    dir: PathBuf,
}

impl Fixture {
    fn new() -> Fixture {
        let root = tempfile::Builder::new().prefix("etl-").tempdir().unwrap();
        // If root runs the tests, the server's user must be able to enter the directory.
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

    /// This binary as another process, which does what [`in_another_process`] knows by the name `does`.
    fn child(&self, does: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "postgres::embedded::in_another_process", "--nocapture"]);
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

/// Run a child as another user to its end, and return `false` if that user cannot execute this binary.
fn runs_through(mut command: Command) -> bool {
    let Ok(mut child) = command.spawn() else {
        eprintln!("skipped: an ordinary user cannot reach this test binary");
        return false;
    };
    let lines = BufReader::new(child.stdout.take().unwrap());
    finish(child, lines);
    true
}

/// Close the standard input of the child, for which it waits, and wait for its end.
fn finish(mut child: Child, mut lines: BufReader<ChildStdout>) {
    drop(child.stdin.take());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
}

/// The first column of the last row that `sql` returns.
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

/// Not a test: what this binary does when another test runs it as a child process.
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
            assert!(!status.running, "{status:?}");
            assert!(status.note.as_ref().unwrap().contains("Permission denied"), "{status:?}");
            let error = embedded::stop(&options).unwrap_err();
            assert!(error.to_string().contains("Permission denied"), "{error}");
        }
        "be nameless" => {
            let error = start_error(&Options { dir: Some(dir), ..Options::default() });
            assert!(error.to_string().contains("user ID 54321 has no user name"), "{error}");
            assert!(error.help().unwrap().contains("/etc/passwd"), "{error:?}");
        }
        other => panic!("unknown action {other}"),
    }
}

/// Start, join, query, stop and restart a server in `dir`, as the current user.
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
    assert!(embedded::status(&options).unwrap().running, "the server keeps running for the next command");
    assert_eq!(embedded::stop(&options).unwrap(), StopOutcome::Stopped);
    let status = embedded::status(&options).unwrap();
    assert!(!status.running, "{status:?}");
    assert_eq!(start(&options).origin, Origin::Started);
    assert_eq!(embedded::stop(&options).unwrap(), StopOutcome::Stopped);
}

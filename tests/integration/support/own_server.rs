//! A server that a test may stop, kill and start again.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use postgres_etl::postgres::embedded::{self, Options, Server};
use rustix::process::{Pid, Signal, kill_process};

use super::TestDb;
use crate::PATIENCE;

/// The server, in a directory of its own; it is stopped when it is dropped.
pub(crate) struct OwnServer {
    options: Options,
    server: Option<Server>,
    // Last, so that the server is stopped before its directory is removed.
    dir: tempfile::TempDir,
}

impl OwnServer {
    /// Start a server.
    pub(crate) fn start() -> OwnServer {
        OwnServer::start_with(&[])
    }

    /// Start a server with `settings`, by name and value.
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> OwnServer {
        let dir = tempfile::tempdir().unwrap();
        // If root runs the tests, the server's user must be able to enter the directory.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = super::test_settings().into_iter().chain(settings).collect();
        let directory = Some(dir.path().join("server"));
        let options = Options { dir: directory, keep: false, settings, ..Options::default() };
        let mut server = OwnServer { options, server: None, dir };
        server.start_again();
        server
    }

    /// Start it again, after it has ended.
    pub(crate) fn start_again(&mut self) {
        self.server = None;
        let started = embedded::start(&self.options, &mut |_| ());
        self.server = Some(started.unwrap_or_else(|error| panic!("{error}; {:?}", error.help())));
    }

    /// Its database.
    pub(crate) fn database(&self) -> TestDb {
        TestDb::at(self.server.as_ref().unwrap().url())
    }

    /// A new database of it.
    #[allow(dead_code, reason = "only the long rounds have several")]
    pub(crate) async fn new_database(&self, name: &str) -> TestDb {
        let database = self.database();
        database.connect().await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        TestDb::at(database.url().replacen("/postgres?", &format!("/{name}?"), 1))
    }

    /// A directory that its user can enter.
    #[allow(dead_code, reason = "only the long rounds put something into it")]
    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Its postmaster.
    pub(crate) fn postmaster(&self) -> Pid {
        let status = embedded::status(&self.options).unwrap();
        Pid::from_raw(status.pid.expect("the server runs")).unwrap()
    }

    /// Send `signal` to its postmaster, and wait until that has ended.
    pub(crate) fn end_with(&self, signal: Signal) {
        kill_process(self.postmaster(), signal).unwrap();
        let sent = Instant::now();
        while embedded::status(&self.options).unwrap().pid.is_some() {
            assert!(sent.elapsed() < PATIENCE, "the server has not ended after {signal:?}");
            std::thread::yield_now();
        }
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        drop(self.server.take());
        // Whatever stands still after a failed test does not keep it from ending.
        if embedded::status(&self.options).is_ok_and(|status| status.pid.is_some()) {
            self.end_with(Signal::QUIT);
        }
    }
}

//! The two advisory locks of a server directory.
//!
//! `start.lock` is exclusive and held briefly: its holder may initialise, start or stop the server. `use.lock` is
//! shared by all processes that use the server, so the process that can take it exclusively is the last one. The
//! kernel releases both when their holder ends, however it ends.
//!
//! Deadlock is impossible because no process ever *waits* for `use.lock` exclusively. A process that holds it shared
//! may wait for `start.lock`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::{Errno, retry_on_intr};

use crate::Result;
use crate::postgres::embedded::dirs::ServerDirs;

/// A `flock` that is held; dropping it releases the lock.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Take `start.lock`, waiting while another process starts or stops the server.
    pub(super) fn start(dirs: &ServerDirs, note: &mut dyn FnMut(&str)) -> Result<Lock> {
        let path = dirs.root.join("start.lock");
        let failed = |e: io::Error| dirs.unwritable("lock", &path, e);
        let file = open(&path).map_err(failed)?;
        dirs.hand_over(&file).map_err(failed)?;
        match acquire(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                note("waiting for another process that is starting or stopping the server");
                acquire(&file, FlockOperation::LockExclusive).map_err(|e| failed(e.into()))?;
            }
            other => other.map_err(|e| failed(e.into()))?,
        }
        Ok(Lock(file))
    }

    /// Take `use.lock` shared, waiting only while the last user of the server stops it.
    pub(super) fn shared(dirs: &ServerDirs) -> Result<Lock> {
        let path = dirs.root.join("use.lock");
        let failed = |e: io::Error| dirs.unwritable("lock", &path, e);
        let file = open(&path).map_err(failed)?;
        dirs.hand_over(&file).map_err(failed)?;
        acquire(&file, FlockOperation::LockShared).map_err(|e| failed(e.into()))?;
        Ok(Lock(file))
    }

    /// Turn the shared lock into an exclusive one; if another process shares it, release it and return `None`.
    ///
    /// `flock` releases the shared lock before it takes the exclusive one, so hold `start.lock` while calling this.
    pub(super) fn into_exclusive(self) -> Option<Lock> {
        match acquire(&self.0, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Some(self),
            Err(_) => None,
        }
    }

    /// The lock as the standard input of a child process: it stays held until the child ends, even if this process is
    /// killed.
    pub(super) fn lend(&self) -> io::Result<Stdio> {
        Ok(Stdio::from(self.0.try_clone()?))
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

fn acquire(file: &File, operation: FlockOperation) -> rustix::io::Result<()> {
    retry_on_intr(|| flock(file, operation))
}

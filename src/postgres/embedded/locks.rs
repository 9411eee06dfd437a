//! The two advisory locks of a server directory.
//!
//! `start.lock` is exclusive and short: its holder may initialise, start or stop the server. `use.lock` is shared
//! by everyone who works with the server, so whoever can take it exclusively is the last one. The kernel drops
//! both when their holder dies, however it dies.
//!
//! The order that keeps this free of deadlock: nobody *waits* for `use.lock` exclusively, and a shared holder may
//! wait for `start.lock`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::{Errno, retry_on_intr};

use crate::Result;
use crate::postgres::embedded::place::Place;

/// A held `flock`; dropping it lets go.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// `start.lock`, waiting for whoever starts or stops the server just now.
    pub(super) fn start(place: &Place, say: &mut dyn FnMut(&str)) -> Result<Lock> {
        let path = place.dir.join("start.lock");
        let failed = |e: io::Error| place.unwritable("lock", &path, &e);
        let file = open(&path).map_err(failed)?;
        place.hand_over(&file).map_err(failed)?;
        match acquire(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                say("waiting for another command that is starting or stopping the server");
                acquire(&file, FlockOperation::LockExclusive).map_err(|e| failed(e.into()))?;
            }
            other => other.map_err(|e| failed(e.into()))?,
        }
        Ok(Lock(file))
    }

    /// `use.lock`, shared; waits only while someone who found nobody else here stops the server.
    pub(super) fn shared(place: &Place) -> Result<Lock> {
        let path = place.dir.join("use.lock");
        let failed = |e: io::Error| place.unwritable("lock", &path, &e);
        let file = open(&path).map_err(failed)?;
        place.hand_over(&file).map_err(failed)?;
        acquire(&file, FlockOperation::LockShared).map_err(|e| failed(e.into()))?;
        Ok(Lock(file))
    }

    /// Turns a shared lock into the exclusive one, or gives it up when somebody else shares it.
    ///
    /// `flock` lets go of the old lock first, so call this only while holding `start.lock`.
    pub(super) fn into_exclusive(self) -> Option<Lock> {
        match acquire(&self.0, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Some(self),
            Err(_) => None,
        }
    }

    /// The lock as a child's standard input: it stays held until that child is gone too, even if we are killed.
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

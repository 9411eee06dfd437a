//! Files that are either complete or absent: written under a temporary name in the same directory, then renamed.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::NamedTempFile;

use crate::error::ErrorKind;
use crate::escape::escape_path;
use crate::{Error, Result};

/// A file that appears under its name only when it is complete. Dropped before that, it is removed.
#[derive(Debug)]
pub struct AtomicFile {
    what: &'static str,
    /// As it was asked for, perhaps through symbolic links.
    name: PathBuf,
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// Start writing the file `path`, which errors call `what`. Call it before the work whose result the file will hold,
    /// so that a bad path fails early.
    ///
    /// A symbolic link is followed, and a replaced file passes on its permissions and its owner.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] when the temporary file cannot be created.
    pub fn create(what: &'static str, path: &Path) -> Result<Self> {
        AtomicFile::with_mode(what, path, 0o666)
            .map_err(|error| Error::io(ErrorKind::Output, &format!("create the {what}"), path, error))
    }

    /// As [`AtomicFile::create`], for a file that may contain data: a new one is readable by its owner alone.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] when the temporary file cannot be created.
    pub fn create_private(what: &'static str, path: &Path) -> Result<Self> {
        AtomicFile::with_mode(what, path, 0o600)
            .map_err(|error| Error::io(ErrorKind::Output, &format!("create the {what}"), path, error))
    }

    /// As [`AtomicFile::create`], but with a plain I/O error.
    ///
    /// # Errors
    /// When the temporary file cannot be created.
    pub fn open(what: &'static str, path: &Path) -> io::Result<Self> {
        AtomicFile::with_mode(what, path, 0o666)
    }

    /// Start writing the file `path`. If it is new, it gets the permissions `mode`, less the umask.
    fn with_mode(what: &'static str, path: &Path, mode: u32) -> io::Result<Self> {
        let name = path.to_owned();
        let path = destination(path)?;
        let file = temporary_beside(&path, mode).map_err(plain)?;
        if let Ok(replaced) = path.metadata() {
            // Only root may give a file to another owner.
            let _ = fchown(file.as_file(), Some(replaced.uid()), Some(replaced.gid()));
            file.as_file().set_permissions(replaced.permissions())?;
        }
        Ok(AtomicFile { what, name, path, file: BufWriter::new(file) })
    }

    /// The final path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Write `document` as indented JSON, and finish the file.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] when the file cannot be written or renamed.
    pub fn write_json(mut self, document: &impl Serialize) -> Result<()> {
        let written = serde_json::to_writer_pretty(&mut self.file, document).map_err(io::Error::from);
        written.and_then(|()| writeln!(self.file)).map_err(|error| self.failed(error))?;
        self.finish()
    }

    /// Write what is buffered, and rename the file to its final path, durably: it survives a crash of the system.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] when the file cannot be written or renamed.
    pub fn finish(mut self) -> Result<()> {
        let (what, name, path) = (self.what, self.name.clone(), self.path.clone());
        let finish = || {
            self.file.flush()?;
            self.file.get_ref().as_file().sync_all()?;
            self.persist()?;
            File::open(directory_of(&path))?.sync_all()
        };
        finish().map_err(|error| failed(what, &name, error))
    }

    /// As [`AtomicFile::finish`], but with a plain I/O error, and not durably.
    ///
    /// # Errors
    /// When the file cannot be written or renamed.
    pub fn persist(self) -> io::Result<()> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }

    /// The error that reports a failed write to this file.
    pub fn failed(&self, error: io::Error) -> Error {
        failed(self.what, &self.name, error)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Check that the value of `flag`, `path`, is a regular file or does not exist: a device or a stream, such as the target
/// of a redirection, must not be replaced.
///
/// # Errors
/// [`ErrorKind::Usage`] when it is something else.
pub fn check_regular(flag: &str, path: &Path) -> Result<()> {
    let streams = ["/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd", "/proc"];
    if streams.iter().any(|stream| path.starts_with(stream))
        || path.metadata().is_ok_and(|file| !file.is_file())
    {
        return Err(Error::usage(format!("{flag}: {} is not a regular file", escape_path(path)))
            .with_help(format!("name another file with {flag}")));
    }
    Ok(())
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::io(ErrorKind::Output, &format!("write the {what}"), path, plain(error))
}

/// The largest number of symbolic links that are followed, as in Linux.
const MOST_LINKS: usize = 40;

/// The file to which `path` leads through symbolic links, even if it does not exist yet.
fn destination(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match path.read_link() {
            Ok(link) => path = directory_of(&path).join(link),
            // It is not a link, or does not exist.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error()))
}

/// Remove from `error` the temporary name that `tempfile` adds to its text.
fn plain(error: io::Error) -> io::Error {
    match error.to_string().rsplit_once(" at path ") {
        Some((plain, _)) => io::Error::new(error.kind(), plain),
        None => error,
    }
}

/// Create a temporary file in the directory of `path`, with the permissions `mode`, less the umask.
fn temporary_beside(path: &Path, mode: u32) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().permissions(Permissions::from_mode(mode)).tempfile_in(directory_of(path))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

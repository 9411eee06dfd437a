//! Files that are complete or absent: written beside their place, and renamed into it.

use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::NamedTempFile;

use crate::error::ErrorKind;
use crate::{Error, Result};

/// A file that takes its place when it is complete. Dropped before that, it leaves no trace.
#[derive(Debug)]
pub struct AtomicFile {
    what: &'static str,
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// Begin the file `path`, which errors call a `what`: before the work whose result it is for, so that a bad path
    /// costs nothing. A symbolic link is followed, and a file that is replaced passes on its permissions.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] when its directory cannot be written to.
    pub fn create(what: &'static str, path: &Path) -> Result<Self> {
        AtomicFile::open(what, path)
            .map_err(|error| Error::io(ErrorKind::Output, &format!("create the {what}"), path, &error))
    }

    /// As [`AtomicFile::create`].
    ///
    /// # Errors
    /// The system's own.
    pub fn open(what: &'static str, path: &Path) -> io::Result<Self> {
        let path = destination(path)?;
        let file = temporary_beside(&path).map_err(|error| plain(&error))?;
        if let Ok(replaced) = path.metadata() {
            file.as_file().set_permissions(replaced.permissions())?;
        }
        Ok(AtomicFile { what, path, file: BufWriter::new(file) })
    }

    /// Where the file will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Write `document` as indented JSON, and put the file in its place.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] when it cannot be written.
    pub fn write_json(mut self, document: &impl Serialize) -> Result<()> {
        let written = serde_json::to_writer_pretty(&mut self.file, document).map_err(io::Error::from);
        written.and_then(|()| writeln!(self.file)).map_err(|error| self.failed(&error))?;
        self.finish()
    }

    /// Put the file in its place.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] when the rest of it cannot be written, or the file cannot be renamed.
    pub fn finish(self) -> Result<()> {
        let (what, path) = (self.what, self.path.clone());
        self.persist().map_err(|error| failed(what, &path, &error))
    }

    /// As [`AtomicFile::finish`].
    ///
    /// # Errors
    /// The system's own.
    pub fn persist(self) -> io::Result<()> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }

    /// The error for a write that failed.
    pub fn failed(&self, error: &io::Error) -> Error {
        failed(self.what, &self.path, error)
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

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::io(ErrorKind::Output, &format!("write the {what}"), path, error)
}

/// What `path` leads to, even if that does not exist yet.
fn destination(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match (path.read_link(), path.parent()) {
            (Ok(link), Some(parent)) => Ok(parent.join(link)),
            _ => Ok(path.to_owned()),
        },
        found => found,
    }
}

/// `error` without the temporary name that the crate adds to its text.
fn plain(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// A temporary file in the directory of `path`, with the permissions of any new file.
fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o666)).tempfile_in(dir)
}

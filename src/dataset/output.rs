//! The output: a stream, or a file that is written under a temporary name and renamed when it is complete.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::output_file::AtomicFile;

/// Where the rows are written.
pub(super) enum Output {
    /// A pipe, a device or an open descriptor, which cannot be replaced by renaming.
    Stream(File),
    /// A file that appears when it is complete; dropped before that, it is removed.
    Replacement(AtomicFile),
}

impl Output {
    /// Open `path` itself, or the temporary file that will replace it.
    pub(super) fn open(path: &Path) -> Result<Output> {
        // Opening an existing file for append checks that it is writable, without changing it.
        match OpenOptions::new().append(true).open(path) {
            Ok(file) => {
                let metadata = file.metadata().map_err(|error| write_error(path, error))?;
                if !metadata.is_file() || is_descriptor(path) {
                    return Ok(Output::Stream(file));
                }
                Output::replacement(path)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Output::replacement(path),
            Err(error) => Err(write_error(path, error)),
        }
    }

    fn replacement(path: &Path) -> Result<Output> {
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let names_a_file = path.file_name().is_some() && !path.as_os_str().as_encoded_bytes().ends_with(b"/");
        if !names_a_file || !directory.is_dir() {
            return Err(Error::output(format!("failed to write {}: no such directory", path.display()))
                .with_help("create the directory first, or name a file in one that exists"));
        }
        AtomicFile::open("file", path).map(Output::Replacement).map_err(|error| write_error(path, error))
    }

    /// The writer for the rows.
    pub(super) fn writer(&mut self) -> &mut dyn Write {
        match self {
            Output::Stream(file) => file,
            Output::Replacement(file) => file,
        }
    }

    /// Move the complete file to `path`.
    pub(super) fn finish(self, path: &Path) -> Result<()> {
        match self {
            Output::Stream(_) => Ok(()),
            Output::Replacement(file) => file.persist().map_err(|error| write_error(path, error)),
        }
    }
}

/// The error for a failure to write `path`, with a remedy where there is one.
pub(super) fn write_error(path: &Path, source: io::Error) -> Error {
    let kind = source.kind();
    let error = Error::io(ErrorKind::Output, "write", path, source);
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            error.with_help("free some space, write to another file system, or generate fewer rows")
        }
        io::ErrorKind::IsADirectory => error.with_help("name a file, such as persons.csv in that directory"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            error.with_help("name a file in a directory that you can write to")
        }
        _ => error,
    }
}

/// Whether `path` names an open descriptor. Even if the descriptor refers to a regular file, the rows are expected in that
/// file, not in a new one of the same name.
fn is_descriptor(path: &Path) -> bool {
    ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc"].iter().any(|known| path.starts_with(known))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn put(path: &Path, text: &str) -> Result<()> {
        let mut output = Output::open(path)?;
        output.writer().write_all(text.as_bytes()).unwrap();
        output.finish(path)
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_has_the_permissions_of_any_new_file() {
        let directory = tempfile::tempdir().unwrap();
        let (made, plain) = (directory.path().join("made"), directory.path().join("plain"));
        put(&made, "rows").unwrap();
        File::create(&plain).unwrap();
        assert_eq!(fs::metadata(made).unwrap().permissions(), fs::metadata(plain).unwrap().permissions());
    }

    #[test]
    fn a_replaced_file_keeps_its_permissions() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("persons.csv");
        fs::write(&path, "before, and longer").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        put(&path, "after").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(directory.path()), ["persons.csv"]);
    }

    #[test]
    fn the_old_file_stays_until_the_new_one_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("persons.csv");
        fs::write(&path, "before").unwrap();
        let mut output = Output::open(&path).unwrap();
        output.writer().write_all(b"half").unwrap();
        drop(output);
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        assert_eq!(names(directory.path()), ["persons.csv"]);
    }

    #[test]
    fn a_symbolic_link_stays_one() {
        let directory = tempfile::tempdir().unwrap();
        let (link, path) = (directory.path().join("link"), directory.path().join("persons.csv"));
        symlink("persons.csv", &link).unwrap();
        for text in ["made through the link", "replaced through the link"] {
            put(&link, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert!(link.is_symlink());
        }
    }

    #[test]
    fn a_device_is_written_to_directly() {
        assert!(matches!(Output::open(Path::new("/dev/null")).unwrap(), Output::Stream(_)));
        put(Path::new("/dev/null"), "rows").unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_a_file_fails_at_once_and_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        for path in [directory.path(), &missing.join("persons.csv"), &missing.join("")] {
            let Err(error) = Output::open(path) else { panic!("{} was opened", path.display()) };
            assert_eq!(error.kind(), ErrorKind::Output);
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
            assert!(error.help().is_some(), "{error}");
        }
        assert_eq!(names(directory.path()), <[&str; 0]>::default());
    }
}

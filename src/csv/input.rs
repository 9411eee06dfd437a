//! Paths and patterns → streams of bytes: files, standard input and readers, decompressed where necessary.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;

use crate::csv::decompress::{ByteSource, decompress};
use crate::error::{ErrorKind, Location};
use crate::escape::{escape, escape_path};
use crate::{Error, Result};

/// The inputs of a load, in the order in which they are read.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    list: Vec<Input>,
    /// The total stored size in bytes; `None` where it is unknown.
    size: Option<u64>,
    /// Stored bytes read so far.
    consumed: Arc<AtomicU64>,
    /// The time that it took to read and decompress them.
    read_nanoseconds: Arc<AtomicU64>,
    /// Records passed over so far.
    passed_over: Arc<AtomicU64>,
    /// What each regular file was at first; `None` for any other input.
    snapshots: Arc<Vec<Option<Snapshot>>>,
    /// The index of each input that was opened, and a digest of what was read of it.
    digests: Arc<Mutex<Vec<(usize, InputDigest)>>>,
}

/// The number and the hash of the bytes read from one input.
#[derive(Debug, Clone, Default)]
struct InputDigest {
    bytes: u64,
    hash: Sha256,
    /// Whether its end was reached.
    at_end: bool,
    /// The file, if it is a regular one.
    file: Option<Arc<File>>,
}

/// What tells whether a file has been changed or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Snapshot {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl Snapshot {
    /// The snapshot that `metadata` gives; `None` if it is not of a regular file.
    fn new(metadata: &Metadata) -> Option<Snapshot> {
        metadata.is_file().then(|| Snapshot {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// One file, or standard input.
#[derive(Debug, Clone)]
pub enum Input {
    /// A regular file, a pipe or a device.
    File(PathBuf),
    /// Standard input, spelled `-`.
    Stdin,
    /// A stream that the calling program supplies. It can be read only once.
    Reader(InputReader),
    /// A copy, in an unnamed temporary file, of an input that can be read only once, and the name of that input.
    Spooled(Arc<File>, String),
}

/// A stream that the calling program supplies instead of a file. Clones share it, and only the first to be opened
/// reads it.
#[derive(Clone)]
pub struct InputReader {
    source: Arc<Mutex<Option<Box<dyn AsyncRead + Send + Unpin>>>>,
    name: String,
}

impl InputReader {
    /// Wrap `source`; errors and reports call it `name`.
    pub fn new(source: impl AsyncRead + Send + Unpin + 'static, name: &str) -> Self {
        InputReader { source: Arc::new(Mutex::new(Some(Box::new(source)))), name: name.to_owned() }
    }

    /// The name of the stream in errors and reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Open the stream, to be read on a thread that may block on the runtime.
    fn open(&self) -> Result<ByteSource> {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner).take();
        let source = source.ok_or_else(|| {
            Error::usage(format!("{} has already been read", self.name))
                .with_help("give each load its own reader")
        })?;
        Ok(Box::new(SyncIoBridge::new(source)))
    }
}

impl fmt::Debug for InputReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputReader").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Inputs {
    /// A single input that reads from `reader`.
    pub fn from_reader(reader: InputReader) -> Self {
        Inputs { list: vec![Input::Reader(reader)], ..Inputs::default() }
    }

    /// Resolve `names`: `-`, paths, and patterns such as `data/*.csv.gz`, whose matches are sorted.
    ///
    /// A path that exists is never treated as a pattern. Every regular file is opened once, so that an unreadable one
    /// fails before anything is loaded.
    ///
    /// # Errors
    /// When a file is missing, is a directory or cannot be read, when a pattern matches nothing, or when standard input
    /// is given twice.
    pub fn resolve(names: &[PathBuf]) -> Result<Self> {
        let list = Inputs::expand(names)?;
        let snapshots = list.iter().map(Input::snapshot).collect::<Result<Vec<_>>>()?;
        let size =
            snapshots.iter().try_fold(0_u64, |size, snapshot| size.checked_add(snapshot.as_ref()?.bytes));
        Ok(Inputs { list, size, snapshots: snapshots.into(), ..Inputs::default() })
    }

    /// Expand `names` to inputs, without checking that they can be read.
    ///
    /// # Errors
    /// When a pattern matches nothing, a name is a URL, or standard input is given twice.
    pub fn expand(names: &[PathBuf]) -> Result<Vec<Input>> {
        let mut list = Vec::new();
        for name in names {
            match name.to_str() {
                Some("-") if list.iter().any(|input| matches!(input, Input::Stdin)) => {
                    return Err(Error::usage("standard input (-) is given twice")
                        .with_help("it can only be read once"));
                }
                Some("-") => list.push(Input::Stdin),
                // It is not quoted, because it may contain a password.
                Some(text) if text.contains("://") && !name.exists() => {
                    let help = match text.split(':').next() {
                        Some("postgres" | "postgresql") => {
                            "name the server with --database-url or DATABASE_URL"
                        }
                        _ => "pipe it in: curl -fsSL URL | postgres-etl load -",
                    };
                    return Err(Error::usage("a file is expected, not a URL").with_help(help));
                }
                Some(pattern) if pattern.contains(['*', '?', '[']) && !name.exists() => {
                    list.extend(matches(pattern)?.into_iter().map(Input::File));
                }
                _ => list.push(Input::File(name.clone())),
            }
        }
        Ok(list)
    }

    /// Replace every input that can be read only once, such as standard input or a pipe, by a temporary copy.
    ///
    /// # Errors
    /// When such an input cannot be read, or there is no space for the copy.
    pub fn spooled(mut self) -> Result<Self> {
        for input in self.list.iter_mut().filter(|input| !input.can_be_read_again()) {
            let failed = |error: io::Error| {
                let directory = std::env::temp_dir();
                Error::input(format!("failed to copy {input} into {}: {error}", directory.display()))
                    .with_help("set TMPDIR to a directory with more free space")
            };
            // An unnamed file disappears with the process, however that ends.
            let mut copy = tempfile::tempfile().map_err(failed)?;
            let (mut source, _) = input.open()?;
            io::copy(&mut source, &mut copy).map_err(failed)?;
            *input = Input::Spooled(Arc::new(copy), input.name());
        }
        Ok(self)
    }

    /// Whether all inputs can be read more than once.
    pub fn can_be_read_again(&self) -> bool {
        self.list.iter().all(Input::can_be_read_again)
    }

    /// Whether input `index` can be read more than once.
    ///
    /// # Panics
    /// When there is no such input.
    pub(crate) fn is_rereadable(&self, index: usize) -> bool {
        self.list[index].can_be_read_again()
    }

    /// The same inputs, to be read again from the beginning, with all counts at 0.
    #[must_use]
    pub fn reopened(&self) -> Self {
        Inputs {
            list: self.list.clone(),
            size: self.size,
            snapshots: Arc::clone(&self.snapshots),
            ..Inputs::default()
        }
    }

    /// Input `index` by itself, which has been opened and is not opened again.
    ///
    /// # Panics
    /// When there is no such input.
    pub(crate) fn alone(&self, index: usize) -> Self {
        Inputs { list: vec![self.list[index].clone()], ..Inputs::default() }
    }

    /// Check that input `index`, which has been read to its end, is a file that has not changed since
    /// [`Inputs::resolve`], or not a file.
    ///
    /// # Errors
    /// When it has: what was read may be a part of it, or a mixture of two versions.
    ///
    /// # Panics
    /// When there is no such input.
    pub(crate) fn check_unchanged(&self, index: usize) -> Result<()> {
        let Some(before) = self.snapshots.get(index).copied().flatten() else { return Ok(()) };
        let digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, digest)) = digests.iter().rfind(|(opened, _)| *opened == index) else { return Ok(()) };
        let now = digest.file.as_ref().and_then(|file| Snapshot::new(&file.metadata().ok()?));
        if now == Some(before) && digest.bytes == before.bytes {
            return Ok(());
        }
        let (input, read) = (&self.list[index], digest.bytes);
        let now = now.map_or_else(|| "is gone".to_owned(), |now| format!("has {} bytes now", now.bytes));
        Err(Error::input(format!(
            "{input} changed while it was loaded: it had {} bytes at the start, {read} were read, and it {now}",
            before.bytes
        ))
        .with_help("load it when nothing writes to it any more")
        .at(Location::in_file(&self.name(index))))
    }

    /// Every input that was opened, in that order: its name, the number of stored bytes read from it, and their
    /// SHA-256 in hexadecimal, which is `None` unless it was read to its end.
    pub fn digests(&self) -> Vec<(String, u64, Option<String>)> {
        let digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let described = digests.iter().map(|(index, digest)| {
            let hash = hex(&digest.hash.clone().finalize());
            let known = self.snapshots.get(*index).copied().flatten();
            let is_whole = digest.at_end || known.is_some_and(|file| file.bytes == digest.bytes);
            (self.name(*index), digest.bytes, is_whole.then_some(hash))
        });
        described.collect()
    }

    /// The inputs, in the order in which they are read.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Input> {
        self.list.iter()
    }

    /// The name of input `index`, counted from 0, as it was given.
    ///
    /// # Panics
    /// When there is no such input.
    pub fn name(&self, index: usize) -> String {
        self.list[index].name()
    }

    /// The stored size of each input at first, in bytes; `None` for one that is not a regular file.
    pub(crate) fn sizes(&self) -> Vec<Option<u64>> {
        let size = |index: usize| Some((*self.snapshots.get(index)?)?.bytes);
        (0..self.list.len()).map(size).collect()
    }

    /// The total stored size in bytes, before decompression; `None` if any input is not a regular file.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Stored bytes read so far; of a compressed file, its compressed bytes.
    pub fn consumed(&self) -> u64 {
        self.consumed.load(Relaxed)
    }

    /// The time spent reading and decompressing so far.
    pub fn read_time(&self) -> Duration {
        Duration::from_nanos(self.read_nanoseconds.load(Relaxed))
    }

    /// Records passed over so far, because the first ones are to be skipped.
    pub fn passed_over(&self) -> u64 {
        self.passed_over.load(Relaxed)
    }

    /// Count a record as passed over.
    pub(crate) fn pass_over(&self) {
        self.passed_over.fetch_add(1, Relaxed);
    }

    /// Open input `index`, counted from 0, decompressing it if it is compressed and counting the stored bytes read.
    ///
    /// # Errors
    /// When it cannot be opened, or its compression format is not supported.
    ///
    /// # Panics
    /// When there is no such input.
    pub fn open(&self, index: usize) -> Result<ByteSource> {
        let (source, file) = self.list[index].open()?;
        let (count, digests) = (Arc::clone(&self.consumed), Arc::clone(&self.digests));
        let digest = InputDigest { file, ..InputDigest::default() };
        digests.lock().unwrap_or_else(PoisonError::into_inner).push((index, digest));
        let source = decompress(CountingReader { source, count, digests }, &self.name(index))?;
        Ok(Box::new(TimedReader { source, nanoseconds: Arc::clone(&self.read_nanoseconds) }))
    }
}

/// `bytes` in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The name of the input in messages, with control characters escaped.
impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.name()))
    }
}

/// Reads a file that others read too, at an offset of its own.
struct SpooledReader {
    file: Arc<File>,
    offset: u64,
}

impl Read for SpooledReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl Input {
    /// The name of the input, as it was given.
    pub fn name(&self) -> String {
        match self {
            Input::File(path) => path.display().to_string(),
            Input::Stdin => "standard input".to_owned(),
            Input::Reader(reader) => reader.name().to_owned(),
            Input::Spooled(_, name) => name.clone(),
        }
    }

    /// The bytes of the input as stored, and its file if it is a regular one.
    fn open(&self) -> Result<(ByteSource, Option<Arc<File>>)> {
        let source: ByteSource = match self {
            Input::File(path) => {
                let file = Arc::new(open(path)?);
                return Ok((Box::new(Arc::clone(&file)), Some(file)));
            }
            Input::Stdin => Box::new(io::stdin()),
            Input::Reader(reader) => reader.open()?,
            Input::Spooled(file, _) => Box::new(SpooledReader { file: Arc::clone(file), offset: 0 }),
        };
        Ok((source, None))
    }

    fn can_be_read_again(&self) -> bool {
        match self {
            Input::File(path) => path.is_file(),
            Input::Stdin | Input::Reader(_) => false,
            Input::Spooled(..) => true,
        }
    }

    fn snapshot(&self) -> Result<Option<Snapshot>> {
        let Input::File(path) = self else { return Ok(None) };
        // A pipe is not opened, because closing it again would discard its contents.
        match path.metadata() {
            Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => Ok(None),
            _ => Ok(open(path)?.metadata().ok().as_ref().and_then(Snapshot::new)),
        }
    }
}

/// The files that `pattern` matches, sorted.
fn matches(pattern: &str) -> Result<Vec<PathBuf>> {
    // As in a shell, so that hidden backup files of editors are not loaded.
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let paths = glob::glob_with(pattern, options).map_err(|error| {
        Error::input(format!("{pattern} is neither a file nor a valid pattern: {}", error.msg))
            .with_help("check the path; it is relative to the current directory")
    })?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| {
            let directory = error.path().to_owned();
            Error::io(ErrorKind::Input, "read directory", &directory, error.into())
        })?;
        if !path.is_dir() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Error::input(format!("no file matches {pattern}"))
            .with_help("check the pattern; it is relative to the current directory"));
    }
    Ok(files)
}

/// Open `path`, which must not be a directory.
fn open(path: &Path) -> Result<File> {
    let failed = |error: io::Error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let error = Error::io(ErrorKind::Input, "open", path, error);
        if missing {
            return error.with_help(
                "check the path, which is relative to the current directory; - is standard input",
            );
        }
        error
    };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(Error::input(format!("{} is a directory", escape_path(path)))
            .with_help(format!("name the files in it: '{}'", escape_path(&path.join("*.csv")))));
    }
    Ok(file)
}

/// Counts and hashes the bytes read through it.
struct CountingReader {
    source: ByteSource,
    count: Arc<AtomicU64>,
    digests: Arc<Mutex<Vec<(usize, InputDigest)>>>,
}

impl Read for CountingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.count.fetch_add(count as u64, Relaxed);
        // Inputs are read one after another, so the last one opened is the one being read.
        if let Some((_, digest)) = self.digests.lock().unwrap_or_else(PoisonError::into_inner).last_mut() {
            digest.bytes += count as u64;
            digest.at_end |= count == 0 && !buffer.is_empty();
            digest.hash.update(&buffer[..count]);
        }
        Ok(count)
    }
}

/// Measures the time of reading through it.
struct TimedReader {
    source: ByteSource,
    nanoseconds: Arc<AtomicU64>,
}

impl Read for TimedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let started = Instant::now();
        let result = self.source.read(buffer);
        self.nanoseconds.fetch_add(started.elapsed().as_nanos() as u64, Relaxed);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a,b\n1,2\n";

    #[test]
    fn stored_bytes_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.csv.zst");
        let stored = zstd::encode_all(TEXT.as_bytes(), 3).unwrap();
        std::fs::write(&path, &stored).unwrap();
        let inputs = Inputs::resolve(&[path]).unwrap();
        let mut text = String::new();
        inputs.open(0).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), inputs.consumed()), (TEXT, stored.len() as u64));
    }

    #[test]
    fn patterns_are_sorted_and_existing_names_are_not_patterns() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv", "c.txt", "[a].csv", "10.csv", ".hidden.csv"] {
            std::fs::write(directory.path().join(name), TEXT).unwrap();
        }
        std::fs::create_dir(directory.path().join("d.csv")).unwrap();
        let names = |pattern: &str| {
            Inputs::resolve(&[directory.path().join(pattern)]).map(|inputs| {
                let path = |input: &Input| match input {
                    Input::File(path) => path.file_name().unwrap().to_str().unwrap().to_owned(),
                    Input::Stdin | Input::Reader(_) | Input::Spooled(..) => "-".to_owned(),
                };
                assert_eq!(inputs.size(), Some(inputs.iter().len() as u64 * TEXT.len() as u64));
                inputs.iter().map(path).collect::<Vec<_>>()
            })
        };
        assert_eq!(names("*.csv").unwrap(), ["10.csv", "[a].csv", "a.csv", "b.csv"]);
        assert_eq!(names("[a].csv").unwrap(), ["[a].csv"]);
        assert_eq!(names("[ab].csv").unwrap(), ["a.csv", "b.csv"]);
        assert!(names("*.tsv").unwrap_err().to_string().starts_with("no file matches "));
        assert!(names("e.csv").unwrap_err().to_string().starts_with("failed to open "));
        assert!(names("d.csv").unwrap_err().to_string().ends_with("d.csv is a directory"));
        assert_eq!(Inputs::resolve(&["-".into()]).unwrap().size(), None);
        assert!(Inputs::resolve(&["-".into(), "-".into()]).is_err());
    }
}

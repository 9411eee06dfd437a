//! Names on the command line → streams of bytes: files, patterns, standard input, unpacked if need be.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;

use crate::error::ErrorKind;
use crate::{Error, Result};

/// How much of a compressed file is read at once, in bytes.
const COMPRESSED_BLOCK: usize = 64 * 1024;

/// A stream of unpacked bytes, for whichever thread reads it.
pub type Source = Box<dyn Read + Send>;

/// What a load reads, in its order.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    list: Vec<Input>,
    size: Option<u64>,
    /// Bytes read so far, as they are stored.
    consumed: Arc<AtomicU64>,
    /// The content of each that was opened, as far as it was read.
    contents: Arc<Mutex<Vec<(usize, Content)>>>,
}

/// What was read of one input.
#[derive(Debug, Clone, Default)]
struct Content {
    bytes: u64,
    hash: Sha256,
}

/// One file, or standard input.
#[derive(Debug, Clone)]
pub enum Input {
    /// A regular file, a pipe or a device.
    File(PathBuf),
    /// Standard input, which is written `-`.
    Stdin,
    /// What a program hands over, and can be read only once.
    Reader(Reader),
    /// A copy of what can be read only once, in a file without a name, and what errors call it.
    Spooled(Arc<File>, String),
}

/// A stream that a program hands over instead of a file. It is read once, whichever clone comes first.
#[derive(Clone)]
pub struct Reader {
    source: Arc<Mutex<Option<Box<dyn AsyncRead + Send + Unpin>>>>,
    name: String,
}

impl Reader {
    /// `source`, which errors and reports call `name`.
    pub fn new(source: impl AsyncRead + Send + Unpin + 'static, name: &str) -> Self {
        Reader { source: Arc::new(Mutex::new(Some(Box::new(source)))), name: name.to_owned() }
    }

    /// What errors and reports call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stream, for a thread on which the runtime may be waited for.
    fn open(&self) -> Result<Source> {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner).take();
        let source = source.ok_or_else(|| {
            Error::usage(format!("{} was read before", self.name))
                .with_help("give every load a reader of its own")
        })?;
        Ok(Box::new(SyncIoBridge::new(source)))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Inputs {
    /// What `reader` yields.
    pub fn from_reader(reader: Reader) -> Self {
        Inputs { list: vec![Input::Reader(reader)], ..Inputs::default() }
    }

    /// Find what `names` mean: `-`, paths, and patterns such as `data/*.csv.gz`, whose matches are sorted.
    ///
    /// A path that exists is taken as it is, even if it would be a pattern too. Every file is opened once, so
    /// that one that cannot be read is known before anything is loaded.
    ///
    /// # Errors
    /// When a file is missing, a directory or may not be read, a pattern matches nothing, or standard input
    /// is named twice.
    pub fn resolve(names: &[PathBuf]) -> Result<Self> {
        let list = Inputs::find(names)?;
        let mut size = Some(0);
        for input in &list {
            size = size.zip(input.size()?).map(|(sum, size)| sum + size);
        }
        Ok(Inputs { list, size, ..Inputs::default() })
    }

    /// What `names` mean, without a look at whether it can be read.
    ///
    /// # Errors
    /// When a pattern matches nothing, or standard input is named twice.
    pub fn find(names: &[PathBuf]) -> Result<Vec<Input>> {
        let mut list = Vec::new();
        for name in names {
            match name.to_str() {
                Some("-") if list.iter().any(|input| matches!(input, Input::Stdin)) => {
                    return Err(Error::usage("standard input, -, is named twice")
                        .with_help("it can be read once only"));
                }
                Some("-") => list.push(Input::Stdin),
                Some(pattern) if pattern.contains(['*', '?', '[']) && !name.exists() => {
                    list.extend(matches(pattern)?.into_iter().map(Input::File));
                }
                _ => list.push(Input::File(name.clone())),
            }
        }
        Ok(list)
    }

    /// The same, with a copy of what comes by standard input or a pipe, so that it can be read more than once.
    ///
    /// # Errors
    /// When it cannot be read, or there is no room for it.
    pub fn spooled(mut self) -> Result<Self> {
        for input in self.list.iter_mut().filter(|input| !input.can_be_read_again()) {
            let failed = |error: io::Error| {
                let place = std::env::temp_dir();
                Error::input(format!("failed to copy {input} into {}: {error}", place.display()))
                    .with_help("name a directory with more room in the variable TMPDIR")
            };
            // Without a name it goes with the process, however that ends.
            let mut copy = tempfile::tempfile().map_err(failed)?;
            io::copy(&mut input.open()?, &mut copy).map_err(failed)?;
            *input = Input::Spooled(Arc::new(copy), input.to_string());
        }
        Ok(self)
    }

    /// Whether all of them can be read once more.
    pub fn can_be_read_again(&self) -> bool {
        self.list.iter().all(Input::can_be_read_again)
    }

    /// The same, to be read once more from the beginning.
    #[must_use]
    pub fn again(&self) -> Self {
        Inputs { list: self.list.clone(), size: self.size, ..Inputs::default() }
    }

    /// Every input that was opened: its name, how many bytes of it were read, and the SHA-256 of these in
    /// hexadecimal.
    pub fn read(&self) -> Vec<(String, u64, String)> {
        let contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let described = contents.iter().map(|(index, content)| {
            let hash = content.hash.clone().finalize();
            let hex = hash.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
            (self.name(*index), content.bytes, hex)
        });
        described.collect()
    }

    /// The files, in the order in which they are read.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Input> {
        self.list.iter()
    }

    /// What errors call input number `index`.
    pub fn name(&self, index: usize) -> String {
        self.list[index].to_string()
    }

    /// How many bytes all of them have as they are stored; `None` where only reading will tell.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// How many of these bytes have been read so far; for a compressed file, of its compressed bytes.
    pub fn consumed(&self) -> u64 {
        self.consumed.load(Relaxed)
    }

    /// Open input number `index`, counting what is read of it.
    ///
    /// # Errors
    /// When it cannot be opened, or is packed in a way that is not read.
    pub fn open(&self, index: usize) -> Result<Source> {
        let source = self.list[index].open()?;
        let (count, contents) = (Arc::clone(&self.consumed), Arc::clone(&self.contents));
        contents.lock().unwrap_or_else(PoisonError::into_inner).push((index, Content::default()));
        unpack(Counted { source, count, contents }, &self.name(index))
    }
}

/// As errors name it.
impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::File(path) => path.display().fmt(f),
            Input::Stdin => f.write_str("standard input"),
            Input::Reader(reader) => f.write_str(reader.name()),
            Input::Spooled(_, name) => f.write_str(name),
        }
    }
}

/// Reads a file that others read too, each from where it is itself.
struct Shared {
    file: Arc<File>,
    offset: u64,
}

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl Input {
    fn open(&self) -> Result<Source> {
        Ok(match self {
            Input::File(path) => Box::new(open(path)?),
            Input::Stdin => Box::new(io::stdin()),
            Input::Reader(reader) => reader.open()?,
            Input::Spooled(file, _) => Box::new(Shared { file: Arc::clone(file), offset: 0 }),
        })
    }

    fn can_be_read_again(&self) -> bool {
        match self {
            Input::File(path) => path.is_file(),
            Input::Stdin | Input::Reader(_) => false,
            Input::Spooled(..) => true,
        }
    }

    fn size(&self) -> Result<Option<u64>> {
        let Input::File(path) = self else { return Ok(None) };
        // A pipe is not opened, because what was written to it would be gone.
        match path.metadata() {
            Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => Ok(None),
            _ => Ok(open(path)?.metadata().ok().map(|metadata| metadata.len())),
        }
    }
}

/// The files that `pattern` matches, sorted.
fn matches(pattern: &str) -> Result<Vec<PathBuf>> {
    // As a shell does, so that no editor's hidden copy is loaded.
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let paths = glob::glob_with(pattern, options).map_err(|error| {
        Error::input(format!("{pattern} is neither a file nor a pattern: {}", error.msg))
            .with_help("check the path; it starts at the current directory")
    })?;
    let mut files = Vec::new();
    for path in paths {
        let path =
            path.map_err(|error| Error::io(ErrorKind::Input, "look into", error.path(), error.error()))?;
        if !path.is_dir() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Error::input(format!("no file matches {pattern}"))
            .with_help("check the pattern; it starts at the current directory"));
    }
    Ok(files)
}

/// Open `path`, which has to be something that can be read.
fn open(path: &Path) -> Result<File> {
    let failed = |error: io::Error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let error = Error::io(ErrorKind::Input, "open", path, &error);
        if missing {
            return error
                .with_help("check the path, which starts at the current directory; - is standard input");
        }
        error
    };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(Error::input(format!("{} is a directory", path.display()))
            .with_help(format!("name files in it: '{}'", path.join("*.csv").display())));
    }
    Ok(file)
}

/// Tell by its first bytes how `source` is packed, if it is, and unpack it.
fn unpack(mut source: Counted, name: &str) -> Result<Source> {
    const LONGEST_MAGIC: u64 = 6;
    let mut head = Vec::new();
    source
        .by_ref()
        .take(LONGEST_MAGIC)
        .read_to_end(&mut head)
        .map_err(|error| Error::input(format!("failed to read {name}: {error}")))?;
    let packed_as = Format::of(&head);
    let source = Cursor::new(head).chain(source);
    let buffered = |source| BufReader::with_capacity(COMPRESSED_BLOCK, source);
    let unpacked: Source = match packed_as {
        None => return Ok(Box::new(source)),
        // Both go on with the next member or frame where one ends.
        Some(Format::Gzip) => Box::new(MultiGzDecoder::new(buffered(source))),
        Some(Format::Zstd) => {
            let decoder = zstd::stream::read::Decoder::with_buffer(buffered(source));
            Box::new(decoder.map_err(|error| Error::input(format!("failed to unpack {name}: {error}")))?)
        }
        Some(Format::Foreign(format)) => {
            return Err(Error::input(format!("{name} is packed with {format}, which is not read"))
                .with_help("unpack it first, or pack it with gzip or zstd"));
        }
    };
    let format = if packed_as == Some(Format::Gzip) { "gzip" } else { "zstd" };
    Ok(Box::new(Unpacked { source: unpacked, format }))
}

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Gzip,
    Zstd,
    Foreign(&'static str),
}

impl Format {
    fn of(head: &[u8]) -> Option<Format> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Format::Gzip),
            // The second is a skippable frame, with which some tools begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Format::Zstd),
            b"\xfd7zXZ\0" => Some(Format::Foreign("xz")),
            [b'P', b'K', 3, 4, ..] => Some(Format::Foreign("zip")),
            _ => None,
        }
    }
}

/// Says of failures that the packing is at fault.
struct Unpacked {
    source: Source,
    format: &'static str,
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let format = self.format;
        self.source.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            // Or what follows is too short to tell.
            io::ErrorKind::UnexpectedEof => io::Error::other(format!(
                "its {format} data end in the middle: the file is not complete, or has something else at its end"
            )),
            // The beginning was looked at before, so this is about a later member or frame.
            _ if ["invalid gzip header", "Unknown frame descriptor"].contains(&&*error.to_string()) => {
                io::Error::other(format!("something that is not {format} follows its {format} data"))
            }
            _ => io::Error::other(format!("its {format} data are damaged: {error}")),
        })
    }
}

/// Counts what is read.
struct Counted {
    source: Source,
    count: Arc<AtomicU64>,
    contents: Arc<Mutex<Vec<(usize, Content)>>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.count.fetch_add(count as u64, Relaxed);
        // Inputs are read one after the other, so this is the last that was opened.
        if let Some((_, content)) = self.contents.lock().unwrap_or_else(PoisonError::into_inner).last_mut() {
            content.bytes += count as u64;
            content.hash.update(&buffer[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const TEXT: &str = "a,b\n1,2\n";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 3).unwrap()
    }

    fn read(bytes: &[u8]) -> Result<String, String> {
        let count = Arc::default();
        let counted = Counted {
            source: Box::new(Cursor::new(bytes.to_owned())),
            count: Arc::clone(&count),
            contents: Arc::default(),
        };
        let mut text = String::new();
        unpack(counted, "x")
            .map_err(|error| error.to_string())?
            .read_to_string(&mut text)
            .map_err(|error| error.to_string())?;
        assert_eq!(count.load(Relaxed), bytes.len() as u64, "all bytes are counted as they are stored");
        Ok(text)
    }

    #[test]
    fn packing_is_told_by_content() {
        let skippable = [b"\x52\x2a\x4d\x18\x03\0\0\0abc", &*zstd(TEXT.as_bytes())].concat();
        for bytes in [TEXT.as_bytes(), &gzip(TEXT.as_bytes()), &zstd(TEXT.as_bytes()), &skippable] {
            assert_eq!(read(bytes).as_deref(), Ok(TEXT));
        }
        for bytes in [&b""[..], &gzip(b""), &zstd(b"")] {
            assert_eq!(read(bytes).as_deref(), Ok(""));
        }
        assert_eq!(read(b"PK\x03\x04").unwrap_err(), "x is packed with zip, which is not read");
    }

    #[test]
    fn several_members_and_frames_are_one_text() {
        for pack in [gzip, zstd] {
            let (first, second) = TEXT.split_at(3);
            assert_eq!(
                read(&[pack(first.as_bytes()), pack(b""), pack(second.as_bytes())].concat()).as_deref(),
                Ok(TEXT)
            );
        }
    }

    #[test]
    fn damage_is_an_error_wherever_it_is() {
        for pack in [gzip, zstd] {
            let whole = pack(TEXT.repeat(100).as_bytes());
            for length in 8..whole.len() {
                let error = read(&whole[..length]).unwrap_err();
                assert!(error.contains("end in the middle"), "{length} of {}: {error}", whole.len());
            }
        }
        let mut damaged = gzip(TEXT.as_bytes());
        let checksum = damaged.len() - 8;
        damaged[checksum] ^= 1;
        assert!(read(&damaged).unwrap_err().starts_with("its gzip data are damaged: "));
        for (packed, format) in [(gzip(TEXT.as_bytes()), "gzip"), (zstd(TEXT.as_bytes()), "zstd")] {
            let behind = [&packed[..], b"rubbish and more"].concat();
            let expected = format!("something that is not {format} follows its {format} data");
            assert_eq!(read(&behind).unwrap_err(), expected);
        }
        let behind = [gzip(TEXT.as_bytes()), b"\n".to_vec()].concat();
        assert!(read(&behind).unwrap_err().ends_with("or has something else at its end"));
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

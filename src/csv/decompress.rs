//! Decompression of gzip, zstd, bzip2 and xz, recognized by their first bytes.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;

use crate::{Error, Result};

/// A stream of bytes that can be read on any thread.
pub type ByteSource = Box<dyn Read + Send>;

/// The size of one read from a compressed file, in bytes.
const COMPRESSED_BLOCK: usize = 64 * 1024;

/// The base-2 logarithm of the largest window of a zstd frame: that of `zstd --long=31`, the largest there is. The
/// decoder allocates only the window that a frame names.
const LARGEST_WINDOW: u32 = 31;

/// Decompress `source`, which errors call `name`, if its first bytes are those of a compression format.
///
/// # Errors
/// When `source` cannot be read, or its compression format is not supported.
pub(super) fn decompress(mut source: impl Read + Send + 'static, name: &str) -> Result<ByteSource> {
    let (head, failed) = read_head(&mut source);
    if let Some(error) = failed {
        return Err(Error::input(format!("failed to read {name}: {error}")));
    }
    let compression = Compression::detect(&head);
    let source = Cursor::new(head).chain(source);
    let buffered = |source| BufReader::with_capacity(COMPRESSED_BLOCK, source);
    let decompressed: ByteSource = match compression {
        None => return Ok(Box::new(source)),
        Some(Compression::Gzip) => Box::new(GzipReader { member: Some(GzDecoder::new(buffered(source))) }),
        // The decoder continues with the next frame where one ends.
        Some(Compression::Zstd) => {
            let decoder =
                zstd::stream::read::Decoder::with_buffer(buffered(source)).and_then(|mut decoder| {
                    decoder.window_log_max(LARGEST_WINDOW)?;
                    Ok(decoder)
                });
            Box::new(decoder.map_err(|error| Error::input(format!("failed to decompress {name}: {error}")))?)
        }
        Some(Compression::Bzip2) => Box::new(MultiBzDecoder::new(buffered(source))),
        Some(Compression::Xz) => Box::new(XzReader::new(buffered(source), true)),
        Some(Compression::Unsupported(format)) => {
            return Err(Error::input(format!("{name} is {format}-compressed, which is not supported"))
                .with_help("decompress it first, or compress it with gzip or zstd"));
        }
        Some(Compression::Other(what, help)) => {
            return Err(Error::input(format!("{name} is {what}, not CSV")).with_help(help));
        }
    };
    let format = match compression {
        Some(Compression::Gzip) => "gzip",
        Some(Compression::Bzip2) => "bzip2",
        Some(Compression::Xz) => "xz",
        _ => "zstd",
    };
    refuse_packed_archive(DecompressingReader { source: decompressed, format }, name)
}

/// `source`, unless what it decompresses is an archive of files.
fn refuse_packed_archive(mut source: DecompressingReader, name: &str) -> Result<ByteSource> {
    let (head, failed) = read_head(&mut source);
    if let Some(Compression::Other(TAR, _)) = Compression::detect(&head) {
        return Err(Error::input(format!("{name} is {TAR}, {}-compressed, not CSV", source.format))
            .with_help(UNPACK_TAR));
    }
    // An error comes after what was read before it, where its line is known.
    let failed = FailingReader(failed);
    Ok(Box::new(Cursor::new(head).chain(failed).chain(source)))
}

/// The beginning of `source`, and the error that ended it. There are at least [`MAGIC`] bytes, unless it ends or fails before,
/// and at most [`HEAD`]: a pipe that has no more for now is not waited for.
fn read_head(source: &mut impl Read) -> (Vec<u8>, Option<io::Error>) {
    let (mut head, mut length, mut failed) = (vec![0; HEAD], 0, None);
    while length < MAGIC {
        match source.read(&mut head[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    head.truncate(length);
    (head, failed)
}

/// Fails once, if there is an error.
struct FailingReader(Option<io::Error>);

impl Read for FailingReader {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Reads the members of a gzip file one after another, and ignores zero bytes at its end, as gzip does: tapes and block
/// devices pad files with them.
struct GzipReader<R> {
    /// `None` at the end of the file.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(mut rest) = self.member.take().map(GzDecoder::into_inner) else { break };
            let is_padded = skip_zeros(&mut rest)?;
            if rest.fill_buf()?.is_empty() {
                break;
            }
            if is_padded {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "invalid gzip header"));
            }
            self.member = Some(GzDecoder::new(rest));
        }
        Ok(0)
    }
}

/// Skip zero bytes, and return whether there were any.
fn skip_zeros(source: &mut impl BufRead) -> io::Result<bool> {
    let mut found = false;
    loop {
        let available = source.fill_buf()?;
        let zeros = available.iter().take_while(|byte| **byte == 0).count();
        if zeros == 0 {
            return Ok(found);
        }
        found = true;
        source.consume(zeros);
    }
}

/// The compression format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
    /// One that is recognized but not supported.
    Unsupported(&'static str),
    /// A format that is not one of compressed text: what it is, and what to do.
    Other(&'static str, &'static str),
}

/// The number of bytes by which most formats are recognized.
const MAGIC: usize = 6;

/// The number of bytes that are looked at where they are there: a tar archive says what it is after its first entry's fields.
const HEAD: usize = 265;

/// The remedy for a file of tables that is not CSV.
const CONVERT: &str = "convert it to CSV first, for example with DuckDB or pandas";

/// What an archive of files is called, and the remedy.
const TAR: &str = "a tar archive";
const UNPACK_TAR: &str =
    "unpack it, or load a file in it: tar -xOf ARCHIVE FILE | postgres-etl load - --table TABLE";

/// The remedy for a workbook.
const SAVE_SHEET: &str = "open it in its program, and save the sheet as CSV in UTF-8";

/// What HTML and XML begin with.
const MARKUP: [&[u8]; 6] = [b"<!DOCT", b"<!doct", b"<html>", b"<html ", b"<HTML>", b"<?xml "];

/// The remedy for other archives.
const UNPACK: &str = "unpack it first";

impl Compression {
    fn detect(head: &[u8]) -> Option<Compression> {
        if head.get(257..262) == Some(b"ustar") {
            return Some(Compression::Other(TAR, UNPACK_TAR));
        }
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Compression::Gzip),
            // The second pattern is a skippable frame, with which some tools begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Compression::Zstd),
            [b'P', b'K', 3, 4, ..] => Some(Compression::of_zip(head)),
            [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => Some(Compression::Other("a 7z archive", UNPACK)),
            [b'R', b'a', b'r', b'!', 0x1a, 7, ..] => Some(Compression::Other("a RAR archive", UNPACK)),
            [b'P', b'A', b'R', b'1', ..] => Some(Compression::Other(
                "a Parquet file",
                "convert it first, for example with DuckDB: COPY (FROM 'x.parquet') TO 'x.csv'",
            )),
            [b'P', b'G', b'D', b'M', b'P', ..] => {
                Some(Compression::Other("a dump of pg_dump", "restore it with pg_restore"))
            }
            [b'P', b'G', b'C', b'O', b'P', b'Y', ..] => Some(Compression::Other(
                "a file of COPY in binary format",
                "load it with psql: \\copy TABLE FROM FILE (FORMAT binary)",
            )),
            [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Some(Compression::Other("an Arrow file", CONVERT)),
            [b'O', b'b', b'j', 1, ..] => Some(Compression::Other("an Avro file", CONVERT)),
            [b'O', b'R', b'C', 0x08..=0x0f, ..] => Some(Compression::Other("an ORC file", CONVERT)),
            [b'S', b'Q', b'L', b'i', b't', b'e', ..] => Some(Compression::Other(
                "an SQLite database",
                "export its tables: sqlite3 -csv -header FILE 'SELECT * FROM t' | postgres-etl load -",
            )),
            [0xd0, 0xcf, 0x11, 0xe0, ..] => {
                Some(Compression::Other("an Office file, perhaps an .xls workbook", SAVE_SHEET))
            }
            [b'%', b'P', b'D', b'F', ..] => {
                Some(Compression::Other("a PDF document", "get the data in another form"))
            }
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Compression::Unsupported("LZ4")),
            [0x1f, 0x9d, ..] => Some(Compression::Unsupported("compress(1)")),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Compression::Xz),
            // The digit is the size of a block; pi begins the first one, the root of pi the end if there is none.
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, ..] => Some(Compression::Bzip2),
            _ if MARKUP.iter().any(|start| head.starts_with(start)) => Some(Compression::Other(
                "an HTML or XML document",
                "a download may have returned an error or a login page: look into it",
            )),
            _ => None,
        }
    }

    /// What the ZIP archive that begins with `head` is, by the name of its first file.
    fn of_zip(head: &[u8]) -> Compression {
        let first = head.get(30..).unwrap_or_default();
        let starts = |names: &[&str]| names.iter().any(|name| first.starts_with(name.as_bytes()));
        if starts(&["[Content_Types].xml", "_rels/", "docProps/", "xl/", "mimetypeapplication/vnd.oasis"]) {
            return Compression::Other("a workbook or another Office document", SAVE_SHEET);
        }
        Compression::Other(
            "a ZIP archive",
            "unpack it, or load the file in it: unzip -p ARCHIVE | postgres-etl load - --table TABLE",
        )
    }
}

/// What the decoders say of data that follow the last member, frame or stream.
const OTHER_DATA: [&str; 4] = [
    "invalid gzip header",
    "Unknown frame descriptor",
    "bzip2: bz2 header missing",
    "invalid data after stream",
];

/// Adds to read errors that the compressed data are at fault.
struct DecompressingReader {
    source: ByteSource,
    format: &'static str,
}

impl Read for DecompressingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let format = self.format;
        self.source.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            // Other data at the end look the same if they are shorter than the header of a member or frame.
            io::ErrorKind::UnexpectedEof => io::Error::other(format!(
                "its {format} data end prematurely: the file is truncated, or has other data at its end"
            )),
            // The first header is valid, so this is about a later member or frame.
            _ if OTHER_DATA.contains(&&*error.to_string()) => {
                io::Error::other(format!("its {format} data are followed by something that is not {format}"))
            }
            _ => io::Error::other(format!("its {format} data are corrupt: {error}")),
        })
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

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder =
            lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    type Compress = fn(&[u8]) -> Vec<u8>;

    /// Every compression, and its name.
    const ALL: [(Compress, &str); 4] = [(gzip, "gzip"), (zstd, "zstd"), (bzip2, "bzip2"), (xz, "xz")];

    fn read(bytes: &[u8]) -> Result<String, String> {
        let mut text = String::new();
        decompress(Cursor::new(bytes.to_owned()), "x")
            .map_err(|error| error.to_string())?
            .read_to_string(&mut text)
            .map_err(|error| error.to_string())?;
        Ok(text)
    }

    #[test]
    fn compression_is_recognized_by_content() {
        let skippable = [b"\x52\x2a\x4d\x18\x03\0\0\0abc", &*zstd(TEXT.as_bytes())].concat();
        for bytes in [TEXT.as_bytes(), &skippable] {
            assert_eq!(read(bytes).as_deref(), Ok(TEXT));
        }
        for (compress, format) in ALL {
            assert_eq!(read(&compress(TEXT.as_bytes())).as_deref(), Ok(TEXT), "{format}");
            assert_eq!(read(&compress(b"")).as_deref(), Ok(""), "{format}");
        }
        let zip = |name: &str| [&b"PK\x03\x04"[..], &[0; 26], name.as_bytes()].concat();
        assert_eq!(read(&zip("orders.csv")).unwrap_err(), "x is a ZIP archive, not CSV");
        for first in ["[Content_Types].xml", "_rels/.rels", "mimetypeapplication/vnd.oasis.opendocument"] {
            assert_eq!(read(&zip(first)).unwrap_err(), "x is a workbook or another Office document, not CSV");
        }
        let tar = [&b"orders.csv"[..], &[0; 247], b"ustar\x0000"].concat();
        assert_eq!(read(&tar).unwrap_err(), "x is a tar archive, not CSV");
        for (compress, format) in ALL {
            let expected = format!("x is a tar archive, {format}-compressed, not CSV");
            assert_eq!(read(&compress(&tar)).unwrap_err(), expected);
        }
        assert_eq!(read(b"PAR1\x15\x04").unwrap_err(), "x is a Parquet file, not CSV");
        for (head, what) in [
            (&b"PGDMP\x01"[..], "a dump of pg_dump"),
            (b"PGCOPY\n\xff\r\n\0", "a file of COPY in binary format"),
            (b"ARROW1\0\0", "an Arrow file"),
            (b"7z\xbc\xaf\x27\x1c\0\x04", "a 7z archive"),
            (b"Rar!\x1a\x07\x01\0", "a RAR archive"),
            (b"Obj\x01\x04\x14", "an Avro file"),
            (b"ORC\x0a\x03\0", "an ORC file"),
            (b"SQLite format 3\0", "an SQLite database"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office file, perhaps an .xls workbook"),
            (b"%PDF-1.7", "a PDF document"),
            (b"<!DOCTYPE html>", "an HTML or XML document"),
            (b"<?xml version", "an HTML or XML document"),
        ] {
            assert_eq!(read(head).unwrap_err(), format!("x is {what}, not CSV"));
        }
        for text in [&b"ORC,Obj\n"[..], b"ARROW\n", b"<a>,<b>\n", b"PG,1\n"] {
            assert!(read(text).is_ok(), "{text:?}");
        }
        assert_eq!(read(b"\x1f\x9d\x90").unwrap_err(), "x is compress(1)-compressed, which is not supported");
    }

    #[test]
    fn several_members_and_frames_are_one_text() {
        for (compress, _) in ALL {
            let (first, second) = TEXT.split_at(3);
            assert_eq!(
                read(&[compress(first.as_bytes()), compress(b""), compress(second.as_bytes())].concat())
                    .as_deref(),
                Ok(TEXT)
            );
        }
    }

    #[test]
    fn zeros_at_the_end_of_a_gzip_file_are_padding() {
        let once = gzip(TEXT.as_bytes());
        for zeros in [1, 512, 200_000] {
            let padded = [&once[..], &once, &vec![0; zeros]].concat();
            assert_eq!(read(&padded).unwrap(), TEXT.repeat(2), "{zeros}");
        }
    }

    #[test]
    fn the_largest_window_of_zstd_is_read() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.long_distance_matching(true).unwrap();
        encoder.window_log(31).unwrap();
        encoder.write_all(TEXT.as_bytes()).unwrap();
        assert_eq!(read(&encoder.finish().unwrap()).as_deref(), Ok(TEXT));
    }

    #[test]
    fn damage_is_an_error_wherever_it_occurs() {
        for (compress, format) in ALL {
            let whole = compress(TEXT.repeat(100).as_bytes());
            for length in 8..whole.len() {
                let error = read(&whole[..length]).unwrap_err();
                assert!(error.contains("end prematurely"), "{format}, {length} of {}: {error}", whole.len());
            }
        }
        let mut damaged = gzip(TEXT.as_bytes());
        let checksum = damaged.len() - 8;
        damaged[checksum] ^= 1;
        assert!(read(&damaged).unwrap_err().starts_with("its gzip data are corrupt: "));
        for (compress, format) in ALL {
            let followed = [&compress(TEXT.as_bytes())[..], b"rubbish and more"].concat();
            let expected = format!("its {format} data are followed by something that is not {format}");
            assert_eq!(read(&followed).unwrap_err(), expected);
        }
        let padded = [&gzip(TEXT.as_bytes())[..], &[0; 700], &gzip(TEXT.as_bytes())].concat();
        assert!(read(&padded).unwrap_err().ends_with("followed by something that is not gzip"));
        let followed = [gzip(TEXT.as_bytes()), b"\n".to_vec()].concat();
        assert!(read(&followed).unwrap_err().ends_with("or has other data at its end"));
    }
}

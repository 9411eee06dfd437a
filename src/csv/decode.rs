//! Other encodings → UTF-8, keeping the original bytes of every record.
//!
//! The whole stream is decoded before it is split, since in some encodings a byte that looks like a quote is
//! half of a letter. Re-encoding a record would not give its bytes back: some characters have several codes,
//! and some that can be read cannot be written. But in every encoding accepted here a line feed or carriage
//! return is its own byte (or pair of bytes) and nothing else is, so the original of a record is found by
//! counting its line ends.

use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_16BE, UTF_16LE};
use memchr::memchr2_iter;

use crate::csv::limits::{BLOCK, LONGEST_MARK};

/// Decodes a stream, and remembers what the decoded part looked like.
#[derive(Debug)]
pub(super) struct Decoding {
    encoding: &'static Encoding,
    decoder: Decoder,
    /// Original bytes: of records already given out up to `taken`, decoded up to `decoded`, read up to
    /// `filled`.
    original: Vec<u8>,
    taken: usize,
    decoded: usize,
    filled: usize,
    /// The byte order mark's length.
    mark_bytes: usize,
    at_start: bool,
    at_end: bool,
    /// Whether the decoder has been told of the end and has given all.
    finished: bool,
}

/// Stands for bytes that mean nothing in the encoding. It never occurs in UTF-8, so whoever reads the value finds
/// it wrong, and the records before and behind it are read all the same.
const MALFORMED: u8 = 0xff;

impl Decoding {
    /// What [`Decoding::read`] needs to make progress: one character, and what a decoder holds back.
    pub(super) const LEAST_ROOM: usize = 16;

    pub(super) fn new(encoding: &'static Encoding) -> Self {
        Decoding {
            encoding,
            decoder: encoding.new_decoder_without_bom_handling(),
            original: Vec::new(),
            taken: 0,
            decoded: 0,
            filled: 0,
            mark_bytes: 0,
            at_start: true,
            at_end: false,
            finished: false,
        }
    }

    /// Read from `input` and decode into `text`; 0 at the end.
    pub(super) fn read(&mut self, input: &mut impl Read, text: &mut [u8]) -> io::Result<usize> {
        if self.at_start {
            self.read_mark(input)?;
        }
        while !self.finished {
            let rest = &self.original[self.decoded..self.filled];
            let room = text.len() - 1;
            let (result, read, mut written) =
                self.decoder.decode_to_utf8_without_replacement(rest, &mut text[..room], self.at_end);
            self.decoded += read;
            match result {
                DecoderResult::InputEmpty => self.finished = self.at_end,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => {
                    text[written] = MALFORMED;
                    written += 1;
                }
            }
            if written > 0 {
                return Ok(written);
            }
            if result == DecoderResult::InputEmpty && !self.finished {
                self.read_more(input)?;
            }
        }
        Ok(0)
    }

    /// Read the first bytes and pass over a byte order mark.
    fn read_mark(&mut self, input: &mut impl Read) -> io::Result<()> {
        while self.filled < LONGEST_MARK && !self.at_end {
            self.read_more(input)?;
        }
        self.at_start = false;
        let Some((found, length)) = Encoding::for_bom(&self.original[..self.filled]) else { return Ok(()) };
        // `utf-16` does not say in which order the bytes are; the mark does.
        if found != self.encoding && !(is_utf16(found) && is_utf16(self.encoding)) {
            return Err(io::Error::other(format!(
                "it begins with the byte order mark of {}, but is to be read as {}",
                found.name(),
                self.encoding.name()
            )));
        }
        self.encoding = found;
        self.decoder = found.new_decoder_without_bom_handling();
        (self.mark_bytes, self.taken, self.decoded) = (length, length, length);
        Ok(())
    }

    fn read_more(&mut self, input: &mut impl Read) -> io::Result<()> {
        self.original.copy_within(self.taken..self.filled, 0);
        self.decoded -= self.taken;
        self.filled -= self.taken;
        self.taken = 0;
        if self.original.len() - self.filled < BLOCK / 2 {
            self.original.resize(self.filled + BLOCK, 0);
        }
        let count = input.read(&mut self.original[self.filled..])?;
        self.filled += count;
        self.at_end = count == 0;
        Ok(())
    }

    /// What the bytes are taken for.
    pub(super) fn encoding(&self) -> &'static Encoding {
        self.encoding
    }

    /// How long the byte order mark was.
    pub(super) fn mark_bytes(&self) -> u64 {
        self.mark_bytes as u64
    }

    /// Go behind the next `line_ends` line feeds and carriage returns, or to the end of what is decoded;
    /// returns where the bytes before it are, until the next read.
    pub(super) fn advance(&mut self, line_ends: Option<usize>) -> (usize, usize) {
        let (start, decoded) = (self.taken, &self.original[self.taken..self.decoded]);
        let length = line_ends.map(|line_ends| match self.encoding {
            wide if is_utf16(wide) => {
                let (units, _) = decoded.as_chunks::<2>();
                let is_line_end = |unit: &[u8; 2]| {
                    let unit =
                        if wide == UTF_16LE { u16::from_le_bytes(*unit) } else { u16::from_be_bytes(*unit) };
                    unit == 0x0a || unit == 0x0d
                };
                let found = units.iter().enumerate().filter(|(_, unit)| is_line_end(unit)).nth(line_ends - 1);
                found.map(|(at, _)| 2 * (at + 1))
            }
            _ => memchr2_iter(b'\n', b'\r', decoded).nth(line_ends - 1).map(|at| at + 1),
        });
        let length = match length {
            Some(length) => length.expect("what was decoded has the line ends of its text"),
            None => decoded.len(),
        };
        self.taken += length;
        (start, self.taken)
    }

    /// The bytes that [`Decoding::advance`] found.
    pub(super) fn original(&self, (start, end): (usize, usize)) -> &[u8] {
        &self.original[start..end]
    }
}

fn is_utf16(encoding: &'static Encoding) -> bool {
    encoding == UTF_16LE || encoding == UTF_16BE
}

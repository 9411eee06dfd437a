//! Other encodings → UTF-8, keeping the original bytes of every record.
//!
//! The whole stream is decoded before it is split, because in some encodings the second byte of a character may equal
//! a quote. Re-encoding a record would not restore its bytes: some characters have several codes, and some that can
//! be decoded cannot be encoded. But in every encoding accepted here, the code of a line feed or carriage return
//! occurs only as that character, so the original bytes of a record are found by counting its line endings.

use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_16BE, UTF_16LE};
use memchr::memchr2_iter;

use crate::csv::limits::{LONGEST_BOM, READ_BLOCK};

/// Decodes a stream to UTF-8 and keeps the original bytes of what has been decoded.
#[derive(Debug)]
pub(super) struct Utf8Transcoder {
    encoding: &'static Encoding,
    decoder: Decoder,
    /// Original bytes: returned up to `taken`, decoded up to `decoded`, read up to `filled`.
    original: Vec<u8>,
    taken: usize,
    decoded: usize,
    filled: usize,
    /// The length of the byte order mark; 0 if the stream has none.
    bom_bytes: usize,
    at_start: bool,
    at_end: bool,
    /// Whether the decoder has reached the end of the input and returned everything.
    finished: bool,
}

/// Replaces bytes that are malformed in the encoding. It never occurs in UTF-8, so the value is refused when it is
/// encoded, while the records around it are read normally.
const MALFORMED: u8 = 0xff;

impl Utf8Transcoder {
    /// The least room that [`Utf8Transcoder::read`] needs to make progress: one character, and what a decoder holds
    /// back.
    pub(super) const MIN_ROOM: usize = 16;

    pub(super) fn new(encoding: &'static Encoding) -> Self {
        Utf8Transcoder {
            encoding,
            decoder: encoding.new_decoder_without_bom_handling(),
            original: Vec::new(),
            taken: 0,
            decoded: 0,
            filled: 0,
            bom_bytes: 0,
            at_start: true,
            at_end: false,
            finished: false,
        }
    }

    /// Read from `input` and decode into `text`. Return the number of bytes written to it, 0 at the end.
    pub(super) fn read(&mut self, input: &mut impl Read, text: &mut [u8]) -> io::Result<usize> {
        if self.at_start {
            self.read_byte_order_mark(input)?;
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

    /// Read the first bytes and skip a byte order mark.
    fn read_byte_order_mark(&mut self, input: &mut impl Read) -> io::Result<()> {
        while self.filled < LONGEST_BOM && !self.at_end {
            self.read_more(input)?;
        }
        self.at_start = false;
        let Some((found, length)) = Encoding::for_bom(&self.original[..self.filled]) else { return Ok(()) };
        // The mark overrides the byte order: the label `utf-16` does not state one.
        if found != self.encoding && !(is_utf16(found) && is_utf16(self.encoding)) {
            return Err(io::Error::other(format!(
                "it begins with the byte order mark of {}, but the encoding is set to {}",
                found.name(),
                self.encoding.name()
            )));
        }
        self.encoding = found;
        self.decoder = found.new_decoder_without_bom_handling();
        (self.bom_bytes, self.taken, self.decoded) = (length, length, length);
        Ok(())
    }

    fn read_more(&mut self, input: &mut impl Read) -> io::Result<()> {
        self.original.copy_within(self.taken..self.filled, 0);
        self.decoded -= self.taken;
        self.filled -= self.taken;
        self.taken = 0;
        if self.original.len() - self.filled < READ_BLOCK / 2 {
            self.original.resize(self.filled + READ_BLOCK, 0);
        }
        let count = input.read(&mut self.original[self.filled..])?;
        self.filled += count;
        self.at_end = count == 0;
        Ok(())
    }

    /// The encoding of the input; the byte order mark may have changed it.
    pub(super) fn encoding(&self) -> &'static Encoding {
        self.encoding
    }

    /// The length of the byte order mark, in bytes.
    pub(super) fn bom_bytes(&self) -> u64 {
        self.bom_bytes as u64
    }

    /// Advance past the next `line_ends` line feeds and carriage returns or, if `None`, to the end of what has been
    /// decoded. Return the range of original bytes passed, which is valid until the next read.
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
            Some(length) => length.expect("the original bytes contain the line endings of the decoded text"),
            None => decoded.len(),
        };
        self.taken += length;
        (start, self.taken)
    }

    /// The original bytes in a range that [`Utf8Transcoder::advance`] returned.
    pub(super) fn original(&self, (start, end): (usize, usize)) -> &[u8] {
        &self.original[start..end]
    }
}

fn is_utf16(encoding: &'static Encoding) -> bool {
    encoding == UTF_16LE || encoding == UTF_16BE
}

//! Cuts files into pieces of whole records, so that several threads can split and encode them.
//!
//! A cut needs no more than the quotes before it: outside quotes a line feed ends a record, and inside, with the quote as
//! its own escape, it does not. Where that does not hold, nothing is cut.

use std::io::Read;

use memchr::{memchr_iter, memrchr2};

use crate::csv::limits::READ_BLOCK;

/// The size of a piece in bytes, unless a record is longer.
pub(super) const PIECE_BYTES: usize = 4 * READ_BLOCK;

/// Consecutive records of a file.
#[derive(Debug)]
pub(super) struct Piece {
    /// The records, and as many bytes that are not part of them as [`Scan`](crate::csv::scan::Scan) needs.
    pub(super) buffer: Vec<u8>,
    /// Where they begin.
    pub(super) start: PiecePosition,
}

/// Where a piece begins.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PiecePosition {
    /// The line, from 1.
    pub(super) line: u64,
    /// The byte offset in the file.
    pub(super) offset: u64,
}

/// The end of the last record in `bytes`, which begin with a record, as the number of bytes up to it; `None` if no record
/// ends there.
pub(super) fn last_end(bytes: &[u8], quote: Option<u8>) -> Option<usize> {
    let Some(quote) = quote else { return memchr::memrchr(b'\n', bytes).map(|at| at + 1) };
    let mut in_quotes = memchr_iter(quote, bytes).count() % 2 == 1;
    let mut end = bytes.len();
    while let Some(at) = memrchr2(b'\n', quote, &bytes[..end]) {
        if bytes[at] == quote {
            in_quotes = !in_quotes;
        } else if !in_quotes {
            return Some(at + 1);
        }
        end = at;
    }
    None
}

/// The first carriage return or line feed outside quotes, and the byte after it; `None` unless both are in `bytes`.
pub(super) fn first_line_end(bytes: &[u8], quote: Option<u8>) -> Option<(u8, u8)> {
    let mut in_quotes = false;
    let at = bytes.iter().position(|&byte| {
        in_quotes ^= quote == Some(byte);
        !in_quotes && matches!(byte, b'\r' | b'\n')
    })?;
    Some((bytes[at], *bytes.get(at + 1)?))
}

/// Read about `count` bytes of `input` to the end of `bytes`; return whether it ended.
pub(super) fn read_more(input: &mut impl Read, bytes: &mut Vec<u8>, count: usize) -> std::io::Result<bool> {
    let before = bytes.len();
    input.by_ref().take(count as u64).read_to_end(bytes)?;
    Ok(bytes.len() - before < count)
}

//! Cuts the records off that come next, for other threads to read.

use std::io::{self, Read};

use memchr::memchr_iter;

use crate::Result;
use crate::csv::decompress::ByteSource;
use crate::csv::limits::READ_BLOCK;
use crate::csv::piece::{PIECE_BYTES, Piece, PiecePosition, first_line_end, last_end, read_more};
use crate::csv::records::{LineEnd, Records};
use crate::csv::scan::{Scan, WIDTH};

impl<R: Read> Records<R> {
    /// Cut off the next records as a piece. `None` at the end, and where they have to be read one by one, as they still can
    /// be then.
    ///
    /// # Errors
    /// As [`Records::has_next`].
    pub(in crate::csv) fn next_piece(&mut self) -> Result<Option<Piece>> {
        // That also reads a byte order mark.
        if !self.has_next()? {
            return Ok(None);
        }
        let (mut bytes, quote) = (Vec::with_capacity(PIECE_BYTES + READ_BLOCK), self.dialect.quote);
        bytes.extend_from_slice(&self.buffer[self.start..self.filled]);
        let end = loop {
            if !self.at_end && self.failure.is_none() {
                let missing = PIECE_BYTES.saturating_sub(bytes.len()).max(READ_BLOCK + bytes.len() / 4);
                match read_more(&mut self.input, &mut bytes, missing) {
                    Ok(at_end) => self.at_end = at_end,
                    // What was read before it comes first.
                    Err(error) => self.failure = Some(error),
                }
            }
            let end = if self.at_end { Some(bytes.len()) } else { last_end(&bytes, quote) };
            if end.is_some() || self.failure.is_some() || bytes.len() > self.max_record_bytes {
                break end;
            }
        };
        if self.line_end.is_none() {
            self.line_end = first_line_end(&bytes, quote).map(|ending| match ending {
                (b'\n', _) => LineEnd::Lf,
                (_, b'\n') => LineEnd::CrLf,
                _ => LineEnd::Cr,
            });
        }
        // Nothing but a carriage return ends a record then.
        let end = end.filter(|_| self.line_end != Some(LineEnd::Cr)).unwrap_or(0);
        self.buffer.clear();
        self.buffer.extend_from_slice(&bytes[end..]);
        (self.start, self.filled, self.scan) = (0, self.buffer.len(), Scan::default());
        self.buffer.resize(self.filled.max(READ_BLOCK) + WIDTH, 0);
        if end == 0 {
            return Ok(None);
        }
        bytes.truncate(end);
        let start = self.position();
        self.line += memchr_iter(b'\n', &bytes).count() as u64;
        self.offset += end as u64;
        bytes.resize(end + WIDTH, 0);
        Ok(Some(Piece { buffer: bytes, start }))
    }

    /// The position of the next record.
    pub(in crate::csv) fn position(&self) -> PiecePosition {
        PiecePosition { line: self.line, offset: self.offset }
    }

    /// Begin again with a piece that was read from `position`.
    pub(in crate::csv) fn rewind(&mut self, PiecePosition { line, offset }: PiecePosition) {
        (self.start, self.filled, self.scan) = (0, self.buffer.len() - WIDTH, Scan::default());
        (self.line, self.offset) = (line, offset);
    }
}

impl Records<ByteSource> {
    /// A reader of a `piece` that was cut off this one.
    pub(in crate::csv) fn of_piece(&self, piece: Piece) -> Self {
        let Piece { buffer, start } = piece;
        Records {
            filled: buffer.len() - WIDTH,
            buffer,
            at_end: true,
            keeps_stray_quotes: self.keeps_stray_quotes,
            guards_quotes: self.guards_quotes,
            line_end: self.line_end,
            line: start.line,
            offset: start.offset,
            layout: self.layout.clone(),
            ..Records::new(Box::new(io::empty()), &self.name, self.dialect.clone(), self.max_record_bytes)
        }
    }
}

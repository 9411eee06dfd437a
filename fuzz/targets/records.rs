//! The CSV reader: no text panics in any dialect, and where the input is cut makes no difference.

#![no_main]

use std::io::{self, Read};

use encoding_rs::{BIG5, Encoding, GB18030, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use postgres_etl::csv::{BlankLines, Dialect, Field, Records, StrayQuotes};

const ENCODINGS: [&Encoding; 7] = [UTF_8, WINDOWS_1252, UTF_16LE, UTF_16BE, SHIFT_JIS, BIG5, GB18030];

const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

#[derive(Debug, Arbitrary)]
struct Case<'a> {
    delimiter: u8,
    has_quote: bool,
    escapes_by_backslash: bool,
    stray_quotes: u8,
    is_trimmed: bool,
    has_comments: bool,
    skip_lines: u8,
    blank_lines: u8,
    encoding: u8,
    max_record_bytes: u16,
    piece: u8,
    text: &'a [u8],
}

impl Case<'_> {
    fn dialect(&self) -> Dialect {
        Dialect {
            delimiter: DELIMITERS[usize::from(self.delimiter) % DELIMITERS.len()],
            quote: self.has_quote.then_some(b'"'),
            escape: if self.escapes_by_backslash { b'\\' } else { b'"' },
            stray_quotes: [StrayQuotes::Postgres, StrayQuotes::Keep, StrayQuotes::Reject]
                [usize::from(self.stray_quotes % 3)],
            nulls: vec![Box::default(), (*b"NA").into()],
            trim: self.is_trimmed,
            comment: self.has_comments.then_some(b'#'),
            skip_lines: u64::from(self.skip_lines % 4),
            blank_lines: [None, Some(BlankLines::Row), Some(BlankLines::Skip), Some(BlankLines::Error)]
                [usize::from(self.blank_lines % 4)],
            header: false,
            encoding: ENCODINGS[usize::from(self.encoding) % ENCODINGS.len()],
        }
    }
}

/// Yields a few bytes per read.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (piece, rest) = self.0.split_at(self.1.min(self.0.len()).min(buffer.len()));
        buffer[..piece.len()].copy_from_slice(piece);
        self.0 = rest;
        Ok(piece.len())
    }
}

/// The fields of a record, and the lines and bytes that it takes.
type Row = (Vec<Option<Vec<u8>>>, u64, u64, Vec<u8>);

/// All records, and the error that ends them.
fn read(case: &Case<'_>, source: impl Read) -> (Vec<Row>, Option<String>) {
    let limit = usize::from(case.max_record_bytes).max(1);
    let mut records = Records::new(source, "x.csv", case.dialect(), limit);
    let (mut rows, mut scratch) = (Vec::new(), Vec::new());
    loop {
        let record = match records.next() {
            Ok(Some(record)) => record,
            Ok(None) => return (rows, None),
            // How much was read of a record that is too long decides whether a quote in it is open.
            Err(error) => return (rows, Some(error.to_string().replace("; a quote in it is still open", ""))),
        };
        assert!(record.last_line >= record.line);
        let start = record.offset as usize;
        assert_eq!(record.raw(), &case.text[start..start + record.raw().len()]);
        let fields = (0..record.len()).map(|index| match record.field(index, &mut scratch) {
            Field::Null => None,
            Field::Value(value) => Some(value.to_vec()),
        });
        rows.push((fields.collect(), record.line, record.last_line, record.raw().to_vec()));
    }
}

fuzz_target!(|case: Case<'_>| {
    if case.dialect().check().is_err() {
        return;
    }
    let whole = read(&case, case.text);
    let pieces = read(&case, Pieces(case.text, usize::from(case.piece).max(1)));
    // Of several errors in a record that is too long, the first to be read is told.
    if case.text.len() <= usize::from(case.max_record_bytes) {
        assert_eq!(whole, pieces);
    }
});

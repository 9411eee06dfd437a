//! Checks that further files are written in the dialect that was detected in the first.

use encoding_rs::UTF_8;

use crate::csv::dialect::Dialect;
use crate::csv::sniff::choice::{BEYOND_DOUBT, table};
use crate::csv::sniff::reading::Reading;
use crate::csv::sniff::sample::decode;
use crate::csv::sniff::{Detect, HeaderVerdict, Sniffed, sniff_sample};
use crate::{Error, Result};

/// Check that the file `name`, which begins with `sample`, reads the same in its own dialect as in that of `first`, which
/// is the name of the first file and what was detected in it. `given` and `detect` are as in [`sniff`](super::sniff);
/// `is_cut` tells whether the file goes on after the sample. Return whether it has a header.
///
/// # Errors
/// When it does not, and when its dialect cannot be told.
pub(crate) fn check_same(
    (name, sample, is_cut): (&str, &[u8], bool),
    (first_name, first): (&str, &Sniffed),
    given: &Dialect,
    detect: Detect,
) -> Result<HeaderVerdict> {
    let read = |dialect: &Dialect| {
        let text = decode(dialect.encoding, sample);
        Reading::new(name, &text, Dialect { encoding: UTF_8, ..dialect.clone() }, is_cut)
    };
    let expected = read(&first.dialect);
    let own = match sniff_sample(name, sample, is_cut, given, detect) {
        Ok(own) => own,
        // Too little by itself, or like another dialect; but it fits the other files.
        Err(_)
            if expected.broken.is_none()
                && expected.strays == 0
                && expected.fields == first.fields
                && expected.agreeing >= BEYOND_DOUBT =>
        {
            return Ok(HeaderVerdict::Unclear);
        }
        Err(error) => return Err(error),
    };
    if let Some(line) = own.names_end {
        return Err(own.several_levels(name, line));
    }
    if own.records == 0 {
        return Ok(HeaderVerdict::Unclear);
    }
    let reading = read(&own.dialect);
    let is_same = expected.rows == reading.rows
        && expected.records == reading.records
        && expected.broken.is_none()
        && first.dialect.skip_lines == own.dialect.skip_lines;
    let has_header = |header| header == HeaderVerdict::Yes;
    if !is_same {
        let flags = |dialect: &Dialect| Dialect { header: true, ..dialect.clone() }.to_string();
        return Err(Error::input(format!(
            "{name}: its dialect is {}, but that of {first_name} is {}{}",
            flags(&own.dialect),
            flags(&first.dialect),
            table(&[(own.confidence, &reading), (expected.score(), &expected)])
        ))
        .with_help(
            "load files of different dialects separately, or name with flags what all of them have in common",
        ));
    }
    if has_header(own.header) && first.header == HeaderVerdict::No {
        return Err(header_differs(name, first_name));
    }
    Ok(own.header)
}

/// The error for the file `name`, which has a header, after the file `first`, which has none.
pub(crate) fn header_differs(name: &str, first: &str) -> Error {
    Error::input(format!("{name}: its first record is a header, but that of {first} is none"))
        .with_help("load them separately, or say what all of them have, with --header yes or --header no")
}

//! What is to be detected in a sample, and the sample itself.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};

use crate::csv::dialect::Dialect;
use crate::csv::sniff::reading::Reading;

/// What to detect of a dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Detect {
    /// The delimiter.
    pub delimiter: bool,
    /// The quote and the escape, or that there is no quote.
    pub quote: bool,
    /// Whether there are comments.
    pub comment: bool,
    /// Whether the first record is a header.
    pub header: bool,
    /// The character encoding.
    pub encoding: bool,
    /// What to do with stray quotes, if the quote is to be detected too.
    pub stray_quotes: bool,
    /// Whether blank lines before the first record are to be skipped, unless the dialect says what to do with them.
    pub skip_lines: bool,
}

impl Detect {
    /// Nothing.
    pub const NONE: Detect = Detect {
        delimiter: false,
        quote: false,
        comment: false,
        header: false,
        encoding: false,
        stray_quotes: false,
        skip_lines: false,
    };

    /// Everything.
    pub const ALL: Detect = Detect {
        delimiter: true,
        quote: true,
        comment: true,
        header: true,
        encoding: true,
        stray_quotes: true,
        skip_lines: true,
    };

    /// Whether anything is to be detected.
    pub fn is_any(self) -> bool {
        self != Detect::NONE
    }

    /// The lines before the first record of `reading` that are to be skipped, if any of them is blank.
    pub(super) fn lines_to_skip(self, reading: &Reading) -> Option<(u64, u64)> {
        reading.blank_start.filter(|_| self.skip_lines && reading.dialect.blank_lines.is_none())
    }
}

/// What is the same in all readings of a file's beginning.
pub(super) struct Sample<'a> {
    /// The name of the file.
    pub name: &'a str,
    pub encoding: &'static Encoding,
    pub detect: Detect,
    /// Whether a program may have written what any of them reads.
    pub is_possible: bool,
    /// Reads it in a dialect.
    pub read: &'a dyn Fn(Dialect) -> Reading,
}

/// `sample` in UTF-8, without a byte order mark.
pub(super) fn decode<'a>(encoding: &'static Encoding, sample: &'a [u8]) -> Cow<'a, [u8]> {
    if encoding == UTF_8 {
        return Cow::Borrowed(sample.strip_prefix(b"\xef\xbb\xbf").unwrap_or(sample));
    }
    Cow::Owned(encoding.decode_with_bom_removal(sample).0.into_owned().into_bytes())
}

/// `count` things called `noun`.
pub(super) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

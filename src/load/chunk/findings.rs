//! What was noticed in the files while their records were encoded.

use serde::Serialize;

use crate::csv::Record;
use crate::load::chunk::dates::AmbiguousDates;

/// What was noticed, for the report.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Columns that the server had to parse from some record on.
    pub text_fallbacks: Vec<TextFallback>,
    pub stray_quotes: FieldsWithStrayQuotes,
    pub ambiguous_dates: AmbiguousDates,
    /// Records with fewer fields than expected.
    pub padded: u64,
}

impl Findings {
    /// Add what was noticed in the records that follow.
    pub(super) fn append(&mut self, later: Findings) {
        let Findings { text_fallbacks, stray_quotes, ambiguous_dates, padded } = later;
        self.text_fallbacks.extend(text_fallbacks);
        self.stray_quotes.kept |= stray_quotes.kept;
        self.stray_quotes.count += stray_quotes.count;
        self.stray_quotes.first = self.stray_quotes.first.take().or(stray_quotes.first);
        self.ambiguous_dates.count += ambiguous_dates.count;
        self.ambiguous_dates.certain += ambiguous_dates.certain;
        self.ambiguous_dates.first = self.ambiguous_dates.first.take().or(ambiguous_dates.first);
        self.padded += padded;
    }
}

/// Where the server took over parsing a column from this program, and the value that made it necessary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TextFallback {
    /// Index among the loaded columns, from 0.
    #[serde(skip)]
    pub index: usize,
    /// Name of the file.
    pub file: String,
    /// Line of the first record whose value the server parses, from 1.
    pub line: u64,
    /// The value that only the server can parse, shortened and printable.
    pub value: String,
}

/// Fields with quotes inside that do not enclose a value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FieldsWithStrayQuotes {
    /// Their number.
    pub count: u64,
    /// The first one; `None` if there is none.
    pub first: Option<FieldPlace>,
    /// Whether the quotes were kept, in the values or in the rejects, as `--stray-quotes` says; otherwise they were removed.
    pub kept: bool,
}

/// The position of a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FieldPlace {
    /// Name of the file.
    pub file: String,
    /// The line on which the record begins, from 1.
    pub line: u64,
    /// The position of the field in the record, from 1.
    pub field: u32,
}

impl FieldsWithStrayQuotes {
    /// Count those of `record`, of the file `file`.
    #[cold]
    pub(super) fn add(&mut self, record: &Record<'_>, file: &str, are_kept: bool) {
        let found = record.stray_fields();
        self.kept = are_kept;
        self.count += u64::from(found.count);
        let place = || FieldPlace { file: file.to_owned(), line: record.line, field: found.first };
        self.first.get_or_insert_with(place);
    }
}

//! `[load]` of `config.toml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use postgres_etl::csv::{BlankLines, NameStyle, StrayQuotes, Syntax};
use postgres_etl::load::{DateStyle, DeferIndexes, Infer, Mode, PartitionRouting};
use serde::Deserialize;
use serde::de;

/// `[load]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Load {
    /// The CSV file to read, or a pattern for several.
    pub input: PathBuf,
    /// The character between fields.
    pub delimiter: String,
    /// The character around fields that contain special characters.
    pub quote: String,
    /// The character before a quote inside a quoted field; empty for the quote itself.
    pub escape: String,
    /// The text of an unquoted field that means NULL, or several of them.
    pub null: OneOrMore,
    /// Whether the first record names the columns.
    pub header: Header,
    /// The character that begins a comment; empty for none.
    pub comment: String,
    /// The character encoding.
    pub encoding: String,
    /// Detect how the first file is written.
    pub sniff: bool,
    /// The format of the files.
    pub format: Syntax,
    /// Remove blanks around fields.
    pub trim: bool,
    /// The character before the fraction of a number.
    pub decimal: String,
    /// The character between groups of digits; empty for none.
    pub thousands: String,
    /// More words for true.
    #[serde(rename = "true")]
    pub true_words: Vec<String>,
    /// More words for false.
    #[serde(rename = "false")]
    pub false_words: Vec<String>,
    /// What to do with quotes inside unquoted fields; empty for what COPY does, unless something else is detected.
    #[serde(deserialize_with = "unless_empty")]
    pub stray_quotes: Option<StrayQuotes>,
    /// Lines to skip at the beginning of each file.
    pub skip_lines: u64,
    /// What to do with blank lines; empty for what COPY does.
    #[serde(deserialize_with = "unless_empty")]
    pub blank_lines: Option<BlankLines>,
    /// Load NULL into the last columns of rows that are too short.
    pub pad: bool,
    /// Load columns that only some of the files have.
    pub union_by_name: bool,
    /// Records to pass over.
    pub skip_rows: u64,
    /// Records to read at most; 0 for all.
    pub limit: u64,
    /// How to read dates that do not begin with the year; empty for the way of the server.
    #[serde(deserialize_with = "unless_empty")]
    pub date_style: Option<DateStyle>,
    /// How names in the header become names of columns.
    pub names: NameStyle,
    /// What may be inferred of a new table's columns.
    pub infer: Infer,
    /// Types of a new table's columns, in SQL, by name.
    pub types: BTreeMap<String, String>,
    /// The names of the fields to load; empty for all.
    pub select: Vec<String>,
    /// Values of columns that are not in the files, by name.
    pub add_column: BTreeMap<String, String>,
    /// The longest record, in bytes.
    pub max_record_bytes: usize,
    /// How to write it.
    pub mode: Mode,
    /// Empty the table first.
    pub truncate: bool,
    /// When to drop the indexes and rebuild them after loading.
    pub defer_indexes: DeferIndexes,
    /// How rows reach the partitions of a partitioned table.
    pub partitions: PartitionRouting,
    /// ANALYZE the table after the load.
    pub analyze: bool,
    /// Rows in each INSERT of mode `batch`.
    pub batch_size: usize,
    /// Statements in flight on each connection.
    pub pipeline_depth: usize,
    /// Rows that share a Sync, in mode `rows` within one transaction.
    pub sync_every: usize,
    /// Commit every row separately.
    pub autocommit: bool,
    /// Connections to write over.
    pub connections: usize,
}

impl Default for Load {
    fn default() -> Self {
        Load {
            input: "data/persons.csv".into(),
            delimiter: ",".into(),
            quote: "\"".into(),
            escape: String::new(),
            null: OneOrMore::One(String::new()),
            header: Header::Known(true),
            comment: String::new(),
            encoding: "utf-8".into(),
            sniff: false,
            format: Syntax::Auto,
            trim: false,
            decimal: ".".into(),
            thousands: String::new(),
            true_words: Vec::new(),
            false_words: Vec::new(),
            stray_quotes: None,
            skip_lines: 0,
            blank_lines: None,
            pad: false,
            union_by_name: false,
            skip_rows: 0,
            limit: 0,
            date_style: None,
            names: NameStyle::AsIs,
            infer: Infer::Natural,
            types: BTreeMap::new(),
            select: Vec::new(),
            add_column: BTreeMap::new(),
            max_record_bytes: postgres_etl::csv::DEFAULT_MAX_RECORD_BYTES,
            mode: Mode::Copy,
            truncate: false,
            defer_indexes: DeferIndexes::Auto,
            partitions: PartitionRouting::Root,
            analyze: true,
            batch_size: 1000,
            pipeline_depth: 1024,
            sync_every: 256,
            autocommit: false,
            connections: 1,
        }
    }
}

/// A text, or a list of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected a text, or a list of texts")]
pub(crate) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    /// All of them.
    pub(crate) fn all(&self) -> &[String] {
        match self {
            OneOrMore::One(text) => std::slice::from_ref(text),
            OneOrMore::More(texts) => texts,
        }
    }
}

/// Whether there is a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected true, false or \"auto\"")]
pub(crate) enum Header {
    Known(bool),
    Detected(Auto),
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Auto {
    Auto,
}

/// A value that is a word; `None` for the empty one.
fn unless_empty<'de, D: de::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let word = String::deserialize(deserializer)?;
    if word.is_empty() {
        return Ok(None);
    }
    T::deserialize(de::value::StringDeserializer::<D::Error>::new(word)).map(Some)
}

//! The dialect of a CSV file: its special bytes, null text, header and encoding.

use std::fmt;

use encoding_rs::{Encoding, ISO_2022_JP, REPLACEMENT, UTF_8};
use memchr::{memchr, memchr2};
use serde::Deserialize;

use crate::{Error, Result};

/// How a CSV file is written. The default is what `COPY … (FORMAT csv, HEADER)` reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// The byte between fields.
    pub delimiter: u8,
    /// The byte around fields that contain special bytes; `None` if every byte is a part of its value.
    pub quote: Option<u8>,
    /// The byte before a literal quote in a quoted field; equal to `quote` where quotes are doubled. Without a quote it has
    /// no effect.
    pub escape: u8,
    /// What to do with quotes inside unquoted fields.
    pub stray_quotes: StrayQuotes,
    /// The texts that, as an unquoted field, mean NULL.
    pub nulls: Vec<Box<[u8]>>,
    /// Whether blanks around fields, outside of quotes, are not part of them.
    pub trim: bool,
    /// A line that begins a record with this byte is a comment; `None` if the file has no comments.
    pub comment: Option<u8>,
    /// The number of lines before the first record, whatever they contain.
    pub skip_lines: u64,
    /// What to do with blank lines; `None` as with [`BlankLines::Row`] for CSV, but not for a row whose other fields are to be
    /// padded, and as with [`BlankLines::Skip`] for NDJSON.
    pub blank_lines: Option<BlankLines>,
    /// Whether the first record names the columns.
    pub header: bool,
    /// The character encoding of the file.
    pub encoding: &'static Encoding,
}

/// What to do with a quote that neither begins nor ends a field, as in `37'37.8"N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StrayQuotes {
    /// As `COPY` does: the quote opens or closes a quoted part of the field, and is removed.
    #[default]
    Postgres,
    /// Load the field as it is written. Only a quote at the beginning of a field opens it.
    Keep,
    /// Reject the record. Only a quote at the beginning of a field opens it.
    Reject,
}

/// What to do with a line that has no characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlankLines {
    /// As `COPY` does: it is a record with one empty field; of NDJSON, one without a key.
    Row,
    /// Skip it.
    Skip,
    /// Reject it, also where a record with one empty field could be loaded.
    Error,
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect {
            delimiter: b',',
            quote: Some(b'"'),
            escape: b'"',
            nulls: vec![Box::default()],
            trim: false,
            stray_quotes: StrayQuotes::default(),
            comment: None,
            skip_lines: 0,
            blank_lines: None,
            header: true,
            encoding: UTF_8,
        }
    }
}

impl Dialect {
    /// Whether `field`, which is not quoted, means NULL.
    #[inline]
    pub(super) fn is_null(&self, field: &[u8]) -> bool {
        match &*self.nulls {
            [null] => field == &**null,
            nulls => is_any(nulls, field),
        }
    }

    /// Check that the settings are compatible, by the rules of `COPY`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Usage`], naming the flags that contradict each other.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String, help: &str| Err(Error::usage(message).with_help(help));
        let shown = |byte| shell_word(&[byte]);
        let bytes = [
            ("delimiter", Some(self.delimiter)),
            ("quote", self.quote),
            ("escape", Some(self.escape)),
            ("comment", self.comment),
        ];
        if let Some((flag, Some(byte))) =
            bytes.into_iter().find(|(_, byte)| matches!(byte, Some(b'\n' | b'\r' | 0)))
        {
            return refuse(
                format!("--{flag} is {}, which ends lines or is part of UTF-16", shown(byte)),
                "choose a character that is printed",
            );
        }
        if self.quote == Some(self.delimiter) {
            return refuse(
                format!("--delimiter and --quote are both {}", shown(self.delimiter)),
                "choose a quote that differs from the delimiter",
            );
        }
        if let Some(comment) = self.comment
            && [Some(self.delimiter), self.quote].contains(&Some(comment))
        {
            return refuse(
                format!("--comment {} is also the delimiter or the quote", shown(comment)),
                "choose a character that no record begins with, such as --comment '#'",
            );
        }
        self.nulls.iter().try_for_each(|null| self.check_null(null))
    }

    /// Check that an unquoted field can be `text`, one of the texts that mean NULL.
    fn check_null(&self, text: &[u8]) -> Result<()> {
        let refuse = |message: String, help: &str| Err(Error::usage(message).with_help(help));
        let null = shell_word(text);
        if memchr2(b'\n', b'\r', text).is_some() {
            return refuse(
                format!("--null {null} contains a line ending"),
                "an unquoted field cannot contain a line ending",
            );
        }
        for (flag, byte) in [("delimiter", Some(self.delimiter)), ("quote", self.quote)] {
            if byte.is_some_and(|byte| memchr(byte, text).is_some()) {
                return refuse(
                    format!("--null {null} contains the {flag}, so no field could be NULL"),
                    "NULL is an unquoted field that is exactly this text",
                );
            }
        }
        if self.comment.is_some() && text.first().copied() == self.comment {
            return refuse(
                format!("--null {null} begins with the --comment byte"),
                "a record that begins with NULL would be read as a comment",
            );
        }
        if self.trim && trimmed(text) != text {
            return refuse(
                format!("--null {null} has blanks around it, which --trim removes from every field"),
                "leave them out",
            );
        }
        Ok(())
    }
}

/// Whether `field` is one of several `nulls`. Kept out of [`Dialect::is_null`], which is inlined for every field.
#[cold]
fn is_any(nulls: &[Box<[u8]>], field: &[u8]) -> bool {
    nulls.iter().any(|null| field == &**null)
}

/// `field` without the blanks around it.
pub(super) fn trimmed(field: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = field.iter().position(|byte| !is_blank(byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &field[start..end]
}

/// Parse the value of `flag`: one ASCII character other than a line ending or zero byte, or `tab` or `\t` for a tab.
///
/// # Errors
/// [`crate::ErrorKind::Usage`] when it is anything else.
pub fn parse_byte(flag: &str, value: &str) -> Result<u8> {
    match value.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [b'\n' | b'\r' | 0] => Err(Error::usage(format!("{flag} cannot be a line ending or a zero byte"))
            .with_help("give one character, such as ; or tab")),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err(Error::usage(format!("{flag} must be a single ASCII character, not \"{value}\""))
            .with_help("give one character, such as ; or tab")),
    }
}

/// Look up an encoding by name: a label of the WHATWG Encoding Standard, or PostgreSQL's name for it.
///
/// # Errors
/// [`crate::ErrorKind::Usage`] when the name is unknown, or the encoding is stateful, so that its lines cannot be
/// decoded separately.
pub fn parse_encoding(name: &str) -> Result<&'static Encoding> {
    const EXAMPLES: &str =
        "supported encodings include utf-8, utf-16le, windows-1252, iso-8859-2, shift_jis and gb18030";
    let label = name.to_ascii_lowercase().replace('_', "-");
    // PostgreSQL's names are of the form WIN1252 and EUC_JP.
    let label = match label.strip_prefix("win") {
        Some(page) if page.starts_with(|c: char| c.is_ascii_digit()) => format!("windows-{page}"),
        _ => match label.as_str() {
            "koi8r" => "koi8-r".into(),
            "koi8u" => "koi8-u".into(),
            "uhc" => "windows-949".into(),
            _ => label,
        },
    };
    let found = Encoding::for_label(label.as_bytes()).or_else(|| Encoding::for_label(name.as_bytes()));
    match found {
        // The meaning of a line depends on shifts in earlier lines, so a rejected line could not be kept on its own.
        Some(encoding) if encoding == ISO_2022_JP || encoding == REPLACEMENT => Err(Error::usage(format!(
            "--encoding {name} is not supported: it switches between character sets"
        ))
        .with_help("convert the file to UTF-8 first, for example with iconv")),
        Some(encoding) => Ok(encoding),
        None => Err(Error::usage(format!("--encoding {name} is unknown")).with_help(EXAMPLES)),
    }
}

/// `bytes` as a shell word.
fn shell_word(bytes: &[u8]) -> String {
    match bytes {
        b"\t" => "tab".into(),
        _ => format!("'{}'", String::from_utf8_lossy(bytes).replace('\'', "'\\''")),
    }
}

/// As command-line flags. Settings at their defaults are omitted, except the delimiter.
impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Dialect::default();
        write!(f, "--delimiter {}", shell_word(&[self.delimiter]))?;
        match self.quote {
            None => f.write_str(" --quote none")?,
            quote if quote == default.quote => {}
            Some(quote) => write!(f, " --quote {}", shell_word(&[quote]))?,
        }
        if self.quote.is_some_and(|quote| quote != self.escape) {
            write!(f, " --escape {}", shell_word(&[self.escape]))?;
        }
        if self.nulls != default.nulls {
            self.nulls.iter().try_for_each(|null| write!(f, " --null {}", shell_word(null)))?;
        }
        if self.trim {
            f.write_str(" --trim")?;
        }
        match self.stray_quotes {
            StrayQuotes::Postgres => {}
            StrayQuotes::Keep => f.write_str(" --stray-quotes keep")?,
            StrayQuotes::Reject => f.write_str(" --stray-quotes reject")?,
        }
        if let Some(comment) = self.comment {
            write!(f, " --comment {}", shell_word(&[comment]))?;
        }
        if self.skip_lines > 0 {
            write!(f, " --skip-lines {}", self.skip_lines)?;
        }
        if !self.header {
            f.write_str(" --no-header")?;
        }
        if self.encoding != UTF_8 {
            write!(f, " --encoding {}", self.encoding.name().to_ascii_lowercase())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_several_spellings() {
        assert_eq!(
            ["\t", "tab", "\\t", ";"].map(|value| parse_byte("--delimiter", value).unwrap()),
            *b"\t\t\t;"
        );
        for value in ["", ";;", "§", "\n", "\r", "\0"] {
            assert!(
                parse_byte("--quote", value).unwrap_err().to_string().starts_with("--quote "),
                "{value:?}"
            );
        }
    }

    #[test]
    fn contradictions_are_refused_as_copy_refuses_them() {
        let default = Dialect::default();
        default.check().unwrap();
        Dialect { escape: b',', ..default.clone() }.check().unwrap();
        for (dialect, message) in [
            (Dialect { delimiter: b'"', ..default.clone() }, "--delimiter and --quote are both '\"'"),
            (
                Dialect { nulls: vec![(*b"a,b").into()], ..default.clone() },
                "--null 'a,b' contains the delimiter",
            ),
            (
                Dialect { nulls: vec![(*b"\"\"").into()], ..default.clone() },
                "--null '\"\"' contains the quote",
            ),
            (
                Dialect { nulls: vec![Box::default(), (*b"\n").into()], ..default.clone() },
                "--null '\n' contains a line ending",
            ),
            (Dialect { comment: Some(b','), ..default.clone() }, "--comment ',' is also the delimiter"),
            (
                Dialect { comment: Some(b'#'), nulls: vec![(*b"#N/A").into()], ..default.clone() },
                "--null '#N/A' begins with the --comment byte",
            ),
            (
                Dialect { trim: true, nulls: vec![(*b" ").into()], ..default },
                "--null ' ' has blanks around it",
            ),
        ] {
            let error = dialect.check().unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn postgresql_names_of_encodings_are_accepted() {
        for (name, expected) in [
            ("UTF8", "UTF-8"),
            ("WIN1251", "windows-1251"),
            ("latin1", "windows-1252"),
            ("EUC_JP", "EUC-JP"),
            ("shift_jis", "Shift_JIS"),
            ("KOI8R", "KOI8-R"),
            ("UHC", "EUC-KR"),
            ("utf-16", "UTF-16LE"),
        ] {
            assert_eq!(parse_encoding(name).map(Encoding::name).ok(), Some(expected), "{name}");
        }
        for name in ["utf-9", "", "iso-2022-jp"] {
            assert!(parse_encoding(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_dialect_prints_as_its_flags() {
        assert_eq!(Dialect::default().to_string(), "--delimiter ','");
        let dialect = Dialect {
            delimiter: b'\t',
            quote: Some(b'\''),
            escape: b'\\',
            nulls: vec![(*b"NULL").into(), Box::default()],
            trim: true,
            comment: Some(b'#'),
            skip_lines: 2,
            header: false,
            encoding: encoding_rs::WINDOWS_1252,
            ..Dialect::default()
        };
        assert_eq!(
            dialect.to_string(),
            "--delimiter tab --quote ''\\''' --escape '\\' --null 'NULL' --null '' --trim --comment '#' --skip-lines 2 --no-header \
             --encoding windows-1252"
        );
        assert_eq!(Dialect { quote: None, ..Dialect::default() }.to_string(), "--delimiter ',' --quote none");
    }
}

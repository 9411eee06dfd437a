//! How a CSV file is written: its special bytes, its NULL, its header and its encoding.

use std::fmt;

use encoding_rs::{Encoding, ISO_2022_JP, REPLACEMENT, UTF_8};
use memchr::{memchr, memchr2};

use crate::{Error, Result};

/// How a CSV file is written; the default is what `COPY … (FORMAT csv, HEADER)` reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// Between fields.
    pub delimiter: u8,
    /// Around fields that hold special bytes.
    pub quote: u8,
    /// Before a quote that belongs to a quoted field; the quote itself where it is doubled.
    pub escape: u8,
    /// A field that is this text, with no quote in it, is NULL.
    pub null: Box<[u8]>,
    /// A record that begins with this byte is a comment, up to the end of the line.
    pub comment: Option<u8>,
    /// Whether the first record names the columns.
    pub header: bool,
    /// What the bytes of the file mean.
    pub encoding: &'static Encoding,
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect {
            delimiter: b',',
            quote: b'"',
            escape: b'"',
            null: Box::default(),
            comment: None,
            header: true,
            encoding: UTF_8,
        }
    }
}

impl Dialect {
    /// Whether these go together; the rules are those of `COPY`.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Usage`], naming the flags that contradict each other.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String, help: &str| Err(Error::usage(message).with_help(help));
        let shown = |byte| spelled(&[byte]);
        if self.delimiter == self.quote {
            return refuse(
                format!("--delimiter and --quote are both {}", shown(self.quote)),
                "a quote has to differ from what it protects",
            );
        }
        if let Some(comment) = self.comment
            && [self.delimiter, self.quote].contains(&comment)
        {
            return refuse(
                format!("--comment {} is the delimiter or the quote", shown(comment)),
                "choose a byte that no record begins with: --comment '#'",
            );
        }
        let null = spelled(&self.null);
        if memchr2(b'\n', b'\r', &self.null).is_some() {
            return refuse(
                format!("--null {null} holds a line end"),
                "a field without quotes ends with its line",
            );
        }
        for (flag, byte) in [("delimiter", Some(self.delimiter)), ("quote", Some(self.quote))] {
            if byte.is_some_and(|byte| memchr(byte, &self.null).is_some()) {
                return refuse(
                    format!("--null {null} holds the {flag}, so no field can be NULL"),
                    "NULL is a field without quotes that is exactly this text",
                );
            }
        }
        if self.comment.is_some() && self.null.first().copied() == self.comment {
            return refuse(
                format!("--null {null} begins with the --comment byte"),
                "a record that begins with NULL would be taken for a comment",
            );
        }
        Ok(())
    }
}

/// The byte that the value of `flag` spells: one ASCII character other than a line end, or `tab` or `\t`.
///
/// # Errors
/// [`crate::error::ErrorKind::Usage`] when it is not one.
pub fn byte(flag: &str, value: &str) -> Result<u8> {
    match value.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [b'\n' | b'\r' | 0] => Err(Error::usage(format!("{flag} cannot be a line end or a zero byte"))
            .with_help("give one character, such as ; or tab")),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err(Error::usage(format!("{flag} has to be one ASCII character, not \"{value}\""))
            .with_help("give one character, such as ; or tab")),
    }
}

/// The encoding with this name: a label of the WHATWG's Encoding Standard, or PostgreSQL's name for it.
///
/// # Errors
/// [`crate::error::ErrorKind::Usage`] when there is none, or its bytes cannot be told apart line by line.
pub fn encoding(name: &str) -> Result<&'static Encoding> {
    const EXAMPLES: &str =
        "utf-8, utf-16le, windows-1252, iso-8859-2, shift_jis and gb18030 are some that are";
    let label = name.to_ascii_lowercase().replace('_', "-");
    // PostgreSQL writes WIN1252 and EUC_JP.
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
        // Its lines mean different things after different shifts, so that a rejected one cannot stand alone.
        Some(encoding) if encoding == ISO_2022_JP || encoding == REPLACEMENT => {
            Err(Error::usage(format!("--encoding {name} is not read: it shifts between character sets"))
                .with_help("convert the file to UTF-8 first, with iconv"))
        }
        Some(encoding) => Ok(encoding),
        None => Err(Error::usage(format!("--encoding {name} is not known")).with_help(EXAMPLES)),
    }
}

/// `bytes` as a shell word.
fn spelled(bytes: &[u8]) -> String {
    match bytes {
        b"\t" => "tab".into(),
        _ => format!("'{}'", String::from_utf8_lossy(bytes).replace('\'', "'\\''")),
    }
}

/// As the flags that ask for it; those with a default are left out, but for the delimiter.
impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Dialect::default();
        write!(f, "--delimiter {}", spelled(&[self.delimiter]))?;
        if self.quote != default.quote {
            write!(f, " --quote {}", spelled(&[self.quote]))?;
        }
        if self.escape != self.quote {
            write!(f, " --escape {}", spelled(&[self.escape]))?;
        }
        if !self.null.is_empty() {
            write!(f, " --null {}", spelled(&self.null))?;
        }
        if let Some(comment) = self.comment {
            write!(f, " --comment {}", spelled(&[comment]))?;
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
    fn bytes_are_spelled_in_several_ways() {
        assert_eq!(["\t", "tab", "\\t", ";"].map(|value| byte("--delimiter", value).unwrap()), *b"\t\t\t;");
        for value in ["", ";;", "§", "\n", "\r", "\0"] {
            assert!(byte("--quote", value).unwrap_err().to_string().starts_with("--quote "), "{value:?}");
        }
    }

    #[test]
    fn contradictions_are_refused_as_copy_refuses_them() {
        let default = Dialect::default();
        default.check().unwrap();
        Dialect { escape: b',', ..default.clone() }.check().unwrap();
        for (dialect, message) in [
            (Dialect { delimiter: b'"', ..default.clone() }, "--delimiter and --quote are both '\"'"),
            (Dialect { null: (*b"a,b").into(), ..default.clone() }, "--null 'a,b' holds the delimiter"),
            (Dialect { null: (*b"\"\"").into(), ..default.clone() }, "--null '\"\"' holds the quote"),
            (Dialect { null: (*b"\n").into(), ..default.clone() }, "--null '\n' holds a line end"),
            (Dialect { comment: Some(b','), ..default.clone() }, "--comment ',' is the delimiter"),
            (
                Dialect { comment: Some(b'#'), null: (*b"#N/A").into(), ..default },
                "--null '#N/A' begins with the --comment byte",
            ),
        ] {
            let error = dialect.check().unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn encodings_have_postgresqls_names_too() {
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
            assert_eq!(encoding(name).map(Encoding::name).ok(), Some(expected), "{name}");
        }
        for name in ["utf-9", "", "iso-2022-jp"] {
            assert!(encoding(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_dialect_prints_as_its_flags() {
        assert_eq!(Dialect::default().to_string(), "--delimiter ','");
        let dialect = Dialect {
            delimiter: b'\t',
            quote: b'\'',
            escape: b'\\',
            null: (*b"NULL").into(),
            comment: Some(b'#'),
            header: false,
            encoding: encoding_rs::WINDOWS_1252,
        };
        assert_eq!(
            dialect.to_string(),
            "--delimiter tab --quote ''\\''' --escape '\\' --null 'NULL' --comment '#' --no-header \
             --encoding windows-1252"
        );
    }
}

//! Detects the dialect in which a file is most likely written.
//!
//! The beginning of the file is split in every plausible dialect. The one whose records agree best on the number of
//! fields, and whose fields look most plausible, wins. Detection happens only on request, and its result is printed as
//! the equivalent flags, so that it can be checked, corrected and reused.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use memchr::memchr;

use crate::csv::dialect::Dialect;
use crate::csv::limits::DEFAULT_MAX_RECORD_BYTES;
use crate::csv::record::{Field, Quoting, Record};
use crate::csv::records::Records;

/// The size of the sample, in bytes.
pub(crate) const SAMPLE_BYTES: usize = 1024 * 1024;

/// The number of records examined at most.
const SAMPLE_RECORDS: usize = 1000;

/// The delimiters tried, and the prior weight of each: colons and spaces are common in text.
const DELIMITERS: [(u8, f64); 6] =
    [(b',', 1.0), (b';', 1.0), (b'\t', 1.0), (b'|', 1.0), (b':', 0.8), (b' ', 0.7)];

/// A detected dialect, and the evidence for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sniffed {
    /// The dialect.
    pub dialect: Dialect,
    /// The line ending of the first line: `LF`, `CRLF`, `CR` or `none`.
    pub line_end: &'static str,
    /// The most common number of fields per record.
    pub fields: usize,
    /// Records examined, comments not counted.
    pub records: usize,
    /// From 0 to 1: the share of records with that number of fields, times the mean plausibility of the fields, reduced for
    /// an uncommon delimiter, a single column or a malformed sample.
    pub confidence: f64,
    /// Why the first record is, or is not, taken for a header.
    pub header_reason: &'static str,
}

/// As flags, followed by the evidence as a shell comment.
impl fmt::Display for Sniffed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sniffed { dialect, line_end, fields, records, confidence, header_reason } = self;
        let percent = confidence * 100.0;
        write!(
            f,
            "{dialect}  # {fields} fields in {records} records, {percent:.0} % confidence; {header_reason}; line ending \
             {line_end}"
        )
    }
}

/// A candidate dialect, and how well it fits the sample.
#[derive(Debug)]
struct ScoredDialect {
    dialect: Dialect,
    /// From 0 to 1; higher is better.
    score: f64,
    /// The most common number of fields per record.
    fields: usize,
    /// Whether all records have that number.
    is_uniform: bool,
    /// The records, unquoted; `None` is NULL.
    rows: Vec<Vec<Option<String>>>,
}

/// Detect the dialect of `sample`, the beginning of a file.
pub(crate) fn sniff(sample: &[u8]) -> Sniffed {
    let sample = &sample[..sample.len().min(SAMPLE_BYTES)];
    let encoding = detect_encoding(sample);
    let present = |byte| memchr(byte, sample).is_some();
    let mut best: Option<ScoredDialect> = None;
    // Of equal scores, the first wins.
    for comment in [None, Some(b'#')] {
        for quote in [b'"', b'\''] {
            for escape in [quote, b'\\'] {
                for (delimiter, weight) in DELIMITERS {
                    let rare =
                        [comment, (quote == b'\'').then_some(quote), (escape != quote).then_some(escape)];
                    if !present(delimiter) || !rare.into_iter().flatten().all(present) {
                        continue;
                    }
                    let dialect =
                        Dialect { delimiter, quote, escape, comment, encoding, ..Dialect::default() };
                    let mut candidate = score_dialect(sample, dialect);
                    // Prose has spaces too, but rarely the same number on every line.
                    if delimiter == b' ' && !candidate.is_uniform {
                        continue;
                    }
                    candidate.score *= weight;
                    if best.as_ref().is_none_or(|best| candidate.score > best.score + 1e-9) {
                        best = Some(candidate);
                    }
                }
            }
        }
    }
    // If no delimiter fits, the file has a single column.
    let best = best
        .filter(|best| best.fields > 1)
        .unwrap_or_else(|| score_dialect(sample, Dialect { encoding, ..Dialect::default() }));
    let (header, header_reason) = detect_header(&best.rows);
    Sniffed {
        dialect: Dialect { header, ..best.dialect },
        line_end: detect_line_end(sample, encoding),
        fields: best.fields,
        records: best.rows.len(),
        confidence: best.score.clamp(0.0, 1.0),
        header_reason,
    }
}

/// The encoding, by the byte order mark, else by the positions of zero bytes, else by whether it is valid UTF-8.
fn detect_encoding(sample: &[u8]) -> &'static Encoding {
    if let Some((encoding, _)) = Encoding::for_bom(sample) {
        return encoding;
    }
    let zeros = |at: usize| sample.iter().skip(at).step_by(2).filter(|&&byte| byte == 0).count();
    // In UTF-16, every other byte of Latin text is zero.
    let (even, odd) = (zeros(0), zeros(1));
    if (even + odd) * 4 > sample.len() {
        return if even > odd { UTF_16BE } else { UTF_16LE };
    }
    match std::str::from_utf8(sample) {
        Ok(_) => UTF_8,
        // The sample may end inside a character.
        Err(error) if error.error_len().is_none() && sample.len() == SAMPLE_BYTES => UTF_8,
        Err(_) => WINDOWS_1252,
    }
}

fn detect_line_end(sample: &[u8], encoding: &'static Encoding) -> &'static str {
    let (text, _) = encoding.decode_with_bom_removal(sample);
    match text.find(['\r', '\n']) {
        None => "none",
        Some(at) if text[at..].starts_with("\r\n") => "CRLF",
        Some(at) if text[at..].starts_with('\r') => "CR",
        Some(_) => "LF",
    }
}

/// Split `sample` in `dialect`, and score the result.
fn score_dialect(sample: &[u8], dialect: Dialect) -> ScoredDialect {
    let mut records = Records::new(sample, "sample", dialect.clone(), DEFAULT_MAX_RECORD_BYTES);
    let (mut rows, mut scratch) = (Vec::<Vec<_>>::new(), Vec::new());
    let (mut plausible, mut cells, mut is_broken) = (0.0, 0.0, false);
    let mut before_last = (0.0, 0.0);
    while rows.len() < SAMPLE_RECORDS {
        match records.next() {
            Ok(Some(record)) => {
                before_last = (plausible, cells);
                for index in 0..record.len() {
                    plausible += plausibility(record, index);
                    cells += 1.0;
                }
                let fields = (0..record.len()).map(|index| match record.field(index, &mut scratch) {
                    Field::Null => None,
                    Field::Value(value) => Some(String::from_utf8_lossy(value).into_owned()),
                });
                rows.push(fields.collect());
            }
            Ok(None) => break,
            Err(_) => {
                is_broken = true;
                break;
            }
        }
    }
    let is_cut = sample.len() == SAMPLE_BYTES;
    // The sample may end inside a record, which is then incomplete and may have an unclosed quote.
    if is_cut && !is_broken && rows.len() < SAMPLE_RECORDS && rows.len() > 1 {
        rows.pop();
        (plausible, cells) = before_last;
    }
    let mut counts = BTreeMap::<usize, usize>::new();
    for row in &rows {
        *counts.entry(row.len()).or_default() += 1;
    }
    let (fields, agreeing) = counts.into_iter().max_by_key(|&(_, count)| count).unwrap_or_default();
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let mut score = share(agreeing as f64, rows.len() as f64) * share(plausible, cells);
    if fields < 2 {
        score *= 0.1;
    }
    if is_broken && !is_cut {
        score *= 0.5;
    }
    ScoredDialect { dialect, score, fields, is_uniform: agreeing == rows.len(), rows }
}

/// How plausible field `index` is: 1 for what a program would write as a field, less for what looks like several fields
/// or like part of one.
fn plausibility(record: Record<'_>, index: usize) -> f64 {
    let span = record.spans[index];
    let raw = &record.text[span.start as usize..span.end as usize];
    let Dialect { quote, escape, .. } = *record.dialect;
    match span.quoting {
        // Quotes that do not enclose the field.
        Quoting::Mixed if !is_enclosed(raw, quote, escape) => 0.2,
        Quoting::Mixed | Quoting::Enclosed => 1.0,
        Quoting::Plain => match raw {
            [] => 1.0,
            _ if classify(&String::from_utf8_lossy(raw)) != ValueClass::Text => 1.0,
            // In the other kind of quotes.
            [first @ (b'"' | b'\''), .., last] if first == last => 0.5,
            [b'"' | b'\'', ..] | [.., b'"' | b'\''] => 0.3,
            _ if raw.iter().any(|byte| b",;\t|".contains(byte)) => 0.5,
            _ => 1.0,
        },
    }
}

/// Whether the first and the last byte are quotes, and all others are escaped.
fn is_enclosed(raw: &[u8], quote: u8, escape: u8) -> bool {
    let [first, inner @ .., last] = raw else { return false };
    let mut rest = inner.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte == escape && rest.peek().is_some_and(|&next| next == quote || next == escape) {
            rest.next();
        } else if byte == quote {
            return false;
        }
    }
    (*first, *last) == (quote, quote)
}

/// A rough classification of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ValueClass {
    /// Digits with signs, decimal points or commas, exponents and currency or percent signs.
    Number,
    /// Digits with the punctuation of dates and times.
    Time,
    Boolean,
    Text,
}

fn classify(value: &str) -> ValueClass {
    let value = value.trim();
    let only = |marks: &str| {
        value.starts_with(|c: char| c.is_ascii_digit() || "+-.$€".contains(c))
            && value.contains(|c: char| c.is_ascii_digit())
            && value.chars().all(|c| c.is_ascii_digit() || marks.contains(c))
    };
    if ["true", "false", "yes", "no", "t", "f"].iter().any(|word| value.eq_ignore_ascii_case(word)) {
        ValueClass::Boolean
    } else if only("+-.,eE%$€") && value.matches(',').count() < 2 {
        ValueClass::Number
    } else if only("+-.:/TZ ") {
        ValueClass::Time
    } else {
        ValueClass::Text
    }
}

/// Decide whether the first of `rows` is a header, by how it differs from the rows below it, and say why.
fn detect_header(rows: &[Vec<Option<String>>]) -> (bool, &'static str) {
    let Some((first, rest)) = rows.split_first() else { return (true, "there are no records") };
    let names: Option<Vec<&str>> = first.iter().map(|name| name.as_deref().map(str::trim)).collect();
    let Some(names) = names.filter(|names| names.iter().all(|name| !name.is_empty())) else {
        return (false, "the first record has an empty field, so it is not a header");
    };
    let column = |index: usize| {
        rest.iter().filter_map(move |row| row.get(index)?.as_deref()).filter(|value| !value.is_empty())
    };
    let is_value = |(index, name): (usize, &&str)| match classify(name) {
        ValueClass::Text => false,
        // `t` and `no` may also be column names, short for time and number.
        ValueClass::Boolean => column(index).all(|value| classify(value) == ValueClass::Boolean),
        ValueClass::Number | ValueClass::Time => true,
    };
    if names.iter().enumerate().any(is_value) {
        return (false, "the first record contains values, so it is not a header");
    }
    if names.iter().collect::<HashSet<_>>().len() < names.len() {
        return (false, "the first record repeats a value, so it is not a header");
    }
    let typed = |index: usize| {
        column(index).next().is_some_and(|value| {
            let kind = classify(value);
            kind != ValueClass::Text && column(index).all(|value| classify(value) == kind)
        })
    };
    if (0..names.len()).any(typed) {
        return (true, "the first record has text above a column of values, so it is a header");
    }
    if (0..names.len()).any(|index| column(index).any(|value| value.trim() == names[index])) {
        return (false, "a value of the first record recurs below it, so it is not a header");
    }
    // A record mistaken for a header fails loudly, because the table has no such columns; the reverse mistake does not.
    (true, "nothing rules out a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(sample: impl AsRef<[u8]>) -> String {
        sniff(sample.as_ref()).dialect.to_string()
    }

    #[test]
    fn delimiters_are_detected_by_agreement() {
        for (sample, expected) in [
            ("id,name\n1,Ann Lee\n2,Bo\n", "--delimiter ','"),
            ("id;price\n1;2,50\n2;3,75\n3;4,00\n", "--delimiter ';'"),
            ("id\tnote\n1\ta, b\n2\tc, d, e\n", "--delimiter tab"),
            ("id|when\n1|2024-01-01 12:00:00\n2|2024-01-02 13:30:00\n", "--delimiter '|'"),
            ("name:age\nann:5\nbo:61\n", "--delimiter ':'"),
            ("name age\nann 5\nbo 61\n", "--delimiter ' '"),
            ("id,at\n1,12:30:00\n2,12:45:00\n", "--delimiter ','"),
            ("name,city\nJohn Smith,New York\nJane Doe,Los Angeles\n", "--delimiter ','"),
            ("word\nhello\nworld\n", "--delimiter ','"),
            ("title\nthe cat\nthe dog sat\na third one\nits own end\n", "--delimiter ','"),
            ("name\nAnn Lee\nBo Ray\nCy Fox\n", "--delimiter ','"),
            ("", "--delimiter ','"),
        ] {
            assert_eq!(flags(sample), expected, "{sample:?}");
        }
    }

    #[test]
    fn quotes_and_escapes_are_detected_by_what_they_enclose() {
        for (sample, expected) in [
            ("a;b\n\"x;y\";1\n\"z\"\"w\";2\n", "--delimiter ';'"),
            ("a,b\n'x,y',1\n'z',2\n", "--delimiter ',' --quote ''\\'''"),
            ("a,b\n\"say \\\"hi\\\", she said\",1\n\"z\",2\n", "--delimiter ',' --escape '\\'"),
            ("a,b\nit's,1\nrock 'n' roll,2\n", "--delimiter ','"),
            ("a,b\n\"multi\nline, text\",1\n\"more\nlines\",2\n", "--delimiter ','"),
            ("path,n\n\"C:\\dir\\\",1\n\"D:\\\",2\n", "--delimiter ','"),
        ] {
            assert_eq!(flags(sample), expected, "{sample:?}");
        }
    }

    #[test]
    fn headers_are_detected_by_contrast() {
        for (sample, header) in [
            ("wpi,t,no\n30.7,1960q1,1\n30.8,1960q2,2\n", true),
            ("x,t\ny,f\n", false),
            ("id,name\n1,Ann\n2,Bo\n", true),
            ("1,Ann\n2,Bo\n", false),
            ("Ann,true\nBo,false\n", false),
            ("name,city\nAnn,Rome\nBo,Oslo\n", true),
            ("Rome,Ann\nOslo,Bo\nRome,Cy\n", false),
            ("a,a\nb,c\n", false),
            ("id,name\n", true),
        ] {
            assert_eq!(sniff(sample.as_bytes()).dialect.header, header, "{sample:?}");
        }
    }

    #[test]
    fn comments_are_distinguished_from_a_header_that_begins_with_a_hash() {
        assert_eq!(flags("# made by hand\n# on Monday, late\nid,n\n1,2\n"), "--delimiter ',' --comment '#'");
        assert_eq!(flags("#id,n\n1,2\n3,4\n"), "--delimiter ','");
    }

    #[test]
    fn encodings_are_detected_by_their_bytes() {
        let text = "name,city\nJosé,Málaga\n";
        let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        assert_eq!(flags(text), "--delimiter ','");
        assert_eq!(flags([b"\xef\xbb\xbf", text.as_bytes()].concat()), "--delimiter ','");
        assert_eq!(flags(utf16(u16::to_le_bytes)), "--delimiter ',' --encoding utf-16le");
        assert_eq!(flags(utf16(u16::to_be_bytes)), "--delimiter ',' --encoding utf-16be");
        let marked = [vec![0xff, 0xfe], utf16(u16::to_le_bytes)].concat();
        assert_eq!(flags(&marked), "--delimiter ',' --encoding utf-16le");
        let (latin, _, _) = WINDOWS_1252.encode(text);
        assert_eq!(flags(&latin), "--delimiter ',' --encoding windows-1252");
        assert_eq!(sniff("a\r\nb".as_bytes()).line_end, "CRLF");
    }

    #[test]
    fn a_sample_may_end_anywhere() {
        let text = "id;text\n1;\"é, a\nb\"\n".to_owned() + &"22;\"né, a\nb\"\n".repeat(120_000);
        for skipped in 0..12 {
            let sniffed = sniff(&text.as_bytes()[..SAMPLE_BYTES + skipped]);
            assert_eq!(sniffed.dialect.to_string(), "--delimiter ';'");
        }
        for length in 0..40 {
            sniff(&text.as_bytes()[..length]);
        }
    }

    #[test]
    fn no_sample_panics() {
        let alphabet = b",;\t|: \"'\\#\n\rab1\0\xe9\xff";
        let mut random = 1_u64;
        for _ in 0..300 {
            let bytes = (0..64).map(|_| {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                alphabet[(random >> 33) as usize % alphabet.len()]
            });
            sniff(&bytes.collect::<Vec<u8>>());
        }
    }

    #[test]
    fn it_prints_as_flags_with_evidence() {
        assert_eq!(
            sniff(b"id;price\r\n1;2,50\r\n").to_string(),
            "--delimiter ';'  # 2 fields in 2 records, 100 % confidence; the first record has text above a column of \
             values, so it is a header; line ending CRLF"
        );
    }
}

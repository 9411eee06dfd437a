//! NDJSON → records: one JSON object on each line, whose keys are the names of the fields.
//!
//! Values are kept as they are spelled: a number by its digits, an object or array by its text. A string is its
//! characters, `null` is NULL, and so is a key that is not there. A line that is no such object is a record with a
//! defect, because the next line can be read nevertheless. Blank lines are no records.

use std::collections::HashMap;
use std::io::{self, Read};

use encoding_rs::{Encoding, UTF_8};
use memchr::memchr;

use crate::csv::dialect::Dialect;
use crate::csv::layout::Layout;
use crate::csv::limits::{MAX_RECORD_BYTES_CEILING, READ_BLOCK};
use crate::csv::reader::{Header, RecordReader};
use crate::csv::record::{Defect, FieldSpan, Notation, Quoting, Record, StrayFields};
use crate::error::Location;
use crate::{Error, Result};

/// What a reader of NDJSON does with keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Keys {
    /// The keys, which are the fields of a record, in this order.
    pub(crate) names: Vec<String>,
    /// Add every other key to them.
    pub(crate) collects: bool,
    /// Ignore every other key; otherwise it is a defect.
    pub(crate) ignores_others: bool,
}

/// Reads records one by one from `R`, holding one line and one block in memory.
#[derive(Debug)]
pub(crate) struct JsonRecords<R> {
    input: R,
    name: String,
    dialect: Dialect,
    max_record_bytes: usize,
    buffer: Vec<u8>,
    /// `buffer[start..filled]` has been read but not yet returned.
    start: usize,
    filled: usize,
    /// `buffer[start..searched]` has no line end.
    searched: usize,
    at_end: bool,
    /// The line on which the next record begins, from 1.
    line: u64,
    /// The byte offset of the next record in the file.
    offset: u64,
    object: ObjectParser,
    defect: Option<Defect>,
}

/// The keys, and the values of the current record.
#[derive(Debug)]
struct ObjectParser {
    keys: Keys,
    /// The index of each key.
    indexes: HashMap<Vec<u8>, usize>,
    /// Whether to keep the JSON text of each field.
    keeps_json: Vec<bool>,
    /// The values, back to back.
    text: Vec<u8>,
    spans: Vec<FieldSpan>,
    /// The key being read, without escapes.
    key: Vec<u8>,
    /// The number of the current line, from 1, without blank ones.
    current: u64,
    /// The last line in which each key occurred.
    seen: Vec<u64>,
}

impl<R: Read> JsonRecords<R> {
    /// Read `input`, which errors call `name`.
    pub(crate) fn new(input: R, name: &str, keys: Keys, max_record_bytes: usize) -> Self {
        let indexes = keys.names.iter().enumerate().map(|(index, key)| (key.clone().into_bytes(), index));
        let indexes = indexes.collect();
        let keeps_json = vec![false; keys.names.len()];
        let (text, spans, key) = (Vec::new(), Vec::new(), Vec::new());
        JsonRecords {
            input,
            name: name.to_owned(),
            dialect: Dialect::default(),
            max_record_bytes: max_record_bytes.min(MAX_RECORD_BYTES_CEILING),
            buffer: vec![0; READ_BLOCK],
            start: 0,
            filled: 0,
            searched: 0,
            at_end: false,
            line: 1,
            offset: 0,
            object: ObjectParser {
                seen: vec![0; keys.names.len()],
                keys,
                indexes,
                keeps_json,
                text,
                spans,
                key,
                current: 0,
            },
            defect: None,
        }
    }

    /// The keys found so far.
    pub(crate) fn keys(&self) -> &[String] {
        &self.object.keys.names
    }

    /// Skip blank lines; whether there is another line.
    fn skip_blank_lines(&mut self) -> Result<bool> {
        loop {
            while let Some(byte) = self.buffer[self.start..self.filled].first() {
                match byte {
                    b'\n' => self.line += 1,
                    b' ' | b'\t' | b'\r' => {}
                    _ => return Ok(true),
                }
                self.start += 1;
                self.offset += 1;
            }
            if !self.fill()? {
                return Ok(false);
            }
        }
    }

    /// The length of the line at `start`, with its ending.
    fn find_line_end(&mut self) -> Result<usize> {
        self.searched = self.start;
        loop {
            if let Some(at) = memchr(b'\n', &self.buffer[self.searched..self.filled]) {
                return Ok(self.searched + at + 1 - self.start);
            }
            self.searched = self.filled;
            if self.filled - self.start > self.max_record_bytes {
                return Err(self.too_long());
            }
            if !self.fill()? {
                return Ok(self.filled - self.start);
            }
        }
    }

    /// Read more into the buffer; `false` at the end of the input.
    fn fill(&mut self) -> Result<bool> {
        if self.at_end {
            return Ok(false);
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.filled, 0);
            self.searched = self.searched.saturating_sub(self.start);
            self.filled -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.filled < READ_BLOCK / 2 {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let is_first = self.offset == 0 && self.filled == 0;
        loop {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(0) => {
                    self.at_end = true;
                    break;
                }
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::input(format!("failed to read {}: {error}", self.name))),
            }
            // The first read continues until it is long enough to contain a whole byte order mark.
            if !is_first || self.filled >= 3 {
                break;
            }
        }
        if is_first {
            self.skip_byte_order_mark()?;
        }
        Ok(self.filled > self.start)
    }

    fn skip_byte_order_mark(&mut self) -> Result<()> {
        match Encoding::for_bom(&self.buffer[..self.filled]) {
            Some((found, length)) if found == UTF_8 => {
                (self.start, self.offset) = (length, length as u64);
                Ok(())
            }
            Some((found, _)) => {
                let message = format!("{} begins with the byte order mark of {}", self.name, found.name());
                Err(Error::input(message)
                    .with_help("JSON is read in UTF-8: convert it first, for example with iconv"))
            }
            None => Ok(()),
        }
    }

    #[cold]
    fn too_long(&self) -> Error {
        let (name, line, limit) = (&self.name, self.line, self.max_record_bytes);
        Error::input(format!("{name}, line {line}: the line is longer than {limit} bytes"))
            .with_help(
                "check that there is one object on each line, as jq -c writes them; --max-record-bytes raises the limit",
            )
            .at(Location::on_line(name, line))
    }
}

impl<R: Read + Send> RecordReader for JsonRecords<R> {
    fn name(&self) -> &str {
        &self.name
    }

    fn encoding(&self) -> &'static Encoding {
        UTF_8
    }

    fn header(&mut self) -> Result<Option<Header>> {
        if !self.skip_blank_lines()? {
            return Ok(None);
        }
        Ok(Some(Header { names: self.object.keys.names.clone(), line: self.line, raw: Vec::new() }))
    }

    fn has_next(&mut self) -> Result<bool> {
        self.skip_blank_lines()
    }

    fn next_named(&mut self) -> Result<Option<(Record<'_>, &str)>> {
        if !self.skip_blank_lines()? {
            return Ok(None);
        }
        let length = self.find_line_end()?;
        let (start, line, offset) = (self.start, self.line, self.offset);
        self.start += length;
        self.offset += length as u64;
        self.line += 1;
        let raw = &self.buffer[start..start + length];
        self.defect = self.object.parse(raw.trim_ascii_end()).err();
        if self.defect.is_some() {
            self.object.spans.clear();
        }
        let (text, spans) = (&*self.object.text, &*self.object.spans);
        let (dialect, defect) = (&self.dialect, self.defect.as_ref());
        let record = Record {
            text,
            raw,
            spans,
            strays: StrayFields::default(),
            positions: None,
            misfit: None,
            is_short: false,
            dialect,
            defect,
            line,
            last_line: line,
            offset,
        };
        Ok(Some((record, &self.name)))
    }

    fn set_layout(&mut self, _: Layout) {
        unreachable!("all files have the same keys, in the same order");
    }

    fn is_reordered(&self) -> bool {
        false
    }

    fn keep_json(&mut self, fields: &[usize]) {
        for field in fields {
            self.object.keeps_json[*field] = true;
        }
    }
}

/// The bytes of a line that have not been parsed.
struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

/// What is not as JSON wants it, and where: bytes from the start of the line.
#[derive(Clone, Copy)]
struct Unexpected {
    what: &'static str,
    at: usize,
}

impl ObjectParser {
    /// Parse `line` into the fields.
    fn parse(&mut self, line: &[u8]) -> Result<(), Defect> {
        self.text.clear();
        self.spans.clear();
        self.current += 1;
        let absent = FieldSpan { start: 0, end: 0, quoting: Quoting::Missing };
        self.spans.resize(self.keys.names.len(), absent);
        let mut cursor = Cursor { line, at: 0 };
        self.parse_object(&mut cursor)
    }

    fn parse_object(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Defect> {
        cursor.spaces();
        let help = "there has to be one JSON object on each line, as jq -c '.[]' writes those of an array";
        if !cursor.eat(b'{') {
            return Err(Defect { message: "the line is not a JSON object".to_owned(), help });
        }
        cursor.spaces();
        let mut expected = 0;
        let mut is_empty = cursor.eat(b'}');
        while !is_empty {
            cursor.spaces();
            self.key.clear();
            cursor.string(&mut self.key).map_err(not_json)?;
            cursor.spaces();
            cursor.expect(b':', "a colon").map_err(not_json)?;
            cursor.spaces();
            let index = self.index(expected)?;
            if let Some(index) = index {
                if std::mem::replace(&mut self.seen[index], self.current) == self.current {
                    let message = format!("the key {} occurs twice", shown(&self.key));
                    return Err(Defect { message, help: "leave one of them out" });
                }
                expected = index + 1;
            }
            self.value(index, cursor).map_err(not_json)?;
            cursor.spaces();
            is_empty = cursor.eat(b'}');
            if !is_empty {
                cursor.expect(b',', "a comma or the end of the object").map_err(not_json)?;
            }
        }
        cursor.spaces();
        if cursor.at < cursor.line.len() {
            return Err(not_json(Unexpected { what: "the end of the line", at: cursor.at }));
        }
        Ok(())
    }

    /// The field of the current key, which is most likely the one of index `expected`; `None` if it is to be ignored.
    fn index(&mut self, expected: usize) -> Result<Option<usize>, Defect> {
        if self.keys.names.get(expected).is_some_and(|name| name.as_bytes() == self.key) {
            return Ok(Some(expected));
        }
        if let Some(&index) = self.indexes.get(&self.key) {
            return Ok(Some(index));
        }
        if self.keys.ignores_others {
            return Ok(None);
        }
        let name = shown(&self.key);
        let key = String::from_utf8(self.key.clone());
        let key =
            key.map_err(|_| Defect { message: format!("the key {name} is not UTF-8"), help: "correct it" })?;
        if !self.keys.collects {
            return Err(Defect {
                message: format!("the key {name} is not among those of the first lines, or of --columns"),
                help: "name all keys with --columns, in any order; --ignore-extra then skips others",
            });
        }
        let index = self.keys.names.len();
        self.keys.names.push(key);
        self.indexes.insert(self.key.clone(), index);
        self.keeps_json.push(false);
        self.seen.push(0);
        self.spans.push(FieldSpan { start: 0, end: 0, quoting: Quoting::Missing });
        Ok(Some(index))
    }

    /// Take the value at `cursor` as that of field `index`; `None` to ignore it.
    fn value(&mut self, index: Option<usize>, cursor: &mut Cursor<'_>) -> Result<(), Unexpected> {
        let (from, start) = (cursor.at, self.text.len());
        let notation = match cursor.peek() {
            Some(b'"') => {
                cursor.string(&mut self.text)?;
                Notation::String
            }
            Some(b'{' | b'[') => {
                cursor.nested()?;
                Notation::Nested
            }
            _ if cursor.word(b"null") => return Ok(()),
            _ => {
                cursor.scalar()?;
                Notation::Scalar
            }
        };
        let Some(index) = index else {
            self.text.truncate(start);
            return Ok(());
        };
        if notation != Notation::String || self.keeps_json[index] {
            self.text.truncate(start);
            self.text.extend_from_slice(&cursor.line[from..cursor.at]);
        }
        let (start, end) = (start as u32, self.text.len() as u32);
        self.spans[index] = FieldSpan { start, end, quoting: Quoting::Verbatim(notation) };
        Ok(())
    }
}

/// The defect of a line that is not JSON.
#[cold]
fn not_json(unexpected: Unexpected) -> Defect {
    let Unexpected { what, at } = unexpected;
    Defect {
        message: format!("not JSON: expected {what} at byte {} of the line", at + 1),
        help: "correct the line; there has to be one JSON object on each, as jq -c . writes them",
    }
}

/// `key` for a message.
fn shown(key: &[u8]) -> String {
    format!("\"{}\"", String::from_utf8_lossy(key).escape_debug())
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Unexpected> {
        if self.eat(byte) { Ok(()) } else { Err(Unexpected { what, at: self.at }) }
    }

    fn spaces(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn rest(&self) -> &'a [u8] {
        &self.line[self.at..]
    }

    /// Skip `word` if it is next; return whether it was.
    fn word(&mut self, word: &[u8]) -> bool {
        let is_next = self.rest().starts_with(word)
            && !self.line.get(self.at + word.len()).is_some_and(u8::is_ascii_alphanumeric);
        self.at += if is_next { word.len() } else { 0 };
        is_next
    }

    /// Append the characters of the string that comes next to `out`.
    fn string(&mut self, out: &mut Vec<u8>) -> Result<(), Unexpected> {
        self.expect(b'"', "a string")?;
        loop {
            let plain = self.rest().iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count();
            out.extend_from_slice(&self.rest()[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape(out)?,
                _ => return Err(Unexpected { what: "the end of the string", at: self.at }),
            }
        }
    }

    /// Append the character of the escape that comes next to `out`.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), Unexpected> {
        let unexpected = |at| Unexpected { what: "a character that JSON can escape", at };
        let at = self.at;
        self.at += 2;
        out.push(match self.line.get(at + 1) {
            Some(&byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let character = self.code_unit().and_then(|unit| match unit {
                    0xd800..0xdc00 if self.rest().starts_with(b"\\u") => {
                        self.at += 2;
                        let low = self.code_unit().filter(|low| (0xdc00..0xe000).contains(low))?;
                        char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
                    }
                    unit => char::from_u32(unit),
                });
                let character = character.ok_or_else(|| unexpected(at))?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(unexpected(at)),
        });
        Ok(())
    }

    /// Take four hexadecimal digits.
    fn code_unit(&mut self) -> Option<u32> {
        let digits = self.line.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
    }

    /// Skip a number, `true` or `false`.
    fn scalar(&mut self) -> Result<(), Unexpected> {
        let at = self.at;
        if self.word(b"true") || self.word(b"false") {
            return Ok(());
        }
        self.number().ok_or(Unexpected { what: "a value", at })
    }

    fn number(&mut self) -> Option<()> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'-') || self.eat(b'+');
            self.digits()?;
        }
        Some(())
    }

    /// Skip one or more digits.
    fn digits(&mut self) -> Option<()> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(())
    }

    /// Skip an object or an array.
    fn nested(&mut self) -> Result<(), Unexpected> {
        // Whether each open bracket is a brace.
        let mut open = Vec::new();
        let mut ignored = Vec::new();
        loop {
            self.spaces();
            let begins = match self.peek() {
                Some(byte @ (b'{' | b'[')) => {
                    self.at += 1;
                    open.push(byte == b'{');
                    true
                }
                Some(b'"') => {
                    ignored.clear();
                    self.string(&mut ignored)?;
                    false
                }
                _ if self.word(b"null") => false,
                _ => {
                    self.scalar()?;
                    false
                }
            };
            if self.close(&mut open, begins)? {
                return Ok(());
            }
            if open.last() == Some(&true) {
                self.spaces();
                ignored.clear();
                self.string(&mut ignored)?;
                self.spaces();
                self.expect(b':', "a colon")?;
            }
        }
    }

    /// After a value, or after an opening bracket if it just `begins`: close brackets as long as they end here, and skip
    /// the comma before the next value. Return whether all are closed.
    fn close(&mut self, open: &mut Vec<bool>, mut begins: bool) -> Result<bool, Unexpected> {
        while let Some(&is_object) = open.last() {
            self.spaces();
            if self.eat(if is_object { b'}' } else { b']' }) {
                open.pop();
                begins = false;
                continue;
            }
            if !begins {
                self.expect(b',', "a comma or a closing bracket")?;
            }
            return Ok(false);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::DEFAULT_MAX_RECORD_BYTES;
    use crate::csv::record::Field;

    fn collecting() -> Keys {
        Keys { collects: true, ..Keys::default() }
    }

    /// The line of a record, and its values or its defect.
    type Found = (u64, Result<Vec<Option<String>>, String>);

    /// The keys of `text`, and its records.
    fn read(text: &str, keys: Keys) -> (Vec<String>, Vec<Found>) {
        let mut records = JsonRecords::new(text.as_bytes(), "x", keys, DEFAULT_MAX_RECORD_BYTES);
        let mut found = Vec::new();
        let mut offset = None;
        while let Some((record, _)) = records.next_named().unwrap() {
            assert!(text.as_bytes()[record.offset as usize..].starts_with(record.raw()));
            assert!(offset.replace(record.offset) < Some(record.offset));
            let mut scratch = Vec::new();
            let mut value = |index| match record.field(index, &mut scratch) {
                Field::Null => None,
                Field::Value(value) => Some(String::from_utf8(value.to_vec()).unwrap()),
            };
            let values = match record.defect() {
                Some(defect) => Err(defect.message.clone()),
                None => Ok((0..record.len()).map(&mut value).collect()),
            };
            found.push((record.line, values));
        }
        (records.keys().to_vec(), found)
    }

    fn found(line: u64, values: &[Option<&str>]) -> Found {
        (line, Ok(values.iter().map(|value| value.map(str::to_owned)).collect()))
    }

    #[test]
    fn values_are_kept_as_they_are_spelled() {
        let text = "\u{feff}{\"a\":1.50,\"b\":\"x\\ty\\u00e9\\ud83d\\ude00\\/\"}\r\n\n \n{\"b\": null, \"c\" :[1, {\"d\":\"]\"}] , \"a\":true}\n\
                    {}\n{\"\\u0062\":\"\",\"e\":-1e+5}";
        let (keys, records) = read(text, collecting());
        assert_eq!(keys, ["a", "b", "c", "e"]);
        assert_eq!(
            records,
            [
                found(1, &[Some("1.50"), Some("x\ty\u{e9}\u{1f600}/")]),
                found(4, &[Some("true"), None, Some("[1, {\"d\":\"]\"}]")]),
                found(5, &[None, None, None]),
                found(6, &[None, Some(""), None, Some("-1e+5")]),
            ]
        );
    }

    #[test]
    fn the_text_of_strings_is_kept_where_it_is_wanted() {
        let keys = Keys { names: vec!["a".into(), "b".into()], ..Keys::default() };
        let text = &b"{\"a\":\"x\\ny\",\"b\":\"z\"}\n"[..];
        let mut records = JsonRecords::new(text, "x", keys, DEFAULT_MAX_RECORD_BYTES);
        records.keep_json(&[0]);
        let (record, _) = records.next_named().unwrap().unwrap();
        let mut scratch = Vec::new();
        assert_eq!(record.field(0, &mut scratch), Field::Value(b"\"x\\ny\""));
        assert_eq!(
            (record.notation(0), record.field(1, &mut scratch)),
            (Notation::String, Field::Value(b"z"))
        );
    }

    #[test]
    fn lines_that_are_not_objects_are_defects() {
        for (line, expected) in [
            ("[1]", "the line is not a JSON object"),
            ("{\"a\":1", "not JSON: expected a comma or the end of the object at byte 7 of the line"),
            ("{\"a\":1}}", "not JSON: expected the end of the line at byte 8 of the line"),
            ("{\"a\":01}", "not JSON: expected a comma or the end of the object at byte 7 of the line"),
            ("{\"a\":nul}", "not JSON: expected a value at byte 6 of the line"),
            ("{\"a\":NaN}", "not JSON: expected a value at byte 6 of the line"),
            ("{\"a\":\"x}", "not JSON: expected the end of the string at byte 9 of the line"),
            ("{\"a\":\"\\x\"}", "not JSON: expected a character that JSON can escape at byte 7 of the line"),
            (
                "{\"a\":\"\\ud83d\"}",
                "not JSON: expected a character that JSON can escape at byte 7 of the line",
            ),
            ("{\"a\":[1,]}", "not JSON: expected a value at byte 9 of the line"),
            ("{\"a\":{\"b\" 1}}", "not JSON: expected a colon at byte 11 of the line"),
            ("{\"a\":[}]}", "not JSON: expected a value at byte 7 of the line"),
            ("{\"a\":1,}", "not JSON: expected a string at byte 8 of the line"),
            ("{\"a\":1,\"a\":2}", "the key \"a\" occurs twice"),
            ("{\"b\":1}", "the key \"b\" is not among those of the first lines, or of --columns"),
        ] {
            let keys = Keys { names: vec!["a".into()], ..Keys::default() };
            let (_, records) = read(&format!("{line}\n{{\"a\":[]}}"), keys);
            assert_eq!(records, [(1, Err(expected.to_owned())), found(2, &[Some("[]")])], "{line}");
        }
        let keys = Keys { names: vec!["a".into()], ignores_others: true, ..Keys::default() };
        let (_, records) = read("{\"b\":{\"c\":[null,{}]},\"a\":2,\"d\":\"x\"}\n", keys);
        assert_eq!(records, [found(1, &[Some("2")])]);
    }

    #[test]
    fn lines_are_whole_however_long_they_are() {
        let long = "y".repeat(3 * READ_BLOCK);
        let (_, records) = read(&format!("{{\"a\":\"{long}\"}}\n{{\"a\":1}}\n"), collecting());
        assert_eq!(records, [found(1, &[Some(&long)]), found(2, &[Some("1")])]);
        let text = format!("{{}}\n{{\"a\":\"{long}\"}}\n");
        let mut records = JsonRecords::new(text.as_bytes(), "x", collecting(), 100);
        records.next_named().unwrap();
        let error = records.next_named().unwrap_err().to_string();
        assert_eq!(error, "x, line 2: the line is longer than 100 bytes");
    }
}

//! One line of NDJSON → the values of its object.

use std::collections::HashMap;

use crate::csv::record::{Defect, FieldSpan, Notation, Quoting};

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

/// The keys, and the values of the current record.
#[derive(Debug)]
pub(super) struct ObjectParser {
    pub(super) keys: Keys,
    /// The index of each key.
    indexes: HashMap<Vec<u8>, usize>,
    /// Whether to keep the JSON text of each field.
    pub(super) keeps_json: Vec<bool>,
    /// The values, back to back.
    pub(super) text: Vec<u8>,
    pub(super) spans: Vec<FieldSpan>,
    /// The key being read, without escapes.
    key: Vec<u8>,
    /// The number of the current line, from 1, without blank ones.
    current: u64,
    /// The last line in which each key occurred.
    seen: Vec<u64>,
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
    /// A parser of objects with `keys`.
    pub(super) fn new(keys: Keys) -> Self {
        let indexes = keys.names.iter().enumerate().map(|(index, key)| (key.clone().into_bytes(), index));
        ObjectParser {
            indexes: indexes.collect(),
            keeps_json: vec![false; keys.names.len()],
            text: Vec::new(),
            spans: Vec::new(),
            key: Vec::new(),
            current: 0,
            seen: vec![0; keys.names.len()],
            keys,
        }
    }

    /// Begin a line, in which every key is missing.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.spans.clear();
        self.current += 1;
        self.spans.resize(self.keys.names.len(), FieldSpan::MISSING);
    }

    /// Parse `line` into the fields.
    pub(super) fn parse(&mut self, line: &[u8]) -> Result<(), Defect> {
        self.clear();
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
        self.spans.push(FieldSpan::MISSING);
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
        self.spans[index] = FieldSpan { start, end, quoting: Quoting::Verbatim, notation };
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

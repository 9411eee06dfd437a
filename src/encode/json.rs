//! JSON, which the server parses itself; it is checked here so that a bad value does not cost a whole COPY.
//! The grammar is RFC 8259's, as in `src/common/jsonapi.c` of the server's source.

use crate::encode::{Refusal, text};

/// Deeper nesting is left to the server, whose limit is the size of its stack.
const DEEPEST: usize = 1024;

/// Longer numbers are left to the server, which stores those of `jsonb` as `numeric`.
const LONGEST_NUMBER: usize = 1000;

/// `json`: as it is.
pub(super) fn json(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    Reader::check(field, false)?;
    out.extend_from_slice(field);
    Ok(())
}

/// `jsonb`: a version in front.
pub(super) fn jsonb(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    Reader::check(field, true)?;
    out.push(1);
    out.extend_from_slice(field);
    Ok(())
}

/// Goes through a JSON text once.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether strings and numbers have to be storable, not just well-formed.
    stored: bool,
}

/// Which of the open brackets are braces, the innermost last.
struct Open {
    braces: [u64; DEEPEST / 64],
    depth: usize,
}

impl Open {
    fn push(&mut self, brace: bool) -> Result<(), Refusal> {
        let word = self.braces.get_mut(self.depth / 64).ok_or(Refusal::Unsure)?;
        let bit = 1 << (self.depth % 64);
        *word = if brace { *word | bit } else { *word & !bit };
        self.depth += 1;
        Ok(())
    }

    /// Whether the innermost open bracket is a brace; `None` when there is none.
    fn innermost(&self) -> Option<bool> {
        let index = self.depth.checked_sub(1)?;
        Some(self.braces[index / 64] >> (index % 64) & 1 == 1)
    }
}

impl<'a> Reader<'a> {
    fn check(field: &'a [u8], stored: bool) -> Result<(), Refusal> {
        text::check(field)?;
        let mut reader = Reader { bytes: field, at: 0, stored };
        let mut open = Open { braces: [0; DEEPEST / 64], depth: 0 };
        'value: loop {
            match reader.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    reader.at += 1;
                    open.push(bracket == b'{')?;
                    match (bracket, reader.peek()) {
                        (b'{', Some(b'}')) | (b'[', Some(b']')) => {}
                        (b'{', _) => {
                            reader.key()?;
                            continue 'value;
                        }
                        _ => continue 'value,
                    }
                }
                Some(b'"') => reader.string()?,
                Some(b'-' | b'0'..=b'9') => reader.number()?,
                _ => reader.word()?,
            }
            // After a value.
            loop {
                let next = reader.peek();
                match (next, open.innermost()) {
                    (None, None) => return Ok(()),
                    (Some(b','), Some(brace)) => {
                        reader.at += 1;
                        if brace {
                            reader.key()?;
                        }
                        continue 'value;
                    }
                    (Some(b'}'), Some(true)) | (Some(b']'), Some(false)) => {
                        reader.at += 1;
                        open.depth -= 1;
                    }
                    _ => return Err(reader.unexpected()),
                }
            }
        }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    #[cold]
    fn unexpected(&self) -> Refusal {
        Refusal::Invalid(match self.bytes.get(self.at) {
            Some(_) => format!("not JSON at byte {} of the value", self.at + 1),
            None => "not JSON: it ends too early".into(),
        })
    }

    /// A member's name and the colon.
    fn key(&mut self) -> Result<(), Refusal> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        self.string()?;
        if self.peek() != Some(b':') {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self) -> Result<(), Refusal> {
        let rest = &self.bytes[self.at..];
        let word = [&b"true"[..], b"false", b"null"].into_iter().find(|&word| rest.starts_with(word));
        self.at += word.ok_or_else(|| self.unexpected())?.len();
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Refusal> {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(self.unexpected()) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<(), Refusal> {
        let start = self.at;
        self.at += usize::from(self.bytes[self.at] == b'-');
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        let mut exponent = 0;
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            self.at += usize::from(matches!(self.bytes.get(self.at), Some(b'+' | b'-')));
            exponent = self.at;
            self.digits()?;
            exponent = self.at - exponent;
        }
        if self.stored && (exponent > 3 || self.at - start > LONGEST_NUMBER) {
            return Err(Refusal::Unsure);
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Refusal> {
        self.at += 1;
        // The first half of a character beyond U+FFFF was read, so the second has to come.
        let mut high_surrogate = false;
        loop {
            let byte = *self.bytes.get(self.at).ok_or_else(|| self.unexpected())?;
            if high_surrogate && !self.bytes[self.at..].starts_with(br"\u") {
                return Err(self.unexpected());
            }
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    let code = self.escape()?;
                    if self.stored {
                        match code {
                            Some(0xdc00..=0xdfff) if high_surrogate => high_surrogate = false,
                            _ if high_surrogate => return Err(self.unexpected()),
                            Some(0xd800..=0xdbff) => high_surrogate = true,
                            Some(0xdc00..=0xdfff) => return Err(self.unexpected()),
                            Some(0) => return Err(Refusal::Invalid(r"jsonb holds no \u0000".into())),
                            _ => {}
                        }
                    }
                }
                0..0x20 => return Err(self.unexpected()),
                _ => self.at += 1,
            }
        }
    }

    /// What follows a backslash; the code unit if it is `\u` and four digits.
    fn escape(&mut self) -> Result<Option<u16>, Refusal> {
        match self.bytes[self.at + 1..] {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => {
                self.at += 2;
                Ok(None)
            }
            [b'u', a, b, c, d, ..] => {
                let pair = |high, low| text::hex_pair(high, low).map(u16::from);
                let (high, low) = (pair(a, b), pair(c, d));
                let code = high.zip(low).map(|(high, low)| high << 8 | low);
                code.ok_or_else(|| self.unexpected())?;
                self.at += 6;
                Ok(code)
            }
            _ => Err(self.unexpected()),
        }
    }
}

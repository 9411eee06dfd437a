//! JSON. The server parses it again; it is checked here so that a bad value does not fail a whole COPY.
//! The grammar is that of RFC 8259, as in `src/common/jsonapi.c` of the server's source.

use crate::encode::{Refusal, text};

/// Deeper nesting is left to the server, which is limited by the size of its stack.
const DEEPEST: usize = 1024;

/// Longer numbers, in bytes, are left to the server, which stores the numbers of `jsonb` as `numeric`.
const LONGEST_NUMBER: usize = 1000;

/// `json`: the text itself.
pub(super) fn json(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    JsonChecker::check(field, false)?;
    out.extend_from_slice(field);
    Ok(())
}

/// `jsonb`: a version byte and the text.
pub(super) fn jsonb(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    JsonChecker::check(field, true)?;
    out.push(1);
    out.extend_from_slice(field);
    Ok(())
}

/// Checks a JSON text in one pass.
struct JsonChecker<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether strings and numbers must be storable as `jsonb`, not just well-formed.
    stored: bool,
}

/// A stack of open brackets, with a bit for each that is set if it is a brace.
struct OpenBrackets {
    braces: [u64; DEEPEST / 64],
    depth: usize,
}

impl OpenBrackets {
    fn push(&mut self, brace: bool) -> Result<(), Refusal> {
        let word = self.braces.get_mut(self.depth / 64).ok_or(Refusal::NeedsServer)?;
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

impl<'a> JsonChecker<'a> {
    fn check(field: &'a [u8], stored: bool) -> Result<(), Refusal> {
        text::check(field)?;
        let mut checker = JsonChecker { bytes: field, at: 0, stored };
        let mut open = OpenBrackets { braces: [0; DEEPEST / 64], depth: 0 };
        'value: loop {
            match checker.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    checker.at += 1;
                    open.push(bracket == b'{')?;
                    match (bracket, checker.peek()) {
                        (b'{', Some(b'}')) | (b'[', Some(b']')) => {}
                        (b'{', _) => {
                            checker.key()?;
                            continue 'value;
                        }
                        _ => continue 'value,
                    }
                }
                Some(b'"') => checker.string()?,
                Some(b'-' | b'0'..=b'9') => checker.number()?,
                _ => checker.word()?,
            }
            // What may follow a value.
            loop {
                let next = checker.peek();
                match (next, open.innermost()) {
                    (None, None) => return Ok(()),
                    (Some(b','), Some(brace)) => {
                        checker.at += 1;
                        if brace {
                            checker.key()?;
                        }
                        continue 'value;
                    }
                    (Some(b'}'), Some(true)) | (Some(b']'), Some(false)) => {
                        checker.at += 1;
                        open.depth -= 1;
                    }
                    _ => return Err(checker.unexpected()),
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
            Some(_) => format!("invalid JSON at byte {} of the value", self.at + 1),
            None => "invalid JSON: it ends prematurely".into(),
        })
    }

    /// Skip the name of a member and the colon.
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
            return Err(Refusal::NeedsServer);
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Refusal> {
        self.at += 1;
        // Whether a high surrogate was read, so that a low one must follow.
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
                            Some(0) => return Err(Refusal::Invalid(r"jsonb cannot contain \u0000".into())),
                            _ => {}
                        }
                    }
                }
                0..0x20 => return Err(self.unexpected()),
                _ => self.at += 1,
            }
        }
    }

    /// Skip an escape sequence. Return the code unit if it is `\u` and four digits.
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

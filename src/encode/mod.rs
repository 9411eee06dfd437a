//! The bytes of a CSV field → PostgreSQL's binary format of the column's type.
//!
//! Pure: no I/O, no connection. Each encoder accepts what the type's input function accepts and means the
//! same by it. A value is written without its length, which the caller puts in front.

use std::fmt;

use memchr::memchr;

/// Writes fields of one type; chosen once per column when a load starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoder {
    /// `smallint`: 2 bytes, big-endian.
    Int2,
    /// `integer`: 4 bytes, big-endian.
    Int4,
    /// `bigint`: 8 bytes, big-endian.
    Int8,
    /// `boolean`: one byte, 0 or 1.
    Bool,
    /// `text`, `varchar`, `char(n)` and `name`: the bytes themselves, in UTF-8; the server cuts or refuses.
    Text,
}

/// Why a field was not encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The server would refuse it too; this says what was expected.
    Invalid(String),
    /// The server may take it, but what it means is for the server to say.
    Unsure,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Invalid(expected) => expected,
            Refusal::Unsure => "only the server can tell what it means",
        })
    }
}

impl Encoder {
    /// The encoder for the type with this OID (`pg_type.dat` of the server's source lists them).
    pub fn for_type(oid: u32) -> Option<Self> {
        Some(match oid {
            16 => Encoder::Bool,
            20 => Encoder::Int8,
            21 => Encoder::Int2,
            23 => Encoder::Int4,
            19 | 25 | 1042 | 1043 => Encoder::Text,
            _ => return None,
        })
    }

    /// Append the value that `field` spells to `out`.
    ///
    /// # Errors
    /// When `field` is not a value of the type; `out` is then as it was.
    pub fn encode(self, field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        match self {
            Encoder::Int2 => {
                let value = integer(field, i16::MIN.into(), i16::MAX.into())?;
                out.extend_from_slice(&(value as i16).to_be_bytes());
            }
            Encoder::Int4 => {
                let value = integer(field, i32::MIN.into(), i32::MAX.into())?;
                out.extend_from_slice(&(value as i32).to_be_bytes());
            }
            Encoder::Int8 => {
                let value = integer(field, i64::MIN, i64::MAX)?;
                out.extend_from_slice(&value.to_be_bytes());
            }
            Encoder::Bool => out.push(boolean(field)?.into()),
            Encoder::Text => {
                text(field)?;
                out.extend_from_slice(field);
            }
        }
        Ok(())
    }
}

/// What C's `isspace` takes for white space, which PostgreSQL skips around numbers and booleans.
fn trim(field: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
    let start = field.iter().position(|byte| !is_space(byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &field[start..end]
}

/// A decimal whole number with an optional sign, from `min` to `max`.
fn integer(field: &[u8], min: i64, max: i64) -> Result<i64, Refusal> {
    let refuse = || Refusal::Invalid(format!("expected a whole number from {min} to {max}"));
    let trimmed = trim(field);
    let (negative, digits) = match trimmed {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() {
        return Err(refuse());
    }
    // Counts downwards, because i64::MIN has no positive counterpart.
    let mut value = 0_i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(refuse());
        }
        value = value.checked_mul(10).and_then(|value| value.checked_sub(digit.into())).ok_or_else(refuse)?;
    }
    let value = if negative { Some(value) } else { value.checked_neg() };
    value.filter(|value| (min..=max).contains(value)).ok_or_else(refuse)
}

/// The spellings of `boolin`: any unambiguous beginning of true, false, yes, no, on, off, and 1 and 0.
fn boolean(field: &[u8]) -> Result<bool, Refusal> {
    let word = trim(field);
    let begins = |whole: &str, least: usize| {
        word.len() >= least
            && word.len() <= whole.len()
            && word.eq_ignore_ascii_case(&whole.as_bytes()[..word.len()])
    };
    if begins("true", 1) || begins("yes", 1) || begins("on", 2) || word == b"1" {
        Ok(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == b"0" {
        Ok(false)
    } else {
        Err(Refusal::Invalid("expected true or false, t or f, yes or no, on or off, 1 or 0".into()))
    }
}

/// UTF-8 without zero bytes, which is all that PostgreSQL stores as text.
fn text(field: &[u8]) -> Result<(), Refusal> {
    if memchr(0, field).is_some() {
        return Err(Refusal::Invalid("PostgreSQL's text holds no zero bytes".into()));
    }
    match std::str::from_utf8(field) {
        Ok(_) => Ok(()),
        Err(error) => {
            let at = error.valid_up_to();
            Err(Refusal::Invalid(format!(
                "not UTF-8: byte 0x{:02x} at position {} of the value",
                field[at],
                at + 1
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(encoder: Encoder, field: &str) -> Result<Vec<u8>, Refusal> {
        let mut out = Vec::new();
        encoder.encode(field.as_bytes(), &mut out)?;
        Ok(out)
    }

    #[test]
    fn integers_have_the_servers_limits() {
        assert_eq!(encode(Encoder::Int2, "-32768").unwrap(), [0x80, 0]);
        assert_eq!(encode(Encoder::Int2, " +32767\t").unwrap(), [0x7f, 0xff]);
        assert_eq!(encode(Encoder::Int4, "-2147483648").unwrap(), [0x80, 0, 0, 0]);
        assert_eq!(encode(Encoder::Int8, "-9223372036854775808").unwrap(), i64::MIN.to_be_bytes());
        assert_eq!(encode(Encoder::Int8, "000000000000000000000042").unwrap(), 42_i64.to_be_bytes());
        for (encoder, field) in [
            (Encoder::Int2, "32768"),
            (Encoder::Int2, "-32769"),
            (Encoder::Int4, "2147483648"),
            (Encoder::Int8, "9223372036854775808"),
            (Encoder::Int8, "-9223372036854775809"),
            (Encoder::Int4, ""),
            (Encoder::Int4, "-"),
            (Encoder::Int4, "1 2"),
            (Encoder::Int4, "1.0"),
            (Encoder::Int4, "+-1"),
            (Encoder::Int4, "٣"),
        ] {
            assert!(encode(encoder, field).is_err(), "{field}");
        }
    }

    #[test]
    fn false_is_false() {
        for spelling in ["false", "FALSE", "f", "no", "n", "off", "of", "0", " fa "] {
            assert_eq!(encode(Encoder::Bool, spelling).unwrap(), [0], "{spelling}");
        }
        for spelling in ["true", "tRue", "t", "yes", "y", "on", "1", "\ty\n"] {
            assert_eq!(encode(Encoder::Bool, spelling).unwrap(), [1], "{spelling}");
        }
        for spelling in ["o", "", "2", "truer", "00", "wahr"] {
            assert!(encode(Encoder::Bool, spelling).is_err(), "{spelling}");
        }
    }

    #[test]
    fn text_is_utf8_without_zero_bytes() {
        assert_eq!(encode(Encoder::Text, "Dar‘ā").unwrap(), "Dar‘ā".as_bytes());
        let refused = Encoder::Text.encode(b"S\xe3o", &mut Vec::new()).unwrap_err();
        assert_eq!(refused.to_string(), "not UTF-8: byte 0xe3 at position 2 of the value");
        assert!(Encoder::Text.encode(b"a\0b", &mut Vec::new()).is_err());
    }
}

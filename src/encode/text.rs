//! Text and similar types: `bool.c`, `varchar.c`, `name.c`, `uuid.c`, and `bytea` in `varlena.c` and
//! `encode.c` of the server's `src/backend/utils/adt`.

use memchr::memchr;

use crate::encode::{Refusal, invalid, trim};

/// The longest `name`, in bytes.
const LONGEST_NAME: usize = 63;

/// Check that `field` is UTF-8 without zero bytes, the only text that PostgreSQL stores.
#[inline]
pub(super) fn check(field: &[u8]) -> Result<(), Refusal> {
    // Most text is short ASCII, for which the two searches below would cost more than everything else.
    if is_plain_ascii(field) {
        return Ok(());
    }
    check_all(field)
}

/// Whether every byte is from 1 to 0x7f. Eight or four bytes are tested at once, some of them twice.
#[inline]
fn is_plain_ascii(field: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    // Subtracting 1 from each byte sets the high bit of a zero byte; other bytes do not borrow from their neighbours.
    let others = |word: u64| (word | word.wrapping_sub(ONES)) & (ONES << 7);
    let eight = |bytes: &[u8; 8]| others(u64::from_le_bytes(*bytes));
    let four = |bytes: &[u8; 4]| others(u64::from(u32::from_le_bytes(*bytes)) | ONES << 32);
    if let Some(last) = field.last_chunk() {
        let (words, _) = field.as_chunks();
        words.iter().fold(eight(last), |found, word| found | eight(word)) == 0
    } else if let (Some(first), Some(last)) = (field.first_chunk(), field.last_chunk()) {
        four(first) | four(last) == 0
    } else {
        field.iter().all(|byte| (1..0x80).contains(byte))
    }
}

#[inline(never)]
fn check_all(field: &[u8]) -> Result<(), Refusal> {
    if memchr(0, field).is_some() {
        return Err(Refusal::Invalid("text cannot contain zero bytes".into()));
    }
    match std::str::from_utf8(field) {
        Ok(_) => Ok(()),
        Err(error) => Err(not_utf8(field, error.valid_up_to())),
    }
}

#[cold]
fn not_utf8(field: &[u8], at: usize) -> Refusal {
    Refusal::Invalid(format!("not UTF-8: byte 0x{:02x} at position {} of the value", field[at], at + 1))
}

/// Parse a boolean as `boolin` does: 1, 0, or any unambiguous prefix of true, false, yes, no, on or off.
#[inline]
pub(super) fn boolean(field: &[u8]) -> Result<bool, Refusal> {
    // The spellings that programs write, as a fast path.
    match field {
        b"true" => return Ok(true),
        b"false" => return Ok(false),
        _ => {}
    }
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
        Err(invalid(field, "expected true or false, t or f, yes or no, on or off, 1 or 0"))
    }
}

/// `name`, truncated to 63 bytes in the server's encoding.
pub(super) fn name(field: &[u8], utf8: bool, out: &mut Vec<u8>) -> Result<(), Refusal> {
    check(field)?;
    if !utf8 && !field.is_ascii() {
        return Err(Refusal::NeedsServer);
    }
    let mut end = field.len().min(LONGEST_NAME);
    // Do not split a character.
    while end < field.len() && field[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    out.extend_from_slice(&field[..end]);
    Ok(())
}

/// The value of each hexadecimal digit; 0xff for any other byte.
pub(super) const HEX: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        values[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// The byte that two hexadecimal digits spell.
pub(super) fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let (high, low) = (HEX[usize::from(high)], HEX[usize::from(low)]);
    (high | low < 16).then_some(high << 4 | low)
}

/// `bytea`: `\x` and hexadecimal digits, white space between the pairs; else text with `\\` and `\ooo`.
pub(super) fn bytea(field: &[u8], utf8: bool, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let Some(mut digits) = field.strip_prefix(br"\x") else { return escaped_bytea(field, utf8, out) };
    out.reserve(digits.len() / 2);
    loop {
        digits = match digits {
            [] => return Ok(()),
            [b' ' | b'\n' | b'\t' | b'\r', rest @ ..] => rest,
            [high, low, rest @ ..] => {
                out.push(hex_pair(*high, *low).ok_or_else(not_hex)?);
                rest
            }
            [_] => return Err(not_hex()),
        };
    }
}

#[cold]
fn not_hex() -> Refusal {
    Refusal::Invalid(r"expected pairs of hexadecimal digits after \x".into())
}

fn escaped_bytea(field: &[u8], utf8: bool, out: &mut Vec<u8>) -> Result<(), Refusal> {
    check(field)?;
    let mut rest = field;
    while let Some(at) = memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = match &rest[at + 1..] {
            [b'\\', rest @ ..] => {
                out.push(b'\\');
                rest
            }
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest
            }
            _ => {
                return Err(Refusal::Invalid(
                    "each backslash must be followed by another backslash or three octal digits".into(),
                ));
            }
        };
    }
    out.extend_from_slice(rest);
    if utf8 || field.is_ascii() { Ok(()) } else { Err(Refusal::NeedsServer) }
}

/// `uuid`: 32 hexadecimal digits, optionally with a hyphen after any group of four but the last, and in braces.
pub(super) fn uuid(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    uuid_bytes(field, out).ok_or_else(|| {
        Refusal::Invalid("expected a UUID: 32 hexadecimal digits, with or without hyphens".into())
    })
}

fn uuid_bytes(field: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = match field {
        [b'{', inner @ .., b'}'] => inner,
        _ => field,
    };
    for index in 0..16 {
        let [high, low, after @ ..] = rest else { return None };
        out.push(hex_pair(*high, *low)?);
        rest = match after {
            [b'-', after @ ..] if index % 2 == 1 && index < 15 => after,
            _ => after,
        };
    }
    rest.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_that_is_not_plain_ascii_is_found_at_any_position() {
        for length in 0..40 {
            let field: Vec<u8> = (0..length).map(|at| if at % 2 == 0 { 1 } else { 0x7f }).collect();
            assert!(is_plain_ascii(&field), "{length}");
            for (at, other) in (0..length).flat_map(|at| [(at, 0), (at, 0x80), (at, 0xff)]) {
                let mut field = field.clone();
                field[at] = other;
                assert!(!is_plain_ascii(&field), "{other} at {at} of {length}");
            }
        }
    }
}

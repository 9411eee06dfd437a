//! Numbers: `int.c`, `int8.c`, `float.c` and `numeric.c` of the server's `src/backend/utils/adt`.

use std::str::FromStr;

use crate::encode::{Refusal, invalid, is_space, trim};

/// Floats longer than this many bytes are left to the server, because parsers differ in how they cap exponents.
const LONGEST_FLOAT: usize = 10_000;

/// The largest scale that `numeric` stores.
const MAX_SCALE: i64 = 16_383;

/// NaN and the infinities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpecialValue {
    NaN,
    Infinity,
    MinusInfinity,
}

/// Split off a leading sign. Return whether it is a minus, and the rest.
fn sign(number: &[u8]) -> (bool, &[u8]) {
    match number {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    }
}

/// Whether the unsigned `number` may be in a notation introduced in version 16: `0x1f`, `1_000`.
fn is_newer_spelling(number: &[u8]) -> bool {
    matches!(number, [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B', ..]) || number.contains(&b'_')
}

/// Parse a decimal integer with an optional sign, from `min`, which is negative, to `max`.
#[inline]
pub(super) fn integer(field: &[u8], min: i64, max: i64) -> Result<i64, Refusal> {
    let (negative, digits) = sign(trim(field));
    let significant = if digits.len() > 19 { without_leading_zeros(digits) } else { digits };
    // 19 digits cannot overflow a u64.
    if digits.is_empty() || significant.len() > 19 {
        return Err(not_integer(field, digits, min, max));
    }
    let mut magnitude = 0_u64;
    for byte in significant {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(not_integer(field, digits, min, max));
        }
        magnitude = magnitude * 10 + u64::from(digit);
    }
    let (limit, value) = if negative {
        (min.unsigned_abs(), magnitude.wrapping_neg().cast_signed())
    } else {
        (max.unsigned_abs(), magnitude.cast_signed())
    };
    if magnitude <= limit { Ok(value) } else { Err(not_integer(field, digits, min, max)) }
}

fn without_leading_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    &digits[zeros..]
}

#[cold]
fn not_integer(field: &[u8], digits: &[u8], min: i64, max: i64) -> Refusal {
    if is_newer_spelling(digits) {
        return Refusal::NeedsServer;
    }
    invalid(field, format!("expected a whole number from {min} to {max}"))
}

/// Parse `NaN`, `inf` or `Infinity`, in any case.
fn special(trimmed: &[u8]) -> Option<SpecialValue> {
    let (negative, word) = sign(trimmed);
    if trimmed.eq_ignore_ascii_case(b"nan") {
        Some(SpecialValue::NaN)
    } else if word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"infinity") {
        Some(if negative { SpecialValue::MinusInfinity } else { SpecialValue::Infinity })
    } else {
        None
    }
}

/// `real`.
pub(super) fn float4(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let value: f32 = match special(trim(field)) {
        Some(SpecialValue::NaN) => f32::from_bits(0x7fc0_0000),
        Some(SpecialValue::Infinity) => f32::INFINITY,
        Some(SpecialValue::MinusInfinity) => f32::NEG_INFINITY,
        None => float(field, "real")?,
    };
    out.extend_from_slice(&value.to_be_bytes());
    Ok(())
}

/// `double precision`.
pub(super) fn float8(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let value: f64 = match special(trim(field)) {
        Some(SpecialValue::NaN) => f64::from_bits(0x7ff8_0000_0000_0000),
        Some(SpecialValue::Infinity) => f64::INFINITY,
        Some(SpecialValue::MinusInfinity) => f64::NEG_INFINITY,
        None => float(field, "double precision")?,
    };
    out.extend_from_slice(&value.to_be_bytes());
    Ok(())
}

/// Parse a decimal number, rounded to the nearest value of the type, as `strtof` and `strtod` do.
fn float<F: FromStr + Copy + Into<f64>>(field: &[u8], type_name: &str) -> Result<F, Refusal> {
    let trimmed = trim(field);
    let decimal = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    if trimmed.len() > LONGEST_FLOAT || !trimmed.iter().all(decimal) {
        return Err(match sign(trimmed).1 {
            // C also reads hexadecimal numbers and NaN with a payload.
            [b'0', b'x' | b'X', ..] | [b'n' | b'N' | b'i' | b'I', ..] => Refusal::NeedsServer,
            _ if trimmed.len() > LONGEST_FLOAT => Refusal::NeedsServer,
            _ => invalid(field, "expected a number"),
        });
    }
    let value: F = std::str::from_utf8(trimmed)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| invalid(field, "expected a number"))?;
    let magnitude: f64 = value.into().abs();
    // The server refuses overflow to infinity and underflow to 0.
    let mantissa = trimmed.split(|byte| byte.eq_ignore_ascii_case(&b'e')).next().unwrap_or_default();
    if magnitude.is_infinite()
        || (magnitude == 0.0 && mantissa.iter().any(|byte| matches!(byte, b'1'..=b'9')))
    {
        return Err(Refusal::Invalid(format!("out of range for type {type_name}")));
    }
    Ok(value)
}

/// `numeric`, of any precision; the server rounds it to the precision of the column.
pub(super) fn numeric(field: &[u8], infinity: bool, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let trimmed = trim(field);
    let Some(decimal) = Decimal::parse(trimmed) else {
        let sign = match special(trimmed) {
            Some(SpecialValue::NaN) => 0xc000,
            Some(SpecialValue::Infinity) if infinity => 0xd000,
            Some(SpecialValue::MinusInfinity) if infinity => 0xf000,
            Some(_) => return Err(invalid(field, "numeric has no infinity before PostgreSQL 14")),
            None => return Err(not_numeric(field, trimmed)),
        };
        put_header(out, 0, 0, sign, 0);
        return Ok(());
    };
    decimal.encode(out)
}

#[cold]
fn not_numeric(field: &[u8], trimmed: &[u8]) -> Refusal {
    // Versions before 16 read an exponent with `strtol`, which skips leading white space.
    if is_newer_spelling(sign(trimmed).1) || trimmed.iter().any(|byte| is_space(*byte)) {
        return Refusal::NeedsServer;
    }
    invalid(field, "expected a number")
}

fn put_header(out: &mut Vec<u8>, digits: u16, weight: i16, sign: u16, scale: u16) {
    for part in [digits, weight.cast_unsigned(), sign, scale] {
        out.extend_from_slice(&part.to_be_bytes());
    }
}

/// The parts of a decimal number.
struct Decimal<'a> {
    negative: bool,
    /// The digits before the point.
    whole: &'a [u8],
    /// The digits after the point.
    fraction: &'a [u8],
    /// `None` if it has more than six digits, too many for any number that can be stored.
    exponent: Option<i64>,
}

impl<'a> Decimal<'a> {
    /// Parse `number`; `None` if it is not in the notation that all versions accept.
    fn parse(number: &'a [u8]) -> Option<Self> {
        let digits_in = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (negative, rest) = sign(number);
        let (whole, rest) = rest.split_at(digits_in(rest));
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => rest.split_at(digits_in(rest)),
            _ => (&rest[..0], rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let exponent = match rest {
            [] => Some(0),
            [b'e' | b'E', rest @ ..] => {
                let (negative, digits) = sign(rest);
                if digits.is_empty() || digits_in(digits) < digits.len() {
                    return None;
                }
                // No number with an exponent of more than six digits can be stored.
                let value = || digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
                (digits.len() <= 6).then(|| if negative { -value() } else { value() })
            }
            _ => return None,
        };
        Some(Decimal { negative, whole, fraction, exponent })
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let exponent = self.exponent.ok_or(Refusal::NeedsServer)?;
        let scale = (self.fraction.len() as i64 - exponent).max(0);
        if scale > MAX_SCALE {
            return Err(Refusal::NeedsServer);
        }
        let (whole, fraction) = (self.whole, self.fraction);
        let Some(first) = whole.iter().chain(fraction).position(|&digit| digit != b'0') else {
            put_header(out, 0, 0, 0, scale as u16);
            return Ok(());
        };
        // The number of significant digits before the point; negative if zeros follow the point first.
        let before = whole.len() as i64 + exponent - first as i64;
        let Ok(weight) = i16::try_from((before - 1).div_euclid(4)) else { return Err(Refusal::NeedsServer) };

        let header = out.len();
        put_header(out, 0, weight, if self.negative { 0x4000 } else { 0 }, scale as u16);
        let (mut group, mut missing) = (0_u16, (before - 1).rem_euclid(4) + 1);
        // The length of `out` after the last nonzero group: trailing zeros are not sent.
        let mut end = out.len();
        let mut put = |group: u16| {
            out.extend_from_slice(&group.to_be_bytes());
            if group != 0 {
                end = out.len();
            }
        };
        for digit in whole.iter().chain(fraction).skip(first) {
            group = group * 10 + u16::from(digit - b'0');
            missing -= 1;
            if missing == 0 {
                put(group);
                (group, missing) = (0, 4);
            }
        }
        put(group * 10_u16.pow(missing as u32 % 4));
        out.truncate(end);
        let digits = u16::try_from((end - header - 8) / 2).map_err(|_| Refusal::NeedsServer)?;
        out[header..header + 2].copy_from_slice(&digits.to_be_bytes());
        Ok(())
    }
}

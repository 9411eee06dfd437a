//! Counts as people write them.

/// The number that `text` gives: `250000`, `250_000`, `250k`, `2.5e5`; `k`, `M` and `G` are powers of 1000.
///
/// # Errors
/// When it is not a whole number from 0 up, with what is expected.
///
/// ```
/// use postgres_etl::count::parse_count;
///
/// assert_eq!(parse_count("1e6"), Ok(1_000_000));
/// assert_eq!(parse_count("0.5k"), Ok(500));
/// assert!(parse_count("0.5").is_err());
/// ```
pub fn parse_count(text: &str) -> Result<u64, String> {
    read(text).ok_or_else(|| "expected a whole number, such as 250000, 250_000, 250k or 1e6".to_owned())
}

fn read(text: &str) -> Option<u64> {
    let (number, suffix) = match text.char_indices().next_back()? {
        (at, 'k' | 'K') => (&text[..at], 3),
        (at, 'm' | 'M') => (&text[..at], 6),
        (at, 'g' | 'G') => (&text[..at], 9),
        _ => (text, 0),
    };
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // Underscores separate digits.
    let is_grouped = |digits: &str| digits.split('_').all(|group| !group.is_empty());
    if !is_grouped(whole) || !(fraction.is_empty() || is_grouped(fraction)) || mantissa.ends_with('.') {
        return None;
    }
    let fraction = fraction.replace('_', "");
    let fraction = fraction.trim_end_matches('0');
    let digits = whole.replace('_', "") + fraction;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let power = exponent
        .parse::<u32>()
        .ok()?
        .checked_add(suffix)?
        .checked_sub(u32::try_from(fraction.len()).ok()?)?;
    match digits.parse::<u64>().ok()? {
        0 => Some(0),
        number => number.checked_mul(10_u64.checked_pow(power)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_people_write_them() {
        for (text, number) in [
            ("0", 0),
            ("7", 7),
            ("007", 7),
            ("1_000_000", 1_000_000),
            ("1k", 1000),
            ("1.5K", 1500),
            ("2M", 2_000_000),
            ("1g", 1_000_000_000),
            ("1e6", 1_000_000),
            ("1.0", 1),
            ("2.5E3", 2500),
            ("0e99", 0),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_count(text), Ok(number), "{text}");
        }
        for wrong in [
            "",
            "k",
            "-1",
            "+1",
            "1.5",
            "1.",
            ".5k",
            "1e",
            "1e-3",
            "e3",
            "1 000",
            "1,000",
            "_1",
            "1_",
            "1__0",
            "1kk",
            "0x10",
            "ä",
            "1ä",
            "1e20",
            "18446744073709551616",
            "1e99999999999",
        ] {
            assert!(parse_count(wrong).is_err(), "{wrong}");
        }
    }
}

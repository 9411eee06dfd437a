//! A rough classification of values, by which readings of a file are compared.

/// Years, which may well be names of columns.
pub(super) const YEARS: std::ops::RangeInclusive<i64> = 1500..=2100;

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueClass {
    /// Blank, or a word for a missing value, such as `NA`.
    Missing,
    /// Digits with signs, decimal points or commas, exponents and currency or percent signs.
    Number,
    /// Digits with the punctuation of dates and times.
    Time,
    Boolean,
    Text,
}

/// Words for a missing value, in lower case.
const MISSING: [&str; 14] =
    ["na", "n/a", "#n/a", "nan", "null", "none", "nil", "missing", "-", "--", "?", ".", "\\n", "nd"];

/// The class of `value`.
pub(super) fn classify(value: &str) -> ValueClass {
    let value = value.trim();
    let first = value.chars().next();
    if first.is_none() || (value.len() <= 7 && MISSING.iter().any(|word| value.eq_ignore_ascii_case(word))) {
        ValueClass::Missing
    } else if ["true", "false", "yes", "no", "t", "f"].iter().any(|word| value.eq_ignore_ascii_case(word)) {
        ValueClass::Boolean
    } else if is_number(value) {
        ValueClass::Number
    } else if is_time(value) {
        ValueClass::Time
    } else {
        ValueClass::Text
    }
}

/// Whether `value` is a number, perhaps with a currency or percent sign, or with commas.
fn is_number(value: &str) -> bool {
    let value = value.strip_prefix(['$', '€', '£']).or(value.strip_suffix(['%', '€'])).unwrap_or(value);
    let unsigned = value.strip_prefix(['+', '-']).unwrap_or(value);
    let (digits, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let points = digits.matches('.').count();
    let commas = digits.matches(',').count();
    digits.bytes().any(|byte| byte.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || b".,".contains(&byte))
        && (points <= 1 || commas == 0 && points >= 2 && are_thousands(digits, '.'))
        && (commas <= 1 || are_thousands(digits.split('.').next().unwrap_or_default(), ','))
        && is_digits(exponent)
}

/// Whether the groups of `digits` between `separator` have three digits each, but for the first.
fn are_thousands(digits: &str, separator: char) -> bool {
    let mut groups = digits.split(separator);
    groups.next().is_some_and(|first| (1..=3).contains(&first.len())) && groups.all(|group| group.len() == 3)
}

/// Whether `value` is a date, a time, or both.
fn is_time(value: &str) -> bool {
    let separators = value.bytes().filter(|byte| b"-/:.".contains(byte)).count();
    separators >= 1
        && value.len() >= 4
        && value.starts_with(|first: char| first.is_ascii_digit())
        && value.bytes().all(|byte| byte.is_ascii_digit() || b"+-./: TZ".contains(&byte))
}

/// The integer that `value` is, if it is one.
pub(super) fn integer(value: &str) -> Option<i64> {
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_a_class() {
        for (class, values) in [
            (ValueClass::Missing, &["", " ", "NA", "n/a", "?"][..]),
            (ValueClass::Number, &["1", "-1.5", "1e-9", "$3.50", "12%", "1,234,567.8", "2,50", "1.234.567"]),
            (ValueClass::Time, &["12:30", "2024-01-01 12:00:00", "31.12.2024", "1/22/20"]),
            (ValueClass::Boolean, &["TRUE", "no"]),
            (ValueClass::Text, &["Ann", "1960q1", "1;2", "12\" disk", "e", "+", "1,2,3"]),
        ] {
            for value in values {
                assert_eq!(classify(value), class, "{value}");
            }
        }
    }
}

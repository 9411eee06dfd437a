//! Infers the type of a CSV column from its values, so that no value is changed by it.
//!
//! A type other than `text` is chosen only if PostgreSQL would print every value of the column exactly as it is in the
//! file, or, for timestamps, with the same meaning. So `007` is text rather than a number, and so are 20-digit numbers,
//! dates whose order of day and month is ambiguous, and the word `NaN` among integers. NULLs fit every type.

use std::collections::HashMap;

use crate::catalog::TableName;
use crate::csv::{Field, excerpt};
use crate::encode::days_in_month;
use crate::sql::{LONGEST_IDENTIFIER, is_plain, quote, truncate};
use crate::{Error, Result};

/// The types to choose from, besides `text`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CandidateType {
    Boolean,
    Integer,
    BigInt,
    Numeric,
    Date,
    Timestamp,
    TimestampTz,
    Uuid,
}

impl CandidateType {
    /// In order of preference: the first type that fits is chosen.
    const ALL: [CandidateType; 8] = [
        CandidateType::Boolean,
        CandidateType::Integer,
        CandidateType::BigInt,
        CandidateType::Numeric,
        CandidateType::Date,
        CandidateType::Timestamp,
        CandidateType::TimestampTz,
        CandidateType::Uuid,
    ];

    fn sql(self) -> &'static str {
        match self {
            CandidateType::Boolean => "boolean",
            CandidateType::Integer => "integer",
            CandidateType::BigInt => "bigint",
            CandidateType::Numeric => "numeric",
            CandidateType::Date => "date",
            CandidateType::Timestamp => "timestamp",
            CandidateType::TimestampTz => "timestamptz",
            CandidateType::Uuid => "uuid",
        }
    }

    /// Whether `value` is of this type and is preserved by it.
    fn preserves(self, value: &[u8]) -> bool {
        match self {
            CandidateType::Boolean => matches!(value, b"true" | b"false" | b"t" | b"f"),
            CandidateType::Integer => is_canonical_number(value, false) && fits::<i32>(value),
            CandidateType::BigInt => is_canonical_number(value, false) && fits::<i64>(value),
            CandidateType::Numeric => is_canonical_number(value, true),
            CandidateType::Date => strip_date(value).is_some_and(<[u8]>::is_empty),
            CandidateType::Timestamp => is_timestamp(value, <[u8]>::is_empty),
            CandidateType::TimestampTz => is_timestamp(value, is_zone),
            CandidateType::Uuid => is_uuid(value),
        }
    }
}

/// The inference for one column.
#[derive(Debug, Clone)]
struct InferredColumn {
    name: String,
    /// The types that fit all values so far, in order of preference.
    candidates: Vec<CandidateType>,
    /// Whether there was a value other than NULL.
    has_value: bool,
}

/// Infers the columns of a table from the values of records.
#[derive(Debug, Clone)]
pub(crate) struct Inference {
    columns: Vec<InferredColumn>,
    /// A note for each column that was another type until one value made it text, with the position of that value.
    pub text_notes: Vec<String>,
}

impl Inference {
    /// Begin the inference for columns called `names`.
    ///
    /// A name that SQL accepts without quotes is folded to lower case, as SQL does; any other is kept.
    ///
    /// # Errors
    /// When two columns would have the same name, or a column has none.
    pub(crate) fn new(names: &[String]) -> Result<Self> {
        let mut columns: Vec<InferredColumn> = Vec::with_capacity(names.len());
        let mut taken: HashMap<String, usize> = HashMap::with_capacity(names.len());
        for (index, given) in names.iter().enumerate() {
            let lower = given.to_ascii_lowercase();
            let name = truncate(if is_plain(&lower) { &lower } else { given }).to_owned();
            let problem = if name.is_empty() {
                "has no name".to_owned()
            } else if let Some(&other) = taken.get(&name) {
                let kept = format!(", of which PostgreSQL keeps the first {LONGEST_IDENTIFIER} bytes");
                let kept = if given.len() > LONGEST_IDENTIFIER { kept.as_str() } else { "" };
                format!("is called {name}, as column {} is: {} and {given}{kept}", other + 1, names[other])
            } else {
                taken.insert(name.clone(), index);
                let candidates = CandidateType::ALL.to_vec();
                columns.push(InferredColumn { name, candidates, has_value: false });
                continue;
            };
            return Err(Error::input(format!("column {} of the new table {problem}", index + 1))
                .with_help("name the columns with --columns"));
        }
        Ok(Inference { columns, text_notes: Vec::new() })
    }

    /// Take the value of column `index`, from 0, into account; `place` returns its file and line.
    pub(crate) fn observe(&mut self, index: usize, field: Field<'_>, place: impl FnOnce() -> String) {
        let (Some(column), Field::Value(value)) = (self.columns.get_mut(index), field) else { return };
        let before = column.candidates.first().copied().filter(|_| column.has_value);
        column.has_value = true;
        column.candidates.retain(|candidate| candidate.preserves(value));
        if let Some(before) = before.filter(|_| column.candidates.is_empty()) {
            let (name, sql, value) = (&column.name, before.sql(), excerpt(value));
            self.text_notes
                .push(format!("{name} is text because of {value} in {}; until then {sql}", place()));
        }
    }

    /// Name and type of each column; `text` if it has no value.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.columns.iter().map(|column| {
            let first = column.candidates.first().filter(|_| column.has_value);
            (column.name.as_str(), first.map_or("text", |candidate| candidate.sql()))
        })
    }

    /// The statement that creates the table, with one column per line.
    pub(crate) fn ddl(&self, table: &TableName) -> String {
        let columns: Vec<String> =
            self.columns().map(|(name, sql_type)| format!("    {} {sql_type}", quote(name))).collect();
        format!("CREATE TABLE {} (\n{}\n)", table.sql(), columns.join(",\n"))
    }
}

/// Whether `value` is a number as PostgreSQL prints it, such as `-12`, `0` or `3.50`.
fn is_canonical_number(value: &[u8], fraction: bool) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let (whole, decimals) = match digits.iter().position(|&byte| byte == b'.') {
        Some(point) if fraction => (&digits[..point], Some(&digits[point + 1..])),
        Some(_) => return false,
        None => (digits, None),
    };
    let all_digits = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let zero = digits.iter().all(|byte| matches!(byte, b'0' | b'.'));
    all_digits(whole)
        && decimals.is_none_or(all_digits)
        // Longer than bigint it is more likely an identifier than a quantity, and numeric has limits too.
        && whole.len() <= 19
        && (decimals.is_some() || fits::<i64>(value))
        && decimals.is_none_or(|decimals| decimals.len() <= 16_383)
        && (whole.len() == 1 || whole[0] != b'0')
        && !(zero && value.starts_with(b"-"))
}

fn fits<T: std::str::FromStr>(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| text.parse::<T>().is_ok())
}

/// Strip a valid date, as `YYYY-MM-DD`, from the beginning of `value`.
fn strip_date(value: &[u8]) -> Option<&[u8]> {
    let (date, rest) = value.split_at_checked(10)?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *date else { return None };
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0, |number: i64, digit| {
            digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
        })
    };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
    (year >= 1 && (1..=days_in_month(year, month)?).contains(&day)).then_some(rest)
}

/// Whether `value` is `YYYY-MM-DD HH:MM:SS[.ffffff]`, with a space or a `T`, and `accepts_zone` holds for the rest.
fn is_timestamp(value: &[u8], accepts_zone: impl Fn(&[u8]) -> bool) -> bool {
    let Some(rest) = strip_date(value) else { return false };
    let Some(([separator, h1, h2, b':', m1, m2, b':', s1, s2], mut rest)) =
        rest.split_first_chunk::<9>().map(|(time, rest)| (*time, rest))
    else {
        return false;
    };
    let below = |tens: u8, ones: u8, limit: u8| {
        tens.is_ascii_digit() && ones.is_ascii_digit() && (tens - b'0') * 10 + (ones - b'0') < limit
    };
    if !matches!(separator, b' ' | b'T') || !below(h1, h2, 24) || !below(m1, m2, 60) || !below(s1, s2, 60) {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        // PostgreSQL stores microseconds.
        if !(1..=6).contains(&digits) {
            return false;
        }
        rest = &fraction[digits..];
    }
    accepts_zone(rest)
}

/// Whether `zone` is `Z`, `±hh`, `±hhmm` or `±hh:mm`.
fn is_zone(zone: &[u8]) -> bool {
    let digits = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
    match zone {
        b"Z" => true,
        [b'+' | b'-', hours @ ..] if hours.len() == 2 || hours.len() == 4 => {
            digits(hours) && hours[0] < b'2' && hours < b"15".as_slice()
        }
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            digits(&[*h1, *h2, *m1, *m2]) && (*h1, *h2) < (b'1', b'5') && *m1 < b'6'
        }
        _ => false,
    }
}

/// Whether `value` has `8-4-4-4-12` hexadecimal digits in lower case, as PostgreSQL prints a UUID.
fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The type of a column with these values; an empty one is NULL.
    fn type_of(values: &[&str]) -> &'static str {
        let mut inference = Inference::new(&["x".to_owned()]).unwrap();
        for value in values {
            let field = if value.is_empty() { Field::Null } else { Field::Value(value.as_bytes()) };
            inference.observe(0, field, String::new);
        }
        inference.columns().next().unwrap().1
    }

    #[test]
    fn each_type_is_inferred_from_its_values() {
        for (values, expected) in [
            (&["true", "f", ""][..], "boolean"),
            (&["1", "-2147483648", "0"], "integer"),
            (&["1", "2147483648"], "bigint"),
            (&["1", "0.50", "-3.0"], "numeric"),
            (&["2021-12-31", "2020-02-29"], "date"),
            (&["2021-12-31 23:59:59", "2021-12-31T23:59:59.123456"], "timestamp"),
            (&["2021-12-31 23:59:59+02", "2021-12-31T23:59:59.1Z"], "timestamptz"),
            (&["b5aee1d4-1f3a-4d6e-8a3e-1c5a9d6f7e80"], "uuid"),
        ] {
            assert_eq!(type_of(values), expected, "{values:?}");
        }
    }

    #[test]
    fn values_that_a_type_would_change_stay_text() {
        for values in [
            &["007"][..],
            &["12345678901234567890"],
            &["+1"],
            &["-0"],
            &["1e5"],
            &["1", "NaN"],
            &[".5"],
            &["5."],
            &["03/04/2021"],
            &["2021-12-31", "31.12.2021"],
            &["2021-02-29"],
            &["2021-12-31 23:59:59.1234567"],
            &["2021-12-31 23:59:59", "2021-12-31 23:59:59Z"],
            &["yes", "no"],
            &["B5AEE1D4-1F3A-4D6E-8A3E-1C5A9D6F7E80"],
            &["1", " 2"],
            &["", ""],
        ] {
            assert_eq!(type_of(values), "text", "{values:?}");
        }
    }

    #[test]
    fn the_statement_quotes_names() {
        let mut inference = Inference::new(&["ID".to_owned(), "Full \"name\"".to_owned()]).unwrap();
        inference.observe(0, Field::Value(b"1"), String::new);
        let ddl = inference.ddl(&TableName::parse("people").unwrap());
        assert_eq!(ddl, "CREATE TABLE \"people\" (\n    \"id\" integer,\n    \"Full \"\"name\"\"\" text\n)");
    }
}

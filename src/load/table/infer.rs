//! Which type a CSV column has, from all its values, without losing any of them.
//!
//! A type other than `text` is chosen only if PostgreSQL would print every value of the column as it stands in
//! the file (or, for times, would mean the same by it): `007` is not a number but text, and so are 20-digit
//! numbers, dates in an order that has to be guessed, and the word `NaN` among whole
//! numbers. NULLs fit every type.

use crate::catalog::TableName;
use crate::csv::{Field, excerpt};
use crate::encode::days_in_month;
use crate::sql::{is_plain, quote};
use crate::{Error, Result};

/// The types that are tried, each more special than `text`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Integer,
    BigInt,
    Numeric,
    Date,
    Timestamp,
    TimestampTz,
    Uuid,
}

impl Kind {
    /// From the most special to the most general.
    const ALL: [Kind; 8] = [
        Kind::Boolean,
        Kind::Integer,
        Kind::BigInt,
        Kind::Numeric,
        Kind::Date,
        Kind::Timestamp,
        Kind::TimestampTz,
        Kind::Uuid,
    ];

    fn sql(self) -> &'static str {
        match self {
            Kind::Boolean => "boolean",
            Kind::Integer => "integer",
            Kind::BigInt => "bigint",
            Kind::Numeric => "numeric",
            Kind::Date => "date",
            Kind::Timestamp => "timestamp",
            Kind::TimestampTz => "timestamptz",
            Kind::Uuid => "uuid",
        }
    }

    /// Whether `value` is of this type and stays what it is.
    fn keeps(self, value: &[u8]) -> bool {
        match self {
            Kind::Boolean => matches!(value, b"true" | b"false" | b"t" | b"f"),
            Kind::Integer => is_canonical_number(value, false) && fits::<i32>(value),
            Kind::BigInt => is_canonical_number(value, false) && fits::<i64>(value),
            Kind::Numeric => is_canonical_number(value, true),
            Kind::Date => matches!(strip_date(value), Some(b"")),
            Kind::Timestamp => is_timestamp(value, <[u8]>::is_empty),
            Kind::TimestampTz => is_timestamp(value, is_zone),
            Kind::Uuid => is_uuid(value),
        }
    }
}

/// What is known of one column.
#[derive(Debug, Clone)]
struct Column {
    name: String,
    possible: Vec<Kind>,
    any_value: bool,
}

/// Looks at records, and knows a table for them.
#[derive(Debug, Clone)]
pub(crate) struct Inference {
    columns: Vec<Column>,
    /// Which columns a single value made text, and where it was.
    pub spoiled: Vec<String>,
}

impl Inference {
    /// For a file with these column names.
    ///
    /// A name that SQL could have written without quotes is folded as SQL folds it; any other is kept as it is.
    ///
    /// # Errors
    /// When two columns would have the same name, or one has none.
    pub(crate) fn new(names: &[String]) -> Result<Self> {
        let mut columns: Vec<Column> = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            let lower = name.to_ascii_lowercase();
            let name = if is_plain(&lower) { lower } else { name.clone() };
            let problem = if name.is_empty() {
                "has no name".to_owned()
            } else if let Some(other) = columns.iter().position(|column| column.name == name) {
                format!("is called {name}, as column {} is: {} and {}", other + 1, names[other], names[index])
            } else {
                columns.push(Column { name, possible: Kind::ALL.to_vec(), any_value: false });
                continue;
            };
            return Err(Error::input(format!("column {} of the new table {problem}", index + 1))
                .with_help("name the columns with --columns"));
        }
        Ok(Inference { columns, spoiled: Vec::new() })
    }

    /// Take the value of column `index`, from 0, into account; `place` is where it was.
    pub(crate) fn see(&mut self, index: usize, field: Field<'_>, place: impl FnOnce() -> String) {
        let (Some(column), Field::Value(value)) = (self.columns.get_mut(index), field) else { return };
        let before = column.possible.first().copied().filter(|_| column.any_value);
        column.any_value = true;
        column.possible.retain(|kind| kind.keeps(value));
        if let Some(before) = before.filter(|_| column.possible.is_empty()) {
            let (name, sql, value) = (&column.name, before.sql(), excerpt(value));
            self.spoiled
                .push(format!("{name} is text for the sake of {value} in {}: {sql} until there", place()));
        }
    }

    /// Each column's name and type.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.columns.iter().map(|column| {
            let first = column.possible.first().filter(|_| column.any_value);
            (column.name.as_str(), first.map_or("text", |kind| kind.sql()))
        })
    }

    /// The statement that creates the table, one column a line.
    pub(crate) fn ddl(&self, table: &TableName) -> String {
        let columns: Vec<String> =
            self.columns().map(|(name, sql_type)| format!("    {} {sql_type}", quote(name))).collect();
        format!("CREATE TABLE {} (\n{}\n)", table.sql(), columns.join(",\n"))
    }
}

/// `-12`, `0`, `3.50`: as PostgreSQL prints a number, so that nothing is lost by reading it as one.
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
        // What is longer than bigint is more likely an identifier than an amount, and numeric has limits too.
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

/// `YYYY-MM-DD HH:MM:SS[.ffffff]`, with a blank or a `T`, and a zone that `accepts` takes.
fn is_timestamp(value: &[u8], accepts: impl Fn(&[u8]) -> bool) -> bool {
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
        // PostgreSQL keeps microseconds.
        if !(1..=6).contains(&digits) {
            return false;
        }
        rest = &fraction[digits..];
    }
    accepts(rest)
}

/// `Z`, `+hh`, `+hhmm` or `+hh:mm`.
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

/// `8-4-4-4-12` hexadecimal digits in lower case, as PostgreSQL prints it.
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

    /// The type of a column with these values; the empty one is NULL.
    fn type_of(values: &[&str]) -> &'static str {
        let mut inference = Inference::new(&["x".to_owned()]).unwrap();
        for value in values {
            let field = if value.is_empty() { Field::Null } else { Field::Value(value.as_bytes()) };
            inference.see(0, field, String::new);
        }
        inference.columns().next().unwrap().1
    }

    #[test]
    fn types_are_found() {
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
    fn nothing_is_lost() {
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
    fn the_statement_quotes_what_it_has_to() {
        let mut inference = Inference::new(&["ID".to_owned(), "Full \"name\"".to_owned()]).unwrap();
        inference.see(0, Field::Value(b"1"), String::new);
        let ddl = inference.ddl(&TableName::parse("people").unwrap());
        assert_eq!(ddl, "CREATE TABLE \"people\" (\n    \"id\" integer,\n    \"Full \"\"name\"\"\" text\n)");
    }
}

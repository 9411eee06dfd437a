//! Dates such as `08.10.2026`, in which only the session's `DateStyle` tells day, month and year apart.

use crate::encode::days_in_month;

/// An order of day, month and year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum DateOrder {
    /// Month, day, year.
    #[default]
    Mdy,
    /// Day, month, year.
    Dmy,
    /// Year, month, day.
    Ymd,
}

/// A number as written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digits {
    value: i64,
    /// The number of its digits.
    count: usize,
}

/// Year, month and day.
pub(crate) type Date = (i64, i64, i64);

impl DateOrder {
    /// All of them.
    pub(crate) const ALL: [DateOrder; 3] = [DateOrder::Mdy, DateOrder::Dmy, DateOrder::Ymd];

    /// The order in a value of the parameter `DateStyle`, such as `ISO, DMY`.
    pub(crate) fn from_date_style(style: &str) -> DateOrder {
        let order = DateOrder::ALL.into_iter().find(|order| style.contains(order.name()));
        order.unwrap_or_default()
    }

    /// Its name in `DateStyle`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            DateOrder::Mdy => "MDY",
            DateOrder::Dmy => "DMY",
            DateOrder::Ymd => "YMD",
        }
    }

    /// The order in words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            DateOrder::Ymd => "year, month, day",
            DateOrder::Dmy => "day, month, year",
            DateOrder::Mdy => "month, day, year",
        }
    }

    /// The date that `numbers` are in this order; `None` if there is no such date.
    pub(crate) fn read(self, numbers: [Digits; 3]) -> Option<Date> {
        let [first, second, third] = numbers;
        let (year, month, day) = match self {
            DateOrder::Mdy => (third, first, second),
            DateOrder::Dmy => (third, second, first),
            // A day has at most two digits.
            DateOrder::Ymd if third.count > 2 => return None,
            DateOrder::Ymd => (first, second, third),
        };
        // As the server reads years of two digits.
        let year = match year {
            Digits { value, count: 1 | 2 } if value < 70 => 2000 + value,
            Digits { value, count: 1 | 2 } => 1900 + value,
            Digits { value, .. } => value,
        };
        let is_date = year > 0 && (1..=days_in_month(year, month.value)?).contains(&day.value);
        is_date.then_some((year, month.value, day.value))
    }
}

/// The three numbers at the beginning of `value`, if it is a date in which a setting tells what they are: the server takes a
/// first number of three digits or more for the year.
pub(crate) fn numbers(value: &[u8]) -> Option<[Digits; 3]> {
    let text = value.trim_ascii();
    let mut rest = text;
    let mut take = |is_last: bool| {
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let most = if is_last { 4 } else { 2 };
        if !(1..=most).contains(&count) {
            return None;
        }
        let value = rest[..count].iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
        rest = &rest[count..];
        if !is_last {
            rest = rest.strip_prefix(b"-").or(rest.strip_prefix(b"/")).or(rest.strip_prefix(b"."))?;
        }
        Some(Digits { value, count })
    };
    let found = [take(false)?, take(false)?, take(true)?];
    matches!(rest.first(), None | Some(b' ' | b'T' | b't')).then_some(found)
}

/// `date` as `DateStyle` ISO writes it.
pub(crate) fn iso((year, month, day): Date) -> String {
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(order: DateOrder, value: &str) -> Option<String> {
        order.read(numbers(value.as_bytes())?).map(iso)
    }

    #[test]
    fn dates_are_read_in_every_order() {
        for (value, mdy, dmy, ymd) in [
            ("08.10.2026", Some("2026-08-10"), Some("2026-10-08"), None),
            ("1/2/99 10:00", Some("1999-01-02"), Some("1999-02-01"), None),
            ("08-10-26", Some("2026-08-10"), Some("2026-10-08"), Some("2008-10-26")),
            ("31.12.2026", None, Some("2026-12-31"), None),
            ("2/29/2023", None, None, None),
            ("2026-08-10", None, None, None),
            ("08.10", None, None, None),
            ("08.10.2026x", None, None, None),
            ("192.168.1.1", None, None, None),
        ] {
            let orders = DateOrder::ALL.map(|order| read(order, value));
            assert_eq!(orders, [mdy, dmy, ymd].map(|date| date.map(str::to_owned)), "{value}");
        }
        assert_eq!(DateOrder::from_date_style("ISO, DMY"), DateOrder::Dmy);
    }
}

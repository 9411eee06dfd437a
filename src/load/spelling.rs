//! Spellings that PostgreSQL does not read, or reads in more than one way, and how it spells the same values: numbers
//! with a decimal comma, other words for true and false, dates that do not begin with the year.

use crate::encode::days_in_month;
use crate::load::date_order::DateOrder;
use crate::{Error, Result};

/// How files spell numbers and booleans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spelling {
    /// The character before the fraction of a number; `None` for the point.
    pub decimal: Option<u8>,
    /// The character between groups of three digits before the fraction; `None` if there is none.
    pub thousands: Option<char>,
    /// Words for true, in any case, besides those that PostgreSQL reads.
    pub true_words: Vec<String>,
    /// Words for false, likewise.
    pub false_words: Vec<String>,
}

impl Spelling {
    /// Check that the settings are compatible.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Usage`] where a value could be read in two ways.
    pub fn check(&self) -> Result<()> {
        let decimal = char::from(self.decimal.unwrap_or(b'.'));
        let is_taken = |sign: char| sign.is_ascii_alphanumeric() || "+-".contains(sign);
        for (flag, sign) in [("--decimal", Some(decimal)), ("--thousands", self.thousands)] {
            if let Some(sign) = sign.filter(|sign| is_taken(*sign)) {
                return Err(Error::usage(format!("{flag} {sign} is a character of numbers themselves"))
                    .with_help("give a mark, such as --decimal , --thousands ."));
            }
        }
        if self.thousands == Some(decimal) {
            return Err(Error::usage(format!("--decimal and --thousands are both {decimal}"))
                .with_help("--decimal is . unless it is given"));
        }
        let is_both = |word: &&String| self.false_words.iter().any(|other| other.eq_ignore_ascii_case(word));
        if let Some(word) = self.true_words.iter().find(is_both) {
            return Err(Error::usage(format!("{word} is both a --true and a --false word"))
                .with_help("leave one of them out"));
        }
        Ok(())
    }

    /// The conversion of numbers; `None` if PostgreSQL reads them as they are.
    pub(crate) fn numbers(&self) -> Option<NumberStyle> {
        let is_usual = self.decimal.is_none_or(|decimal| decimal == b'.') && self.thousands.is_none();
        (!is_usual).then(|| NumberStyle {
            decimal: self.decimal.unwrap_or(b'.'),
            thousands: self.thousands.map(|sign| sign.to_string().into_bytes()),
        })
    }

    /// The conversion of booleans; `None` if there are no other words.
    pub(crate) fn booleans(&self) -> Option<BooleanWords> {
        let words = |words: &[String], value: bool| {
            words.iter().map(|word| (word.clone().into_bytes(), value)).collect::<Vec<_>>()
        };
        let all = [words(&self.true_words, true), words(&self.false_words, false)].concat();
        (!all.is_empty()).then_some(BooleanWords(all))
    }
}

/// Turns the values of a column into PostgreSQL's spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Conversion {
    /// Of numbers.
    Number(NumberStyle),
    /// Of booleans.
    Boolean(BooleanWords),
    /// Of dates, and of dates with a time.
    Date(DateOrder),
    /// None, but dates that do not begin with the year are refused.
    IsoDate,
}

impl Conversion {
    /// `value` as PostgreSQL spells it, in `out` if it has to be changed. What is spelled in no way known here is
    /// returned as it is, if PostgreSQL can read it in one way at most.
    ///
    /// # Errors
    /// What was expected, if `value` cannot be read.
    pub(crate) fn apply<'a>(&self, value: &'a [u8], out: &'a mut Vec<u8>) -> Result<&'a [u8], String> {
        out.clear();
        match self {
            Conversion::Number(style) => match style.rewrite(value, out) {
                Some(()) => Ok(out.as_slice()),
                None => Err(format!("expected a number such as {}", style.example())),
            },
            Conversion::Boolean(words) => Ok(words.rewrite(value)),
            Conversion::Date(order) => {
                if WrittenMoment::parse(value).and_then(|moment| moment.put_iso(*order, out)).is_some() {
                    return Ok(out.as_slice());
                }
                if depends_on_style(value) {
                    return Err(format!("expected a date as {}", order.words()));
                }
                Ok(value)
            }
            Conversion::IsoDate if depends_on_style(value) => {
                Err("expected a date that begins with the year, because of --date-style iso".to_owned())
            }
            Conversion::IsoDate => Ok(value),
        }
    }
}

/// Whether the date `value` neither begins with the year, nor is a word such as infinity: these mean the same in every
/// order.
fn depends_on_style(value: &[u8]) -> bool {
    let digits = trim(value).iter().take_while(|byte| byte.is_ascii_digit()).count();
    value.iter().any(u8::is_ascii_digit) && digits < 4
}

/// `value` without the white space around it that PostgreSQL ignores too.
pub(crate) fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

/// How numbers are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NumberStyle {
    decimal: u8,
    /// In UTF-8.
    thousands: Option<Vec<u8>>,
}

impl NumberStyle {
    /// Write the number `value` to `out` with a decimal point and without marks between its digits; `None` if it is not in
    /// this style.
    pub(crate) fn rewrite(&self, value: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let value = trim(value);
        if !value.iter().any(u8::is_ascii_digit) {
            // NaN, infinity, or no number, which the encoder tells.
            out.extend_from_slice(value);
            return Some(());
        }
        let exponent_at = value.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(value.len());
        let (mantissa, exponent) = value.split_at(exponent_at);
        let signed = mantissa.iter().take_while(|byte| matches!(byte, b'+' | b'-')).count();
        let (sign, digits) = mantissa.split_at(signed);
        let point = digits.iter().position(|byte| *byte == self.decimal);
        let (whole, fraction) = digits.split_at(point.unwrap_or(digits.len()));
        out.extend_from_slice(sign);
        self.put_whole(whole, out)?;
        if let Some((_, fraction)) = fraction.split_first() {
            out.push(b'.');
            out.extend_from_slice(all_digits(fraction)?);
        }
        out.extend_from_slice(exponent);
        Some(())
    }

    /// Write the digits before the fraction, in groups of three or in one.
    fn put_whole(&self, whole: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let mark = self.thousands.as_deref().unwrap_or_default();
        let mut rest = whole;
        let mut is_grouped = false;
        while let Some(at) = (!mark.is_empty()).then(|| memchr::memmem::find(rest, mark)).flatten() {
            let group = all_digits(&rest[..at])?;
            // Nobody groups the digits of 0.500.
            let begins_with_zero = !is_grouped && group.first() == Some(&b'0');
            if group.is_empty() || group.len() > 3 || (is_grouped && group.len() < 3) || begins_with_zero {
                return None;
            }
            out.extend_from_slice(group);
            rest = &rest[at + mark.len()..];
            is_grouped = true;
        }
        let last = all_digits(rest)?;
        out.extend_from_slice(last);
        (!is_grouped || last.len() == 3).then_some(())
    }

    /// A number in this style.
    fn example(&self) -> String {
        let thousands = self.thousands.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        format!("1{thousands}234{}5", char::from(self.decimal))
    }
}

/// `bytes`, if all of them are digits.
fn all_digits(bytes: &[u8]) -> Option<&[u8]> {
    bytes.iter().all(u8::is_ascii_digit).then_some(bytes)
}

/// Words for true and false, in lower or upper case, in UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BooleanWords(Vec<(Vec<u8>, bool)>);

impl BooleanWords {
    /// The boolean that `value` spells, if it is one of the words.
    pub(crate) fn read(&self, value: &[u8]) -> Option<bool> {
        let value = trim(value);
        self.0.iter().find(|(word, _)| word.eq_ignore_ascii_case(value)).map(|(_, value)| *value)
    }

    fn rewrite<'a>(&self, value: &'a [u8]) -> &'a [u8] {
        match self.read(value) {
            Some(true) => b"true",
            Some(false) => b"false",
            None => value,
        }
    }
}

/// A date of three numbers with the same mark between them, and a time if there is one, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WrittenMoment<'a> {
    /// The three numbers, as digits.
    pub numbers: [&'a [u8]; 3],
    /// The mark between them: `-`, `/` or `.`.
    pub mark: u8,
    /// The time; `None` if there is only a date.
    pub clock: Option<WrittenClock<'a>>,
}

/// A time of day, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WrittenClock<'a> {
    /// The hour, of one or two digits.
    pub hour: &'a [u8],
    /// The minute, of two digits.
    pub minute: &'a [u8],
    /// The second, of two digits; `None` if it ends with the minute.
    pub second: Option<&'a [u8]>,
    /// The digits after the point; empty if there are none.
    pub fraction: &'a [u8],
    /// Whether it is before noon, by an AM or PM; `None` if neither was written.
    pub is_morning: Option<bool>,
    /// The offset from UTC, as `Z`, `±hh`, `±hhmm` or `±hh:mm`; empty if none was written.
    pub zone: &'a [u8],
}

impl<'a> WrittenMoment<'a> {
    /// Parse a date, or a date and time, without the white space around it; `None` if `value` is neither.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        let (first, rest) = digits(value, 4);
        let (&mark, rest) = rest.split_first().filter(|(mark, _)| matches!(mark, b'-' | b'/' | b'.'))?;
        let (second, rest) = digits(rest, 2);
        let rest = rest.strip_prefix(&[mark])?;
        let (third, rest) = digits(rest, 4);
        if first.is_empty() || second.is_empty() || third.is_empty() {
            return None;
        }
        let clock = match rest {
            [] => None,
            [b' ' | b'T', time @ ..] => Some(WrittenClock::parse(time)?),
            _ => return None,
        };
        Some(WrittenMoment { numbers: [first, second, third], mark, clock })
    }

    /// Year, month and day, read in `order`; `None` if that is not possible. Years have four digits.
    pub(crate) fn date(&self, order: DateOrder) -> Option<(i64, i64, i64)> {
        let [first, second, third] = self.numbers;
        let (year, month, day) = match order {
            DateOrder::Ymd => (first, second, third),
            DateOrder::Dmy => (third, second, first),
            DateOrder::Mdy => (third, first, second),
        };
        if year.len() != 4 || month.len() > 2 || day.len() > 2 {
            return None;
        }
        let (year, month, day) = (number(year), number(month), number(day));
        let is_real = year >= 1 && (1..=days_in_month(year, month)?).contains(&day);
        is_real.then_some((year, month, day))
    }

    /// Write it in ISO 8601; `None` if it is not a date in `order`.
    fn put_iso(&self, order: DateOrder, out: &mut Vec<u8>) -> Option<()> {
        let (year, month, day) = self.date(order)?;
        out.extend_from_slice(format!("{year:04}-{month:02}-{day:02}").as_bytes());
        let Some(clock) = self.clock else { return Some(()) };
        let hour = clock.hour()?;
        out.extend_from_slice(format!(" {hour:02}:{:02}", number(clock.minute)).as_bytes());
        if let Some(second) = clock.second {
            out.push(b':');
            out.extend_from_slice(second);
        }
        if !clock.fraction.is_empty() {
            out.push(b'.');
            out.extend_from_slice(clock.fraction);
        }
        out.extend_from_slice(clock.zone);
        Some(())
    }
}

impl<'a> WrittenClock<'a> {
    /// Parse `hh:mm`, `hh:mm:ss` or `hh:mm:ss.fff`, with AM, PM or an offset if there is one; `None` if `value` is none of
    /// these.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Self> {
        let (hour, rest) = digits(value, 2);
        let (minute, rest) = digits(rest.strip_prefix(b":")?, 2);
        let (second, rest) = match rest {
            [b':', rest @ ..] => {
                let (second, rest) = digits(rest, 2);
                (Some(second), rest)
            }
            _ => (None, rest),
        };
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] if second.is_some() => digits(rest, usize::MAX),
            _ => (&rest[..0], rest),
        };
        let is_morning = match rest.trim_ascii_start() {
            [a, b] if [*a, *b].eq_ignore_ascii_case(b"am") => Some(true),
            [a, b] if [*a, *b].eq_ignore_ascii_case(b"pm") => Some(false),
            _ => None,
        };
        let zone = if is_morning.is_some() { &rest[..0] } else { rest };
        let clock = WrittenClock { hour, minute, second, fraction, is_morning, zone };
        let is_whole = !hour.is_empty() && minute.len() == 2 && (zone.is_empty() || is_zone(zone));
        let is_real =
            number(minute) < 60 && second.is_none_or(|second| second.len() == 2 && number(second) < 60);
        (is_whole && is_real && clock.hour().is_some()).then_some(clock)
    }

    /// The hour, from 0 to 23; `None` if it is out of range.
    fn hour(&self) -> Option<i64> {
        let hour = number(self.hour);
        match self.is_morning {
            None => (0..24).contains(&hour).then_some(hour),
            Some(is_morning) => (1..=12).contains(&hour).then_some(hour % 12 + i64::from(!is_morning) * 12),
        }
    }
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

/// Up to `most` digits from the beginning of `value`, and the rest.
fn digits(value: &[u8], most: usize) -> (&[u8], &[u8]) {
    let count = value.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
    value.split_at(count)
}

/// The value of `digits`, of which there are at most 18.
fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(conversion: &Conversion, value: &str) -> Result<String, String> {
        let mut out = Vec::new();
        let converted = conversion.apply(value.as_bytes(), &mut out)?;
        Ok(String::from_utf8(converted.to_vec()).unwrap())
    }

    #[test]
    fn numbers_are_read_in_their_style_or_refused() {
        let spelling = Spelling { decimal: Some(b','), thousands: Some('.'), ..Spelling::default() };
        let numbers = Conversion::Number(spelling.numbers().unwrap());
        for (value, expected) in [
            ("1.234.567,89", "1234567.89"),
            (" -1234567,5e-3 ", "-1234567.5e-3"),
            ("12.345", "12345"),
            ("7", "7"),
            (",5", ".5"),
            ("NaN", "NaN"),
            ("abc", "abc"),
        ] {
            assert_eq!(converted(&numbers, value).as_deref(), Ok(expected), "{value}");
        }
        for value in [
            "1.5",
            "1.23.456",
            "1234.567",
            ".123",
            "1,2,3",
            "1.234,5.6",
            "1 234",
            "--5,x",
            "1.2345",
            "-0.500",
        ] {
            let refused = converted(&numbers, value);
            assert_eq!(refused, Err("expected a number such as 1.234,5".to_owned()), "{value}");
        }
        let narrow = Spelling { decimal: Some(b','), thousands: Some('\u{202f}'), ..Spelling::default() };
        let narrow = Conversion::Number(narrow.numbers().unwrap());
        assert_eq!(converted(&narrow, "12\u{202f}345,6").as_deref(), Ok("12345.6"));
        assert_eq!(Spelling::default().numbers(), None);
    }

    #[test]
    fn words_are_read_in_any_case_and_others_left_alone() {
        let spelling = Spelling {
            true_words: vec!["Ja".into()],
            false_words: vec!["nein".into(), "ei".into()],
            ..Spelling::default()
        };
        let words = Conversion::Boolean(spelling.booleans().unwrap());
        for (value, expected) in [("JA", "true"), (" Nein", "false"), ("ei", "false"), ("t", "t"), ("x", "x")]
        {
            assert_eq!(converted(&words, value).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn dates_are_read_in_one_order_only() {
        use DateOrder::{Dmy, Mdy, Ymd};
        for (order, value, expected) in [
            (Dmy, "31/12/2026", "2026-12-31"),
            (Mdy, "12.31.2026", "2026-12-31"),
            (Ymd, "2012/1/9", "2012-01-09"),
            (Dmy, " 1-2-1984 ", "1984-02-01"),
            (Mdy, "1/2/1984 3:04 PM", "1984-01-02 15:04"),
            (Dmy, "1/2/1984 12:04:05.5 am", "1984-02-01 00:04:05.5"),
            (Dmy, "1/2/1984T23:04:05+02:00", "1984-02-01 23:04:05+02:00"),
            (Dmy, "2026-12-31", "2026-12-31"),
            (Dmy, "infinity", "infinity"),
        ] {
            assert_eq!(converted(&Conversion::Date(order), value).as_deref(), Ok(expected), "{value}");
        }
        for value in [
            "12/31/2026",
            "31/12/26",
            "31 December 2026",
            "31/12/2026 25:00",
            "29/02/2026",
            "1/2/2026 3:04:5",
        ] {
            let refused = converted(&Conversion::Date(Dmy), value);
            assert_eq!(refused, Err("expected a date as day, month, year".to_owned()), "{value}");
        }
        for (value, is_refused) in [
            ("08.10.2026", true),
            ("Jan 2 2026", true),
            ("26-01-02", true),
            ("2026-01-02", false),
            (" 20260102", false),
            ("-infinity", false),
        ] {
            assert_eq!(converted(&Conversion::IsoDate, value).is_err(), is_refused, "{value}");
        }
    }

    #[test]
    fn settings_that_could_be_read_in_two_ways_are_refused() {
        for (spelling, message) in [
            (
                Spelling { thousands: Some('.'), ..Spelling::default() },
                "--decimal and --thousands are both .",
            ),
            (
                Spelling { decimal: Some(b'-'), ..Spelling::default() },
                "--decimal - is a character of numbers",
            ),
            (Spelling { thousands: Some('e'), ..Spelling::default() }, "--thousands e is a character of num"),
            (
                Spelling {
                    true_words: vec!["Y".into()],
                    false_words: vec!["y".into()],
                    ..Spelling::default()
                },
                "Y is both a --true and a --false word",
            ),
        ] {
            let error = spelling.check().unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        Spelling { decimal: Some(b','), thousands: Some('.'), ..Spelling::default() }.check().unwrap();
    }
}

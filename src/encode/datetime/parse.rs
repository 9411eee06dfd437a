//! The strict grammar: the part of `ParseDateTime` and `DecodeDateTime` (`datetime.c`) that no setting changes.
//!
//! A date is `2021-12-31`, with one or two digits for month and day and at least four for the year, or `20211231`: with
//! its year first and too long for a day, it is read alike under every `DateStyle`. All functions return `None`
//! for what the grammar does not know; ranges are checked later, when the whole is known to be well formed.

use crate::encode::datetime::calendar::{Clock, Date};

/// What may stand for a date or a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// `infinity`.
    Future,
    /// `-infinity`.
    Past,
    /// Anything between.
    At(Fields),
}

/// A date, perhaps a time, perhaps an offset, as they were written, in range or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields {
    pub date: Date,
    pub bc: bool,
    /// Midnight if there was none.
    pub clock: Clock,
    pub zone: Zone,
}

/// Where a time is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    /// None was written: in the session's time zone.
    SessionParams,
    /// `+hh:mm:ss` or `-hh:mm:ss`, in range or not; Z is `+00`.
    Offset { west: bool, hour: i64, minute: i64, second: i64 },
    /// By name, which a server is free to look up among the abbreviations of the session's time zone first.
    Utc,
}

/// `date`, `date time`, `dateTtime`, the latter two with or without an offset, all with or without BC; or infinity.
pub(super) fn moment(field: &[u8]) -> Option<Moment> {
    let mut cursor = Cursor::new(field);
    cursor.spaces();
    if !cursor.is_digit() {
        let end = if cursor.eat(b'-') { Moment::Past } else { Moment::Future };
        return (cursor.keyword("infinity") && cursor.ends()).then_some(end);
    }
    let date = cursor.date()?;
    let mut clock = Clock::default();
    let mut zone = Zone::SessionParams;
    let joined = cursor.eat(b'T') || cursor.eat(b't');
    if joined || (cursor.spaces() && cursor.is_digit()) {
        let (time, compact) = cursor.clock(joined)?;
        // The server would take 040506-07 for a date at first, and 040506-07:00 for a mistake.
        if compact && cursor.peek() == Some(b'-') {
            return None;
        }
        clock = time;
        zone = cursor.zone()?;
    }
    cursor.spaces();
    let bc = cursor.keyword("bc");
    cursor.ends().then_some(Moment::At(Fields { date, bc, clock, zone }))
}

/// A time of day, perhaps with an offset.
pub(super) fn time(field: &[u8]) -> Option<(Clock, Zone)> {
    let mut cursor = Cursor::new(field);
    cursor.spaces();
    let (clock, _) = cursor.clock(false)?;
    let zone = cursor.zone()?;
    cursor.ends().then_some((clock, zone))
}

/// What is left of a field.
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn new(field: &'a [u8]) -> Self {
        Cursor(field)
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Steps over the next byte if there is one.
    pub(super) fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// Steps over `byte` if it comes next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.0 = &self.0[1..];
        }
        is_next
    }

    /// Steps over what `isspace` takes for white space; whether there was any.
    pub(super) fn spaces(&mut self) -> bool {
        let before = self.0.len();
        while let Some(b' ' | b'\t'..=b'\r') = self.peek() {
            self.0 = &self.0[1..];
        }
        self.0.len() < before
    }

    /// Whether nothing but white space is left.
    pub(super) fn ends(&mut self) -> bool {
        self.spaces();
        self.0.is_empty()
    }

    fn is_digit(&self) -> bool {
        self.peek().is_some_and(|byte| byte.is_ascii_digit())
    }

    /// Steps over all the digits that come next.
    pub(super) fn digits(&mut self) -> &'a [u8] {
        let count = self.0.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        digits
    }

    /// A number of exactly two digits.
    pub(super) fn two_digits(&mut self) -> Option<i64> {
        let digits = self.digits();
        (digits.len() == 2).then(|| value(digits))
    }

    /// A number of one or two digits.
    fn one_or_two_digits(&mut self) -> Option<i64> {
        let digits = self.digits();
        matches!(digits.len(), 1 | 2).then(|| value(digits))
    }

    /// Steps over all the letters that come next.
    pub(super) fn word(&mut self) -> &'a [u8] {
        let count = self.0.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(count);
        self.0 = rest;
        word
    }

    /// Steps over `word`, in any case, if just that comes next.
    pub(super) fn keyword(&mut self, word: &str) -> bool {
        let before = self.0;
        let is_next = self.word().eq_ignore_ascii_case(word.as_bytes());
        if !is_next {
            self.0 = before;
        }
        is_next
    }

    fn date(&mut self) -> Option<Date> {
        let digits = self.digits();
        match digits.len() {
            // Three digits would do, but look like a mistake; very many are too many for the server's buffer.
            4..=9 if self.eat(b'-') => {
                let month = self.one_or_two_digits()?;
                let day = self.eat(b'-').then(|| self.one_or_two_digits())??;
                Some(Date { year: value(digits), month, day })
            }
            8 => Some(Date {
                year: value(&digits[..4]),
                month: value(&digits[4..6]),
                day: value(&digits[6..]),
            }),
            _ => None,
        }
    }

    /// `hh:mm`, `hh:mm:ss`, `hh:mm:ss.ffffff` or, after a T only, `hhmmss` and `hhmmss.ffffff`; whether it was the latter.
    fn clock(&mut self, joined: bool) -> Option<(Clock, bool)> {
        let digits = self.digits();
        if matches!(digits.len(), 1 | 2) && self.eat(b':') {
            let (hour, minute) = (value(digits), self.two_digits()?);
            if !self.eat(b':') {
                return Some((Clock { hour, minute, ..Clock::default() }, false));
            }
            let second = self.two_digits()?;
            return Some((Clock { hour, minute, second, micros: self.fraction(15)? }, false));
        }
        if !joined || digits.len() != 6 {
            return None;
        }
        let (hour, minute, second) = (value(&digits[..2]), value(&digits[2..4]), value(&digits[4..]));
        // Servers do not check this form as strictly as the other.
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        Some((Clock { hour, minute, second, micros: self.fraction(15)? }, true))
    }

    /// Microseconds of the fraction that comes next, if one does; of at most `most` digits, themselves at most 15.
    ///
    /// `ParseFractionalSecond` reads a double, multiplies by a million and rounds to even. Up to 15 digits, the quotient
    /// of two doubles is the double nearest to the fraction, just as from `strtod`.
    pub(super) fn fraction(&mut self, most: usize) -> Option<i64> {
        const POWERS: [f64; 16] =
            [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
        if !self.eat(b'.') {
            return Some(0);
        }
        let digits = self.digits();
        match digits.len() {
            0 => None,
            count if count > most => None,
            count @ ..=6 => Some(value(digits) * 10_i64.pow(6 - count as u32)),
            count => Some((value(digits) as f64 / POWERS[count] * 1e6).round_ties_even() as i64),
        }
    }

    /// The offset that comes next, after white space, if one does: `Z`, `+hh`, `+hhmm`, `+hh:mm` or `+hh:mm:ss`.
    fn zone(&mut self) -> Option<Zone> {
        self.spaces();
        let west = match self.peek() {
            Some(b'+') => false,
            Some(b'-') => true,
            None => return Some(Zone::SessionParams),
            _ if self.keyword("z") => {
                return Some(Zone::Offset { west: false, hour: 0, minute: 0, second: 0 });
            }
            _ => return Some(if self.keyword("utc") { Zone::Utc } else { Zone::SessionParams }),
        };
        self.next();
        let digits = self.digits();
        let (hour, minute, second) = match digits.len() {
            4 => (value(&digits[..2]), value(&digits[2..]), 0),
            2 if self.eat(b':') => {
                let minute = self.two_digits()?;
                (value(digits), minute, if self.eat(b':') { self.two_digits()? } else { 0 })
            }
            2 => (value(digits), 0, 0),
            _ => return None,
        };
        Some(Zone::Offset { west, hour, minute, second })
    }
}

impl Zone {
    /// Seconds west of Greenwich, which is how PostgreSQL counts; `None` when it does not go that far. Of the session's
    /// time zone, and of names, the caller has to know better than 0.
    pub(super) fn seconds_west(self) -> Option<i64> {
        let Zone::Offset { west, hour, minute, second } = self else { return Some(0) };
        let seconds = hour * 3600 + minute * 60 + second;
        (hour < 16 && minute < 60 && second < 60).then_some(if west { seconds } else { -seconds })
    }
}

/// What `digits`, at most 18 of them, are worth.
pub(super) fn value(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))
}

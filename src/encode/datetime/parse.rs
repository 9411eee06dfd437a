//! The strict grammar: the part of `ParseDateTime` and `DecodeDateTime` (`datetime.c`) that no setting changes.
//!
//! A date is `2021-12-31`, with one or two digits for the month and day and at least four for the year, or `20211231`.
//! Because the year comes first and is too long for a day, every `DateStyle` reads it alike. All functions return `None`
//! outside the grammar; ranges are checked later, once the whole field is known to be well-formed.

use crate::encode::datetime::calendar::{ClockTime, Date};

/// A date or timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// `infinity`.
    Future,
    /// `-infinity`.
    Past,
    /// A finite one.
    At(DateTimeFields),
}

/// A date and optionally a time and an offset, as written, which may be out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DateTimeFields {
    pub date: Date,
    pub bc: bool,
    /// Midnight if no time was written.
    pub clock: ClockTime,
    pub zone: Zone,
}

/// The time zone of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    /// Not written: that of the session.
    Session,
    /// `+hh:mm:ss` or `-hh:mm:ss`, which may be out of range; Z is `+00`.
    Offset { west: bool, hour: i64, minute: i64, second: i64 },
    /// `UTC`, which the server may first look up among the abbreviations of the session's time zone.
    Utc,
}

/// Parse `date`, `date time` or `dateTtime`, the latter two with an optional offset, all with an optional BC; or infinity.
pub(super) fn moment(field: &[u8]) -> Option<Moment> {
    let mut cursor = FieldCursor::new(field);
    cursor.spaces();
    if !cursor.is_digit() {
        let end = if cursor.eat(b'-') { Moment::Past } else { Moment::Future };
        return (cursor.keyword("infinity") && cursor.ends()).then_some(end);
    }
    let date = cursor.date()?;
    let mut clock = ClockTime::default();
    let mut zone = Zone::Session;
    let joined = cursor.eat(b'T') || cursor.eat(b't');
    if joined || (cursor.spaces() && cursor.is_digit()) {
        let (time, compact) = cursor.clock(joined)?;
        // The server would try to read 040506-07 as a date, and refuse 040506-07:00.
        if compact && cursor.peek() == Some(b'-') {
            return None;
        }
        clock = time;
        zone = cursor.zone()?;
    }
    cursor.spaces();
    let bc = cursor.keyword("bc");
    cursor.ends().then_some(Moment::At(DateTimeFields { date, bc, clock, zone }))
}

/// Parse a time of day, optionally with an offset.
pub(super) fn time(field: &[u8]) -> Option<(ClockTime, Zone)> {
    let mut cursor = FieldCursor::new(field);
    cursor.spaces();
    let (clock, _) = cursor.clock(false)?;
    let zone = cursor.zone()?;
    cursor.ends().then_some((clock, zone))
}

/// The unread rest of a field.
pub(super) struct FieldCursor<'a>(&'a [u8]);

impl<'a> FieldCursor<'a> {
    pub(super) fn new(field: &'a [u8]) -> Self {
        FieldCursor(field)
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Take the next byte.
    pub(super) fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// Skip `byte` if it is next; return whether it was.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.0 = &self.0[1..];
        }
        is_next
    }

    /// Skip white space, as defined by `isspace`; return whether there was any.
    pub(super) fn spaces(&mut self) -> bool {
        let before = self.0.len();
        while let Some(b' ' | b'\t'..=b'\r') = self.peek() {
            self.0 = &self.0[1..];
        }
        self.0.len() < before
    }

    /// Skip white space; return whether nothing else is left.
    pub(super) fn ends(&mut self) -> bool {
        self.spaces();
        self.0.is_empty()
    }

    fn is_digit(&self) -> bool {
        self.peek().is_some_and(|byte| byte.is_ascii_digit())
    }

    /// Take all digits that come next.
    pub(super) fn digits(&mut self) -> &'a [u8] {
        let count = self.0.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        digits
    }

    /// Take a number of exactly two digits.
    pub(super) fn two_digits(&mut self) -> Option<i64> {
        let digits = self.digits();
        (digits.len() == 2).then(|| value(digits))
    }

    /// Take a number of one or two digits.
    fn one_or_two_digits(&mut self) -> Option<i64> {
        let digits = self.digits();
        matches!(digits.len(), 1 | 2).then(|| value(digits))
    }

    /// Take all letters that come next.
    pub(super) fn word(&mut self) -> &'a [u8] {
        let count = self.0.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(count);
        self.0 = rest;
        word
    }

    /// Skip `word`, in any case, if it is the whole next word; return whether it was.
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
            // The server accepts three digits too, but they are more likely a mistake; and its buffer limits the length.
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

    /// Take `hh:mm`, `hh:mm:ss`, `hh:mm:ss.ffffff` or, only after a T, the compact `hhmmss` or `hhmmss.ffffff`. Return the
    /// time, and whether it was compact.
    fn clock(&mut self, joined: bool) -> Option<(ClockTime, bool)> {
        let digits = self.digits();
        if matches!(digits.len(), 1 | 2) && self.eat(b':') {
            let (hour, minute) = (value(digits), self.two_digits()?);
            if !self.eat(b':') {
                return Some((ClockTime { hour, minute, ..ClockTime::default() }, false));
            }
            let second = self.two_digits()?;
            return Some((ClockTime { hour, minute, second, micros: self.fraction(15)? }, false));
        }
        if !joined || digits.len() != 6 {
            return None;
        }
        let (hour, minute, second) = (value(&digits[..2]), value(&digits[2..4]), value(&digits[4..]));
        // Servers check the range of this form less strictly.
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        Some((ClockTime { hour, minute, second, micros: self.fraction(15)? }, true))
    }

    /// Take a fraction of at most `most` digits, where `most` is at most 15, and return its microseconds; 0 if none comes
    /// next.
    ///
    /// `ParseFractionalSecond` reads a double, multiplies it by a million and rounds half to even. Up to 15 digits, the
    /// quotient of two doubles is the double nearest to the fraction, as returned by `strtod`.
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

    /// Take an offset, after optional white space: `Z`, `+hh`, `+hhmm`, `+hh:mm`, `+hh:mm:ss` or `UTC`. If none comes next,
    /// return [`Zone::Session`].
    fn zone(&mut self) -> Option<Zone> {
        self.spaces();
        let west = match self.peek() {
            Some(b'+') => false,
            Some(b'-') => true,
            None => return Some(Zone::Session),
            _ if self.keyword("z") => {
                return Some(Zone::Offset { west: false, hour: 0, minute: 0, second: 0 });
            }
            _ => return Some(if self.keyword("utc") { Zone::Utc } else { Zone::Session }),
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
    /// Seconds west of Greenwich, as PostgreSQL counts; `None` if out of range. For the session's time zone and for names
    /// it is 0, which the caller must accept only in a session in UTC.
    pub(super) fn seconds_west(self) -> Option<i64> {
        let Zone::Offset { west, hour, minute, second } = self else { return Some(0) };
        let seconds = hour * 3600 + minute * 60 + second;
        (hour < 16 && minute < 60 && second < 60).then_some(if west { seconds } else { -seconds })
    }
}

/// The value of `digits`, of which there are at most 18.
pub(super) fn value(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))
}

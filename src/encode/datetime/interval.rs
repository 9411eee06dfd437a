//! Spans of time: what PostgreSQL writes itself in the styles `postgres`, `postgres_verbose` and `iso_8601`, and what is
//! near to them.
//!
//! `DecodeInterval` and `DecodeISO8601Interval` of `datetime.c` read far more, in part differently from version to
//! version (fractions of units, numbers beyond 32 bits), under another `IntervalStyle` (a sign that stands for all
//! that follows) or for another column (`interval minute to second` takes 04:05 for minutes). All that is left to them.

use crate::encode::datetime::calendar::{Clock, HOUR, MINUTE, SECOND};
use crate::encode::datetime::parse::{Cursor, value};

/// An interval as the server stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    pub micros: i64,
    pub days: i32,
    pub months: i32,
    /// The units that were added, a bit each: the server takes none twice, in the first style.
    seen: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
}

/// The span that `field` spells, or `None` for what only the server can tell.
pub(super) fn span(field: &[u8]) -> Option<Span> {
    match field.strip_prefix(b"P") {
        Some(rest) => designators(rest),
        None => phrase(field),
    }
}

/// `1 year 2 mons 3 days 04:05:06.789`, `-1 days +02:03:04`, `@ 1 day 2 hours ago`.
fn phrase(field: &[u8]) -> Option<Span> {
    let mut cursor = Cursor::new(field);
    let mut span = Span::default();
    cursor.spaces();
    if cursor.eat(b'@') {
        cursor.spaces();
    }
    let negative_first = cursor.peek() == Some(b'-');
    let (mut signs, mut parts) = (0, 0);
    loop {
        let negative = cursor.eat(b'-');
        signs += u32::from(negative || cursor.eat(b'+'));
        parts += 1;
        let amount = amount(cursor.digits())?;
        if cursor.eat(b':') {
            let minute = cursor.two_digits()?;
            let second = cursor.eat(b':').then(|| cursor.two_digits())??;
            let clock = Clock { hour: amount, minute, second, micros: cursor.fraction(15)? };
            span.add_clock(clock, negative)?;
        } else {
            let fractional = cursor.peek() == Some(b'.');
            // The versions differ in how they round what is less than a microsecond.
            let micros = cursor.fraction(6)?;
            cursor.spaces();
            let unit = unit(cursor.word())?;
            if fractional && unit != Unit::Second {
                return None;
            }
            span.add(unit, amount, micros, negative)?;
        }
        // Anything but white space or a comma (as in Python's `1 day, 2:03:04`) may belong to the word before.
        let gap = cursor.eat(b',') | cursor.spaces();
        if cursor.ends() {
            break;
        }
        if !gap {
            return None;
        }
        if cursor.keyword("ago") {
            span = span.negated()?;
            if !cursor.ends() {
                return None;
            }
            break;
        }
    }
    // IntervalStyle sql_standard lets a first sign count for all parts if it is the only one.
    (!negative_first || signs > 1 || parts == 1).then_some(span)
}

/// `P1Y2M3DT4H5M6.7S`, without its P. The server tolerates no white space around it, and no small letters.
fn designators(rest: &[u8]) -> Option<Span> {
    let mut cursor = Cursor::new(rest);
    let mut span = Span::default();
    let mut in_time = false;
    while cursor.peek().is_some() {
        if !in_time && cursor.eat(b'T') {
            in_time = true;
            continue;
        }
        let negative = cursor.eat(b'-');
        let amount = amount(cursor.digits())?;
        let fractional = cursor.peek() == Some(b'.');
        let micros = cursor.fraction(6)?;
        let unit = match (in_time, cursor.next()?) {
            (false, b'Y') => Unit::Year,
            (false, b'M') => Unit::Month,
            (false, b'W') => Unit::Week,
            (false, b'D') => Unit::Day,
            (true, b'H') => Unit::Hour,
            (true, b'M') => Unit::Minute,
            (true, b'S') => Unit::Second,
            _ => return None,
        };
        if fractional && unit != Unit::Second {
            return None;
        }
        span.add(unit, amount, micros, negative)?;
    }
    (span.seen != 0).then_some(span)
}

/// A number that, with a fraction too, is within the 32 bits that servers before 15 have for it.
fn amount(digits: &[u8]) -> Option<i64> {
    if !(1..=10).contains(&digits.len()) {
        return None;
    }
    Some(value(digits)).filter(|&amount| amount < i64::from(i32::MAX))
}

/// The unit that `word` means, from `deltatktbl`; m is the minute there.
fn unit(word: &[u8]) -> Option<Unit> {
    const UNITS: [(Unit, &[&str]); 7] = [
        (Unit::Day, &["days", "day", "d"]),
        (Unit::Month, &["mons", "mon", "months", "month"]),
        (Unit::Year, &["years", "year", "yrs", "yr", "y"]),
        (Unit::Hour, &["hours", "hour", "hrs", "hr", "h"]),
        (Unit::Minute, &["mins", "min", "minutes", "minute", "m"]),
        (Unit::Second, &["secs", "sec", "seconds", "second", "s"]),
        (Unit::Week, &["weeks", "week", "w"]),
    ];
    let means = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
    UNITS.iter().find(|(_, names)| means(names)).map(|&(unit, _)| unit)
}

impl Span {
    /// Adds a number of units, once each.
    fn add(&mut self, unit: Unit, amount: i64, micros: i64, negative: bool) -> Option<()> {
        let bit = 1 << unit as u8;
        if self.seen & bit != 0 {
            return None;
        }
        self.seen |= bit;
        let amount = if negative { -amount } else { amount };
        let micros = if negative { -micros } else { micros };
        // Servers check the product before they add it.
        let sum = |sum: i32, amount: i64| sum.checked_add(i32::try_from(amount).ok()?);
        match unit {
            Unit::Year => self.months = sum(self.months, amount * 12)?,
            Unit::Month => self.months = sum(self.months, amount)?,
            Unit::Week => self.days = sum(self.days, amount * 7)?,
            Unit::Day => self.days = sum(self.days, amount)?,
            // With each unit within 32 bits and taken once, these stay below 8.0e18.
            Unit::Hour => self.micros += amount * HOUR,
            Unit::Minute => self.micros += amount * MINUTE,
            Unit::Second => self.micros += amount * SECOND + micros,
        }
        Some(())
    }

    /// Adds hours, minutes and seconds at once.
    fn add_clock(&mut self, clock: Clock, negative: bool) -> Option<()> {
        if !clock.is_valid() {
            return None;
        }
        self.add(Unit::Hour, clock.hour, 0, negative)?;
        self.add(Unit::Minute, clock.minute, 0, negative)?;
        self.add(Unit::Second, clock.second, clock.micros, negative)
    }

    fn negated(self) -> Option<Span> {
        Some(Span {
            micros: -self.micros,
            days: self.days.checked_neg()?,
            months: self.months.checked_neg()?,
            ..self
        })
    }
}

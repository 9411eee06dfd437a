//! Intervals as PostgreSQL prints them in the styles `postgres`, `postgres_verbose` and `iso_8601`, and close variants.
//!
//! `DecodeInterval` and `DecodeISO8601Interval` of `datetime.c` accept far more. Some of it depends on the version
//! (fractions of units, numbers beyond 32 bits), on `IntervalStyle` (a sign that applies to all that follows) or on the
//! column (`interval minute to second` reads 04:05 as minutes and seconds). All of this is left to the server.

use crate::encode::datetime::calendar::{ClockTime, HOUR, MINUTE, SECOND};
use crate::encode::datetime::parse::{FieldCursor, value};

/// The value of an interval, in the three parts that the server stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct IntervalValue {
    pub micros: i64,
    pub days: i32,
    pub months: i32,
    /// A bit for each unit added so far. In the style `postgres`, the server refuses a repeated unit.
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

/// Parse an interval; `None` if only the server can interpret `field`.
pub(super) fn parse(field: &[u8]) -> Option<IntervalValue> {
    match field.strip_prefix(b"P") {
        Some(rest) => designators(rest),
        None => phrase(field),
    }
}

/// Parse `1 year 2 mons 3 days 04:05:06.789`, `-1 days +02:03:04` or `@ 1 day 2 hours ago`.
fn phrase(field: &[u8]) -> Option<IntervalValue> {
    let mut cursor = FieldCursor::new(field);
    let mut interval = IntervalValue::default();
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
            let clock = ClockTime { hour: amount, minute, second, micros: cursor.fraction(15)? };
            interval.add_clock(clock, negative)?;
        } else {
            let fractional = cursor.peek() == Some(b'.');
            // Versions differ in how they round fractions of a microsecond.
            let micros = cursor.fraction(6)?;
            cursor.spaces();
            let unit = unit(cursor.word())?;
            if fractional && unit != Unit::Second {
                return None;
            }
            interval.add(unit, amount, micros, negative)?;
        }
        // Without white space or a comma (as in Python's `1 day, 2:03:04`), the next part may belong to the word before.
        let gap = cursor.eat(b',') | cursor.spaces();
        if cursor.ends() {
            break;
        }
        if !gap {
            return None;
        }
        if cursor.keyword("ago") {
            interval = interval.negated()?;
            if !cursor.ends() {
                return None;
            }
            break;
        }
    }
    // With IntervalStyle sql_standard, a leading minus sign applies to all parts if it is the only sign.
    (!negative_first || signs > 1 || parts == 1).then_some(interval)
}

/// Parse the rest of `P1Y2M3DT4H5M6.7S` after its P. The server allows neither white space nor lower-case letters.
fn designators(rest: &[u8]) -> Option<IntervalValue> {
    let mut cursor = FieldCursor::new(rest);
    let mut interval = IntervalValue::default();
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
        interval.add(unit, amount, micros, negative)?;
    }
    (interval.seen != 0).then_some(interval)
}

/// Parse a number that, even with a fraction, fits into the 32 bits that servers before version 15 use.
fn amount(digits: &[u8]) -> Option<i64> {
    if !(1..=10).contains(&digits.len()) {
        return None;
    }
    Some(value(digits)).filter(|&amount| amount < i64::from(i32::MAX))
}

/// Look up a unit by name, as in the server's `deltatktbl`, where m is a minute.
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

impl IntervalValue {
    /// Add a number of units; `None` if the unit was added before, or on overflow.
    fn add(&mut self, unit: Unit, amount: i64, micros: i64, negative: bool) -> Option<()> {
        let bit = 1 << unit as u8;
        if self.seen & bit != 0 {
            return None;
        }
        self.seen |= bit;
        let amount = if negative { -amount } else { amount };
        let micros = if negative { -micros } else { micros };
        // Servers check the product for overflow before adding it.
        let sum = |sum: i32, amount: i64| sum.checked_add(i32::try_from(amount).ok()?);
        match unit {
            Unit::Year => self.months = sum(self.months, amount * 12)?,
            Unit::Month => self.months = sum(self.months, amount)?,
            Unit::Week => self.days = sum(self.days, amount * 7)?,
            Unit::Day => self.days = sum(self.days, amount)?,
            // With each unit within 32 bits and added once, the sum stays below 8.0e18.
            Unit::Hour => self.micros += amount * HOUR,
            Unit::Minute => self.micros += amount * MINUTE,
            Unit::Second => self.micros += amount * SECOND + micros,
        }
        Some(())
    }

    /// Add hours, minutes and seconds.
    fn add_clock(&mut self, clock: ClockTime, negative: bool) -> Option<()> {
        if !clock.is_valid() {
            return None;
        }
        self.add(Unit::Hour, clock.hour, 0, negative)?;
        self.add(Unit::Minute, clock.minute, 0, negative)?;
        self.add(Unit::Second, clock.second, clock.micros, negative)
    }

    fn negated(self) -> Option<IntervalValue> {
        Some(IntervalValue {
            micros: -self.micros,
            days: self.days.checked_neg()?,
            months: self.months.checked_neg()?,
            ..self
        })
    }
}

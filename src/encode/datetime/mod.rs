//! Dates, times and spans of time → PostgreSQL's binary format of them (`date.c`, `timestamp.c`).
//!
//! Encodes what a strict grammar knows to mean the same on every version and under every setting, and leaves the rest
//! to the server: `03/04/2021`, `now`, `2021-12-31 Europe/Berlin`. The receiving functions of the server apply a
//! column's precision (`timestamp(3)`) just as the ones that read text do, so it need not be known here.

mod calendar;
mod interval;
mod parse;

use super::Refusal;
use calendar::Clock;
use parse::{Fields, Moment, Zone};

/// Which of the types; chosen once per column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateTime {
    /// `date`: 4 bytes, days since 2000-01-01.
    Date,
    /// `time`: 8 bytes, microseconds since midnight.
    Time,
    /// `timetz`: as `time`, and 4 bytes, seconds west of Greenwich.
    TimeTz {
        /// Whether a time without an offset is certain to be in UTC: the session's `TimeZone` is.
        utc_session: bool,
    },
    /// `timestamp`: 8 bytes, microseconds since 2000-01-01.
    Timestamp,
    /// `timestamptz`: the same, in UTC.
    TimestampTz {
        /// Whether a time without an offset is certain to be in UTC: the session's `TimeZone` is.
        utc_session: bool,
    },
    /// `interval`: 8 bytes microseconds, 4 bytes days, 4 bytes months.
    Interval,
}

impl DateTime {
    /// Append the value that `field` spells to `out`.
    pub(super) fn encode(self, field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        match self {
            DateTime::Date => date(field, out),
            DateTime::Time => time(field, out),
            DateTime::TimeTz { utc_session } => timetz(field, utc_session, out),
            DateTime::Timestamp => timestamp(field, out),
            DateTime::TimestampTz { utc_session } => timestamptz(field, utc_session, out),
            DateTime::Interval => interval(field, out),
        }
    }
}

/// A date; a time or an offset after it is read, and dropped, as `date_in` does.
pub(super) fn date(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let days = match parse::moment(field).ok_or_else(|| unknown(field, "a date such as 2021-12-31"))? {
        Moment::Past => i32::MIN,
        Moment::Future => i32::MAX,
        Moment::At(fields) => {
            let (days, _) = checked(fields)?;
            calendar::date(days).ok_or_else(|| expected("a date from 4714-11-24 BC to 5874897-12-31"))?
        }
    };
    out.extend_from_slice(&days.to_be_bytes());
    Ok(())
}

/// A time of day; an offset after it is read, and dropped, as `time_in` does.
pub(super) fn time(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let (clock, zone) = parse::time(field).ok_or_else(|| unknown(field, "a time such as 23:59:59"))?;
    let micros = checked_clock(clock)?;
    checked_zone(zone)?;
    out.extend_from_slice(&micros.to_be_bytes());
    Ok(())
}

/// A time of day and its offset, which without an offset is that of the session, now.
pub(super) fn timetz(field: &[u8], utc_session: bool, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let (clock, zone) = parse::time(field).ok_or_else(|| unknown(field, "a time such as 23:59:59+01"))?;
    let micros = checked_clock(clock)?;
    let seconds_west = offset(zone, utc_session)?;
    out.extend_from_slice(&micros.to_be_bytes());
    out.extend_from_slice(&(seconds_west as i32).to_be_bytes());
    Ok(())
}

/// A date and time; an offset after it is read, and dropped, as `timestamp_in` does.
pub(super) fn timestamp(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let moment =
        parse::moment(field).ok_or_else(|| unknown(field, "a date and time such as 2021-12-31 23:59:59"))?;
    put_timestamp(moment, |_| Ok(0), out)
}

/// A date and time with an offset, or without one in a session that is in UTC.
pub(super) fn timestamptz(field: &[u8], utc_session: bool, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let moment = parse::moment(field)
        .ok_or_else(|| unknown(field, "a date and time such as 2021-12-31 23:59:59+01"))?;
    put_timestamp(moment, |zone| offset(zone, utc_session), out)
}

/// A span of time.
pub(super) fn interval(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let Some(span) = interval::span(field) else {
        // `PT` has no digits, and is no time at all.
        let refusal = unknown(field, "a span of time such as 1 day 02:03:04");
        return Err(if field.starts_with(b"P") { Refusal::Unsure } else { refusal });
    };
    out.extend_from_slice(&span.micros.to_be_bytes());
    out.extend_from_slice(&span.days.to_be_bytes());
    out.extend_from_slice(&span.months.to_be_bytes());
    Ok(())
}

fn put_timestamp(
    moment: Moment,
    seconds_west: impl FnOnce(Zone) -> Result<i64, Refusal>,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let micros = match moment {
        Moment::Past => i64::MIN,
        Moment::Future => i64::MAX,
        Moment::At(fields) => {
            let (days, micros) = checked(fields)?;
            let micros = micros + seconds_west(fields.zone)? * calendar::SECOND;
            calendar::timestamp(days, micros).ok_or_else(|| {
                expected("a time from 4714-11-24 00:00:00 BC to 294276-12-31 23:59:59.999999")
            })?
        }
    };
    out.extend_from_slice(&micros.to_be_bytes());
    Ok(())
}

/// Days since 2000-01-01 and microseconds since midnight, when all fields are in range, the offset's too.
fn checked(fields: Fields) -> Result<(i64, i64), Refusal> {
    let days = fields.date.days(fields.bc);
    let days = days.ok_or_else(|| expected("a day of the calendar, such as 2021-12-31"))?;
    let micros = checked_clock(fields.clock)?;
    checked_zone(fields.zone)?;
    Ok((days, micros))
}

fn checked_clock(clock: Clock) -> Result<i64, Refusal> {
    clock.micros_of_day().ok_or_else(|| expected("a time of day from 00:00:00 to 24:00:00"))
}

fn checked_zone(zone: Zone) -> Result<i64, Refusal> {
    zone.seconds_west().ok_or_else(|| expected("an offset from -15:59:59 to +15:59:59"))
}

/// Seconds west of Greenwich, where the session's `TimeZone` does not matter.
fn offset(zone: Zone, utc_session: bool) -> Result<i64, Refusal> {
    match zone {
        Zone::Session | Zone::Utc if !utc_session => Err(Refusal::Unsure),
        zone => checked_zone(zone),
    }
}

/// What to answer to a field that the grammar does not know. Without a digit, the server takes nothing but these words.
#[cold]
fn unknown(field: &[u8], example: &str) -> Refusal {
    const WORDS: [&str; 7] = ["now", "today", "tomorrow", "yesterday", "epoch", "infinity", "allballs"];
    let has = |word: &str| field.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()));
    // Some versions read an interval of `.` as 0.
    if field.iter().any(|byte| byte.is_ascii_digit() || *byte == b'.') || WORDS.into_iter().any(has) {
        Refusal::Unsure
    } else {
        expected(example)
    }
}

#[cold]
fn expected(what: &str) -> Refusal {
    Refusal::Invalid(format!("expected {what}"))
}

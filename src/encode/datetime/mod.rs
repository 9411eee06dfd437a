//! Dates, times and intervals → PostgreSQL's binary format (`date.c`, `timestamp.c`).
//!
//! A strict grammar accepts only what means the same in every version and under every setting, and leaves the rest to
//! the server: `03/04/2021`, `now`, `2021-12-31 Europe/Berlin`. The server's binary receive functions apply the
//! precision of a column (`timestamp(3)`) just as its text input functions do, so encoding ignores it.

pub(crate) mod calendar;
mod interval;
mod parse;

use crate::encode::Refusal;
use crate::encode::datetime::calendar::ClockTime;
use crate::encode::datetime::parse::{DateTimeFields, Moment, Zone};

/// A date or time type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateTimeType {
    /// `date`: 4 bytes, days since 2000-01-01.
    Date,
    /// `time`: 8 bytes, microseconds since midnight.
    Time,
    /// `timetz`: as `time`, then 4 bytes, seconds west of Greenwich.
    TimeTz {
        /// Whether a time without an offset is certain to be in UTC: the session's `TimeZone` is.
        utc_session: bool,
    },
    /// `timestamp`: 8 bytes, microseconds since 2000-01-01.
    Timestamp,
    /// `timestamptz`: as `timestamp`, in UTC.
    TimestampTz {
        /// Whether a time without an offset is certain to be in UTC: the session's `TimeZone` is.
        utc_session: bool,
    },
    /// `interval`: 8 bytes microseconds, 4 bytes days, 4 bytes months.
    Interval,
}

impl DateTimeType {
    /// Append the value of `field` to `out`, which is unchanged on failure.
    pub(super) fn encode(self, field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        match self {
            DateTimeType::Date => date(field, out),
            DateTimeType::Time => time(field, out),
            DateTimeType::TimeTz { utc_session } => timetz(field, utc_session, out),
            DateTimeType::Timestamp => timestamp(field, out),
            DateTimeType::TimestampTz { utc_session } => timestamptz(field, utc_session, out),
            DateTimeType::Interval => interval(field, out),
        }
    }
}

/// A date. A time or an offset after it is checked and dropped, as by `date_in`.
fn date(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
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

/// A time of day. An offset after it is checked and dropped, as by `time_in`.
fn time(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let (clock, zone) = parse::time(field).ok_or_else(|| unknown(field, "a time such as 23:59:59"))?;
    let micros = checked_clock(clock)?;
    checked_zone(zone)?;
    out.extend_from_slice(&micros.to_be_bytes());
    Ok(())
}

/// A time of day with its offset, by default the current one of the session's time zone.
fn timetz(field: &[u8], utc_session: bool, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let (clock, zone) = parse::time(field).ok_or_else(|| unknown(field, "a time such as 23:59:59+01"))?;
    let micros = checked_clock(clock)?;
    let seconds_west = offset(zone, utc_session)?;
    out.extend_from_slice(&micros.to_be_bytes());
    out.extend_from_slice(&(seconds_west as i32).to_be_bytes());
    Ok(())
}

/// A date and time. An offset after it is checked and dropped, as by `timestamp_in`.
fn timestamp(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let moment =
        parse::moment(field).ok_or_else(|| unknown(field, "a date and time such as 2021-12-31 23:59:59"))?;
    put_timestamp(moment, |_| Ok(0), out)
}

/// A date and time with an offset, which may be missing if the session's time zone is UTC.
fn timestamptz(field: &[u8], utc_session: bool, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let moment = parse::moment(field)
        .ok_or_else(|| unknown(field, "a date and time such as 2021-12-31 23:59:59+01"))?;
    put_timestamp(moment, |zone| offset(zone, utc_session), out)
}

/// An interval.
fn interval(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let Some(span) = interval::parse(field) else {
        let refusal = unknown(field, "an interval such as 1 day 02:03:04");
        // `PT` has no digits, but the server may accept it.
        return Err(if field.starts_with(b"P") { Refusal::NeedsServer } else { refusal });
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

/// Days since 2000-01-01 and microseconds since midnight, provided that all fields, the offset included, are in range.
fn checked(fields: DateTimeFields) -> Result<(i64, i64), Refusal> {
    let days = fields.date.days(fields.bc);
    let days = days.ok_or_else(|| expected("a valid date, such as 2021-12-31"))?;
    let micros = checked_clock(fields.clock)?;
    checked_zone(fields.zone)?;
    Ok((days, micros))
}

fn checked_clock(clock: ClockTime) -> Result<i64, Refusal> {
    clock.micros_of_day().ok_or_else(|| expected("a time of day from 00:00:00 to 24:00:00"))
}

fn checked_zone(zone: Zone) -> Result<i64, Refusal> {
    zone.seconds_west().ok_or_else(|| expected("an offset from -15:59:59 to +15:59:59"))
}

/// Seconds west of Greenwich; refused where they depend on the session's `TimeZone`.
fn offset(zone: Zone, utc_session: bool) -> Result<i64, Refusal> {
    match zone {
        Zone::Session | Zone::Utc if !utc_session => Err(Refusal::NeedsServer),
        zone => checked_zone(zone),
    }
}

/// The refusal of a field outside the grammar. Without a digit, the server accepts only a few words.
#[cold]
fn unknown(field: &[u8], example: &str) -> Refusal {
    const WORDS: [&str; 7] = ["now", "today", "tomorrow", "yesterday", "epoch", "infinity", "allballs"];
    let has = |word: &str| field.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()));
    // Some versions read the interval `.` as 0.
    if field.iter().any(|byte| byte.is_ascii_digit() || *byte == b'.') || WORDS.into_iter().any(has) {
        Refusal::NeedsServer
    } else {
        expected(example)
    }
}

#[cold]
fn expected(what: &str) -> Refusal {
    Refusal::Invalid(format!("expected {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [DateTimeType; 6] = [
        DateTimeType::Date,
        DateTimeType::Time,
        DateTimeType::TimeTz { utc_session: false },
        DateTimeType::Timestamp,
        DateTimeType::TimestampTz { utc_session: false },
        DateTimeType::Interval,
    ];

    fn encode(kind: DateTimeType, field: &str) -> Result<Vec<u8>, Refusal> {
        let mut out = Vec::new();
        kind.encode(field.as_bytes(), &mut out).map(|()| out)
    }

    #[test]
    fn values_are_counted_from_2000() {
        assert_eq!(encode(DateTimeType::Date, "2000-01-02").unwrap(), 1_i32.to_be_bytes());
        assert_eq!(encode(DateTimeType::Date, " -Infinity ").unwrap(), i32::MIN.to_be_bytes());
        assert_eq!(
            encode(DateTimeType::Timestamp, "1999-12-31T23:59:59").unwrap(),
            (-1_000_000_i64).to_be_bytes()
        );
        assert_eq!(encode(DateTimeType::Time, "00:00:01.5").unwrap(), 1_500_000_i64.to_be_bytes());
        let mut expected = 1_500_000_i64.to_be_bytes().to_vec();
        expected.extend_from_slice(&(-3600_i32).to_be_bytes());
        assert_eq!(encode(ALL[2], "00:00:01.5+01").unwrap(), expected);
        let expected =
            [&(-1_000_000_i64).to_be_bytes()[..], &2_i32.to_be_bytes(), &13_i32.to_be_bytes()].concat();
        assert_eq!(encode(DateTimeType::Interval, "1 year 1 mon 2 days -00:00:01").unwrap(), expected);
        assert_eq!(encode(DateTimeType::Interval, "P1Y1M2DT-1S").unwrap(), expected);
    }

    #[test]
    fn an_offset_matters_only_where_it_is_stored() {
        let noon = encode(DateTimeType::Timestamp, "2021-12-31 12:00:00");
        assert_eq!(encode(DateTimeType::Timestamp, "2021-12-31 12:00:00+05"), noon);
        assert_eq!(encode(ALL[4], "2021-12-31 17:00:00+05"), noon);
        assert_eq!(encode(ALL[4], "2021-12-31 12:00:00"), Err(Refusal::NeedsServer));
        assert_eq!(encode(DateTimeType::TimestampTz { utc_session: true }, "2021-12-31 12:00:00"), noon);
    }

    #[test]
    fn invalid_fields_are_distinguished_from_ambiguous_ones() {
        let text = |kind, field| encode(kind, field).unwrap_err().to_string();
        assert_eq!(text(DateTimeType::Date, "2021-02-30"), "expected a valid date, such as 2021-12-31");
        assert_eq!(text(DateTimeType::Date, "n/a"), "expected a date such as 2021-12-31");
        assert_eq!(text(DateTimeType::Time, "25:00:00"), "expected a time of day from 00:00:00 to 24:00:00");
        assert_eq!(text(ALL[2], "12:00:00+16"), "expected an offset from -15:59:59 to +15:59:59");
        for field in
            ["03/04/2021", "today", "2021-12-31 12:00:00 CET", "2021-12-31 12:00:00.1234567890123456"]
        {
            assert_eq!(encode(DateTimeType::Timestamp, field), Err(Refusal::NeedsServer), "{field}");
        }
        for field in ["1.5 days", "-1 day 02:00:00", "04:05", "1 2", "infinity", "PT", " P1D"] {
            assert_eq!(encode(DateTimeType::Interval, field), Err(Refusal::NeedsServer), "{field}");
        }
    }

    #[test]
    fn no_bytes_panic_or_leave_partial_output() {
        let long = "9".repeat(100);
        for field in [
            &b"\0"[..],
            b"\xff2021-01-01",
            b"2021-\xe9",
            long.as_bytes(),
            b"999999999-12-31 99:99:99.9+99:99:99 BC",
        ] {
            for kind in ALL {
                let mut out = vec![7];
                assert!(kind.encode(field, &mut out).is_err());
                assert_eq!(out, [7]);
            }
        }
    }
}

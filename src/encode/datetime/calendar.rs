//! The proleptic Gregorian calendar, and what is a valid moment in it.
//!
//! PostgreSQL counts days and microseconds from 2000-01-01 and numbers years astronomically inside: 1 BC is year 0,
//! 2 BC is −1. The limits are those of `datatype/timestamp.h`; the rules for a valid date and time are `ValidateDate`
//! and `time_overflows` of `datetime.c`.

/// Microseconds in a second.
pub(super) const SECOND: i64 = 1_000_000;
/// Microseconds in a minute.
pub(super) const MINUTE: i64 = 60 * SECOND;
/// Microseconds in an hour.
pub(super) const HOUR: i64 = 60 * MINUTE;
/// Microseconds in a day.
pub(super) const DAY: i64 = 24 * HOUR;

/// Julian day 0, 4714-11-24 BC: the first day that PostgreSQL knows, in days since 2000-01-01.
const FIRST_DAY: i64 = -2_451_545;
/// 5874897-12-31: the last `date`.
const LAST_DAY: i64 = 2_145_031_948;
/// 294277-01-01 00:00:00: the first moment past the last `timestamp`, in microseconds since 2000-01-01.
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;

/// A year, a month and a day as they were written, in range or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    pub year: i64,
    pub month: i64,
    pub day: i64,
}

impl Date {
    /// Days since 2000-01-01; `None` when the calendar has no such day.
    pub(super) fn days(self, bc: bool) -> Option<i64> {
        let Date { year, month, day } = self;
        if year == 0 || !(1..=12).contains(&month) {
            return None;
        }
        let year = if bc { 1 - year } else { year };
        if day < 1 || day > days_in_month(year, month) {
            return None;
        }
        // Years that begin in March have their leap day at the end, so that months 0 to 10 start at the same day of
        // every year: 153 days in any five of them.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
        Some(era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 730_426)
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A time of day as it was written, in range or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Clock {
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    /// Up to 1,000,000 inclusive: .9999995 is rounded up to it.
    pub micros: i64,
}

impl Clock {
    /// Whether minutes and seconds are what a clock shows; a leap second is let through, and spills over.
    pub(super) fn is_valid(self) -> bool {
        self.minute < 60 && self.second <= 60
    }

    /// Microseconds, however many hours.
    pub(super) fn micros(self) -> i64 {
        self.hour * HOUR + self.minute * MINUTE + self.second * SECOND + self.micros
    }

    /// Microseconds since midnight; `None` past 24:00:00, which is itself allowed.
    pub(super) fn micros_of_day(self) -> Option<i64> {
        let micros = self.micros();
        (self.is_valid() && micros <= DAY).then_some(micros)
    }
}

/// `days` as a `date`, if it has such a date.
pub(super) fn date(days: i64) -> Option<i32> {
    (FIRST_DAY..=LAST_DAY).contains(&days).then_some(days as i32)
}

/// `micros` into the day `days`, as a `timestamp`, if it has such a moment.
pub(super) fn timestamp(days: i64, micros: i64) -> Option<i64> {
    let moment = days.checked_mul(DAY)?.checked_add(micros)?;
    (FIRST_DAY * DAY..TIMESTAMP_END).contains(&moment).then_some(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(year: i64, month: i64, day: i64) -> Option<i64> {
        Date { year, month, day }.days(false)
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut expected = days(1800, 1, 1).unwrap();
        for year in 1800..2201 {
            for month in 1..=12 {
                for day in 1..=days_in_month(year, month) {
                    assert_eq!(days(year, month, day), Some(expected), "{year}-{month}-{day}");
                    expected += 1;
                }
                assert_eq!(days(year, month, days_in_month(year, month) + 1), None);
            }
        }
        assert_eq!(days(2000, 1, 1), Some(0));
        assert_eq!(days(1970, 1, 1), Some(-10_957));
    }

    #[test]
    fn the_limits_are_where_the_server_has_them() {
        assert_eq!(Date { year: 4714, month: 11, day: 24 }.days(true), Some(FIRST_DAY));
        assert_eq!(days(5_874_897, 12, 31), Some(LAST_DAY));
        assert_eq!(timestamp(days(294_277, 1, 1).unwrap(), -1), Some(TIMESTAMP_END - 1));
        assert_eq!(timestamp(days(294_277, 1, 1).unwrap(), 0), None);
        assert_eq!(timestamp(FIRST_DAY, -1), None);
    }

    #[test]
    fn there_is_no_year_zero_and_1_bc_is_a_leap_year() {
        assert_eq!(days(0, 1, 1), None);
        assert_eq!(Date { year: 0, month: 1, day: 1 }.days(true), None);
        let leap_day = Date { year: 1, month: 2, day: 29 };
        assert_eq!(leap_day.days(true).map(|day| day + 1), Date { year: 1, month: 3, day: 1 }.days(true));
        assert_eq!(leap_day.days(false), None);
    }
}

//! The proleptic Gregorian calendar, and the range of valid dates and times.
//!
//! PostgreSQL counts days and microseconds from 2000-01-01 and numbers years astronomically: 1 BC is year 0, 2 BC is −1.
//! The limits are those of `datatype/timestamp.h`; the rules for valid dates and times are those of `ValidateDate` and
//! `time_overflows` in `datetime.c`.

/// Microseconds in a second.
pub(super) const SECOND: i64 = 1_000_000;
/// Microseconds in a minute.
pub(super) const MINUTE: i64 = 60 * SECOND;
/// Microseconds in an hour.
pub(super) const HOUR: i64 = 60 * MINUTE;
/// Microseconds in a day.
pub(super) const DAY: i64 = 24 * HOUR;

/// 4714-11-24 BC, Julian day 0: the first `date`, in days since 2000-01-01.
const FIRST_DAY: i64 = -2_451_545;
/// 5874897-12-31: the last `date`, in days since 2000-01-01.
const LAST_DAY: i64 = 2_145_031_948;
/// 294277-01-01 00:00:00: the first time after the last `timestamp`, in microseconds since 2000-01-01.
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;

/// A year, a month and a day as written, which may be out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    pub year: i64,
    pub month: i64,
    pub day: i64,
}

impl Date {
    /// Days since 2000-01-01, of a year BC if `bc`; `None` if the calendar has no such day.
    pub(super) fn days(self, bc: bool) -> Option<i64> {
        let Date { year, month, day } = self;
        if year == 0 {
            return None;
        }
        let year = if bc { 1 - year } else { year };
        if !(1..=days_in_month(year, month)?).contains(&day) {
            return None;
        }
        // In a year that begins in March the leap day comes last, so every month starts on the same day of every such
        // year, and any five consecutive months up to January have 153 days.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
        Some(era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 730_426)
    }
}

/// The number of days in `month`, from 1 to 12, of the astronomically numbered `year`; `None` for any other month.
pub(crate) fn days_in_month(year: i64, month: i64) -> Option<i64> {
    Some(match month {
        2 if is_leap_year(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    })
}

fn is_leap_year(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Hours, minutes and seconds as written, which may be out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ClockTime {
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    /// The fraction of the second, up to and including 1,000,000: .9999995 is rounded up to it.
    pub micros: i64,
}

impl ClockTime {
    /// Whether minutes and seconds are in range. Second 60 is accepted, and carries over into the next minute.
    pub(super) fn is_valid(self) -> bool {
        self.minute < 60 && self.second <= 60
    }

    /// The sum in microseconds, with any number of hours.
    pub(super) fn micros(self) -> i64 {
        self.hour * HOUR + self.minute * MINUTE + self.second * SECOND + self.micros
    }

    /// Microseconds since midnight; `None` if out of range. 24:00:00 is the largest value allowed.
    pub(super) fn micros_of_day(self) -> Option<i64> {
        let micros = self.micros();
        (self.is_valid() && micros <= DAY).then_some(micros)
    }
}

/// `days` since 2000-01-01 as a `date`; `None` if out of range.
pub(super) fn date(days: i64) -> Option<i32> {
    (FIRST_DAY..=LAST_DAY).contains(&days).then_some(days as i32)
}

/// The `timestamp` that is `micros` microseconds into the day `days`; `None` if out of range.
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
    fn days_of_four_centuries_are_consecutive() {
        let mut expected = days(1800, 1, 1).unwrap();
        for year in 1800..2201 {
            for month in 1..=12 {
                let last = days_in_month(year, month).unwrap();
                for day in 1..=last {
                    assert_eq!(days(year, month, day), Some(expected), "{year}-{month}-{day}");
                    expected += 1;
                }
                assert_eq!(days(year, month, last + 1), None);
            }
        }
        assert_eq!(days(2000, 1, 1), Some(0));
        assert_eq!(days(1970, 1, 1), Some(-10_957));
    }

    #[test]
    fn the_limits_are_those_of_the_server() {
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

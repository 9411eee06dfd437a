//! Numbers and times as people write them.

use std::time::Duration;

use postgres_etl::count::parse_count;

/// The longest run.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A count: `250000`, `250_000`, `250k`, `2.5e5`.
pub(super) fn count<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = parse_count(text)?;
    T::try_from(number).map_err(|_| format!("{number} is too large"))
}

/// A time above 0, in seconds unless it has a unit.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    // As pgbench takes it.
    let seconds =
        text.parse().ok().map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    let time = match seconds {
        Some(time) => Ok(time),
        None => humantime::parse_duration(text),
    };
    match time {
        Ok(time) if !time.is_zero() && time <= LONGEST => Ok(time),
        Ok(_) => Err("expected a time above 0 and at most a year".into()),
        Err(_) => Err("expected a time: write 500ms, 30s or 5m".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_unit_is_in_seconds() {
        for (text, millis) in [("10", 10_000), ("0.5", 500), ("500ms", 500), ("2m", 120_000), ("1e1", 10_000)]
        {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["0", "-1", "NaN", "inf", "1e300", "x", "", "10 years"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts_fit_their_type() {
        assert_eq!(count::<u8>("0.2k"), Ok(200));
        assert_eq!(count::<u8>("1k"), Err("1000 is too large".to_owned()));
    }
}

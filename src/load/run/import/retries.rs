//! Trying again what failed for a reason that passes, and what cannot be done twice.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::sleep;

use crate::error::ErrorKind;
use crate::progress::Progress;
use crate::{Error, Result};

/// The pause before the first retry; each further one in a row is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How often something is tried again that cannot be done twice.
#[derive(Debug)]
pub(crate) struct Retries {
    allowed: u32,
    in_a_row: u32,
    /// All of them.
    pub(crate) total: u32,
}

impl Retries {
    /// At most `allowed` retries in a row.
    pub(crate) fn new(allowed: u32) -> Self {
        Retries { allowed, in_a_row: 0, total: 0 }
    }

    /// It worked: the next failure is the first in a row.
    pub(crate) fn succeed(&mut self) {
        self.in_a_row = 0;
    }

    /// Call `attempt` until it succeeds.
    ///
    /// # Errors
    /// As [`Retries::pause`].
    pub(crate) async fn until_done<T>(
        &mut self,
        progress: &Progress,
        attempt: impl AsyncFn() -> Result<T>,
    ) -> Result<T> {
        loop {
            match attempt().await {
                Ok(done) => {
                    self.succeed();
                    return Ok(done);
                }
                Err(error) => self.pause(error, progress).await?,
            }
        }
    }

    /// Wait before the next try, after `error`.
    ///
    /// # Errors
    /// `error`, if it is not one that passes, or there were enough tries; and when `progress` is cancelled.
    pub(crate) async fn pause(&mut self, error: Error, progress: &Progress) -> Result<()> {
        if progress.is_cancelled() {
            return Err(Error::interrupted());
        }
        if !is_transient(&error) {
            return Err(error);
        }
        if self.in_a_row == self.allowed {
            let tried = match self.allowed {
                0 => return Err(error),
                1 => "1 retry did not help".to_owned(),
                more => format!("{more} retries in a row did not help"),
            };
            return Err(error.and(&tried));
        }
        self.in_a_row += 1;
        self.total += 1;
        let pause = self.backoff();
        progress.note(&format!(
            "{error}; trying again in {} ms, retry {} of {}",
            pause.as_millis(),
            self.in_a_row,
            self.allowed
        ));
        tokio::select! {
            () = sleep(pause) => Ok(()),
            () = progress.cancelled() => Err(Error::interrupted()),
        }
    }

    /// The next pause, of which up to a half is left to chance, so that processes which failed together do not try again
    /// together.
    fn backoff(&self) -> Duration {
        let longest = FIRST_PAUSE.saturating_mul(1 << (self.in_a_row - 1).min(16)).min(LONGEST_PAUSE);
        let chance = RandomState::new().hash_one(self.total) as f64 / u64::MAX as f64;
        longest.mul_f64(0.5 + chance / 2.0)
    }
}

/// Whether `error` can pass by itself: a lost connection, a deadlock, a serialization failure, or a server that cannot be
/// reached, starts, has no connection left, or gives up its place. A login that is refused for another reason would be
/// refused again.
fn is_transient(error: &Error) -> bool {
    match error.sqlstate() {
        // PgBouncer reports everything as 08P01; neither its mode nor its users and databases change.
        Some("08P01") => {
            let message = error.to_string();
            !["pooling mode", "no such ", "authentication failed"].iter().any(|lasts| message.contains(lasts))
        }
        Some(code) => {
            code.starts_with("08")
                || matches!(code, "40001" | "40P01" | "53300" | "57P01" | "57P02" | "57P03")
        }
        None => error.kind() == ErrorKind::Connect && !error.is_lasting(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_are_never_alike() {
        let mut retries = Retries::new(100);
        let mut pauses = Vec::new();
        for number in 0..40 {
            (retries.in_a_row, retries.total) = (number + 1, number + 1);
            let longest = FIRST_PAUSE.saturating_mul(1 << number.min(16)).min(LONGEST_PAUSE);
            let pause = retries.backoff();
            assert!(pause >= longest / 2 && pause <= longest, "{number}: {pause:?}");
            pauses.push(pause);
        }
        pauses.sort_unstable();
        pauses.dedup();
        assert_eq!(pauses.len(), 40);
    }
}

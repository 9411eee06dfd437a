//! Seeded synthetic people: the dataset `id,name,age,isMarried,city,state,country`, the same bytes for the same seed.
//!
//! `places` holds every place as the tail of a row, ready to copy; `rows` draws the rows in blocks, each with a
//! random stream of its own, so that any number of threads makes the same file; `target` is the file that appears
//! under its name only when it is whole.

mod places;
mod rows;
mod target;

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;

use crate::error::{Error, Result};
use crate::progress::Progress;

/// The first line of the dataset.
pub const HEADER: &str = "id,name,age,isMarried,city,state,country\n";

/// The most rows a dataset may have: the table's `id` is PostgreSQL's `integer`.
pub const MAX_ROWS: u64 = i32::MAX as u64;

/// More threads than this only wait: one thread writes, and a few fill it.
const MAX_DEFAULT_THREADS: usize = 8;

/// What to generate. `rows`, `seed` and `unicode` determine every byte; `threads` only the speed.
///
/// A plan of more rows begins with the rows of a plan of fewer.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many people, from 1 to [`MAX_ROWS`].
    pub rows: u64,
    /// Selects the people.
    pub seed: u64,
    /// Keep the original spelling of places ("São Paulo") rather than ASCII ("Sao Paulo").
    pub unicode: bool,
    /// How many threads generate; as many as the machine runs at once, up to 8, if `None`.
    pub threads: Option<NonZeroUsize>,
}

impl Plan {
    fn check(&self) -> Result<()> {
        match self.rows {
            0 => Err(Error::usage("-n 0 asks for no rows").with_help(format!("give -n 1 to -n {MAX_ROWS}"))),
            1..=MAX_ROWS => Ok(()),
            rows => Err(Error::usage(format!("-n {rows} is more rows than an integer id can number"))
                .with_help(format!("give -n {MAX_ROWS} or less"))),
        }
    }

    fn threads(&self) -> usize {
        self.threads
            .or_else(|| {
                Some(thread::available_parallelism().ok()?.min(NonZeroUsize::new(MAX_DEFAULT_THREADS)?))
            })
            .map_or(1, NonZeroUsize::get)
    }
}

/// What was generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Rows, the header not counted.
    pub rows: u64,
    /// Bytes, the header included.
    pub bytes: u64,
}

/// Write the dataset to the file `path`, which appears, or is replaced, only when the last row is written.
///
/// A symbolic link is followed, and a pipe or device is written to directly. The file that collects the rows is
/// created before the first is drawn, so that a bad path fails at once. On an error, and when `progress` is
/// cancelled, nothing is left behind and a file that was there is untouched.
///
/// # Errors
///
/// A usage error for a number of rows that cannot be, an output error that names `path`, or interrupted.
pub fn write_csv(plan: &Plan, path: &Path, progress: &Progress) -> Result<Written> {
    plan.check()?;
    let mut target = target::Target::open(path)?;
    let written =
        generate(plan, &mut target.out(), progress)?.map_err(|error| target::write_error(path, &error))?;
    target.finish(path)?;
    Ok(written)
}

/// Write the dataset to `out`, standard output for one.
///
/// # Errors
///
/// A usage error for a number of rows that cannot be, an output error, or interrupted; then `out` has part of the
/// rows. A reader that closed the pipe has all it wanted, and nothing counts as written.
pub fn write_to(plan: &Plan, out: &mut impl Write, progress: &Progress) -> Result<Written> {
    plan.check()?;
    match generate(plan, out, progress)? {
        // A reader such as `head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Written { rows: 0, bytes: 0 }),
        written => written.map_err(|error| Error::output(format!("failed to write the rows: {error}"))),
    }
}

/// The outer error is an interruption, the inner one a failure of `out`, which the caller can name.
fn generate(plan: &Plan, out: &mut impl Write, progress: &Progress) -> Result<io::Result<Written>> {
    let written = rows::write(plan.rows, plan.seed, plan.unicode, plan.threads(), out, progress);
    if progress.is_cancelled() {
        return Err(Error::interrupted());
    }
    Ok(written)
}

#[cfg(test)]
mod tests;

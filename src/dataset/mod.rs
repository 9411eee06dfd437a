//! Generates synthetic people as CSV, `id,name,age,isMarried,city,state,country`: the same bytes for the same seed.
//!
//! `places` holds every place as the ready-made end of a row. `rows` draws the rows in blocks, each from a separate random
//! stream, so that the file does not depend on the number of threads. `output` writes the file, which appears under its
//! name only when it is complete.

mod output;
mod places;
mod rows;

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;

use crate::dataset::output::Output;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// The first line of the dataset.
pub const HEADER: &str = "id,name,age,isMarried,city,state,country\n";

/// The largest number of rows: the `id` is a PostgreSQL `integer`.
pub const MAX_ROWS: u64 = i32::MAX as u64;

/// More threads than this would only wait, because one thread writes and a few keep it busy.
const MAX_DEFAULT_THREADS: usize = 8;

/// What to generate. `rows`, `seed` and `unicode` determine every byte; `threads` affects only the speed.
///
/// A larger dataset begins with the rows of a smaller one, other options being equal.
#[derive(Debug, Clone)]
pub struct DatasetOptions {
    /// The number of rows, one per person, from 1 to [`MAX_ROWS`].
    pub rows: u64,
    /// The seed of the random draws.
    pub seed: u64,
    /// Keep the original spelling of places ("São Paulo") rather than ASCII ("Sao Paulo").
    pub unicode: bool,
    /// The number of threads that generate rows; `None` for the number of available processors, at most 8.
    pub threads: Option<NonZeroUsize>,
}

impl DatasetOptions {
    fn check(&self) -> Result<()> {
        match self.rows {
            0 => {
                Err(Error::usage("-n 0 would generate no rows")
                    .with_help(format!("use -n 1 to -n {MAX_ROWS}")))
            }
            1..=MAX_ROWS => Ok(()),
            rows => Err(Error::usage(format!("-n {rows} exceeds the range of an integer id"))
                .with_help(format!("use -n {MAX_ROWS} or less"))),
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

/// The size of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatasetSize {
    /// Rows, without the header.
    pub rows: u64,
    /// Bytes, including the header.
    pub bytes: u64,
}

/// Write the dataset to the file `path`, which appears or is replaced only when all rows have been written.
///
/// Symbolic links are followed, and pipes and devices are written to directly. The temporary file is created before the
/// first row is drawn, so that a bad path fails at once. On an error, and when `progress` is cancelled, the temporary file
/// is removed and an existing file is unchanged.
///
/// # Errors
///
/// [`ErrorKind::Usage`](crate::ErrorKind::Usage) when the number of rows is out of range,
/// [`ErrorKind::Output`](crate::ErrorKind::Output) when `path` cannot be written, and
/// [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted) when `progress` is cancelled.
pub fn write_csv(options: &DatasetOptions, path: &Path, progress: &Progress) -> Result<DatasetSize> {
    options.check()?;
    let mut output = Output::open(path)?;
    let written = generate(options, &mut output.writer(), progress)?
        .map_err(|error| output::write_error(path, error))?;
    output.finish(path)?;
    Ok(written)
}

/// Write the dataset to `out`, such as standard output.
///
/// If `out` is a pipe that its reader closes, this succeeds with a size of 0.
///
/// # Errors
///
/// [`ErrorKind::Usage`](crate::ErrorKind::Usage) when the number of rows is out of range,
/// [`ErrorKind::Output`](crate::ErrorKind::Output) when writing fails, and
/// [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted) when `progress` is cancelled. In the latter two cases some
/// of the rows may have been written.
pub fn write_to(options: &DatasetOptions, out: &mut impl Write, progress: &Progress) -> Result<DatasetSize> {
    options.check()?;
    match generate(options, out, progress)? {
        // A reader such as `head` stops early on purpose.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(DatasetSize { rows: 0, bytes: 0 }),
        written => written.map_err(|error| Error::output(format!("failed to write the rows: {error}"))),
    }
}

/// Generate the rows. The outer error is an interruption; the inner one a failure of `out`, which the caller can name.
fn generate(
    options: &DatasetOptions,
    out: &mut impl Write,
    progress: &Progress,
) -> Result<io::Result<DatasetSize>> {
    let written = rows::write(options.rows, options.seed, options.unicode, options.threads(), out, progress);
    if progress.is_cancelled() {
        return Err(Error::interrupted());
    }
    Ok(written)
}

#[cfg(test)]
mod tests;

//! Where the sinks get their chunks from: the encoder, or a piece that is tried again.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, watch};
use tokio_postgres::error::SqlState;

use super::encoding::{Encoding, Switch};
use super::tuples::{Chunk, Lines};
use crate::progress::Counters;
use crate::{Error, Result};

/// Chunks between the encoder and the sink: enough that neither waits for the other's hiccups.
const CHUNKS_AHEAD: usize = 4;

/// How much may be kept to tell which line a row was on, in bytes: two a row where records span lines, else nothing.
const MOST_LINES_BYTES: usize = 8 * 1024 * 1024;

/// The encoder's chunks, which several sinks may share.
#[derive(Debug)]
pub struct Stream {
    chunks: Mutex<mpsc::Receiver<Result<Chunk>>>,
    counters: Arc<Counters>,
    /// Becomes true when nothing more is to be given out.
    stopped: watch::Sender<bool>,
    encoding: Mutex<Option<tokio::task::JoinHandle<Vec<Switch>>>>,
}

impl Stream {
    /// Run `encoding` on a thread of its own.
    pub fn start(encoding: Encoding, counters: &Arc<Counters>) -> Stream {
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let counters = Arc::clone(counters);
        let encoding = {
            let counters = Arc::clone(&counters);
            tokio::task::spawn_blocking(move || encoding.run(&counters, &sender))
        };
        Stream {
            chunks: Mutex::new(receiver),
            counters,
            stopped: watch::Sender::new(false),
            encoding: Mutex::new(Some(encoding)),
        }
    }

    /// The next chunk; `None` when there is none left, or somebody stopped.
    pub async fn next(&self) -> Result<Option<Chunk>> {
        let next = async { self.chunks.lock().await.recv().await.transpose() };
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => Ok(None),
            // The input may be a pipe that nobody writes to.
            () = self.counters.cancelled() => Err(Error::interrupted()),
            chunk = next => chunk,
        }
    }

    /// Say that `rows` of the rows given out were set aside.
    pub fn reject(&self, rows: u64) {
        self.counters.reject(rows);
    }

    /// Give out no more chunks, even to those who wait for one.
    pub fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// After the last chunk: which columns the encoder left to the server in the middle of the input.
    pub async fn switches(&self) -> Vec<Switch> {
        match self.encoding.lock().await.take() {
            Some(encoding) => encoding.await.expect("the encoder neither panics nor is aborted"),
            None => Vec::new(),
        }
    }
}

/// What one sink is given, and where each row of it was.
#[derive(Debug)]
pub struct Feed<'a> {
    source: Source<'a>,
    given: Vec<Given>,
    /// How much the lines of what was given take, and how many of them, from the first, take no more than they must.
    lines_bytes: usize,
    coarse: usize,
    rows: u64,
}

#[derive(Debug)]
enum Source<'a> {
    Stream(&'a Stream),
    Piece(Option<Box<Chunk>>),
}

/// A chunk that was given out: what is needed to find a row of it.
#[derive(Debug)]
struct Given {
    first_row: u64,
    file: Arc<str>,
    lines: Lines,
}

impl<'a> Feed<'a> {
    /// All that `stream` gives.
    pub fn stream(stream: &'a Stream) -> Self {
        Feed::of(Source::Stream(stream))
    }

    /// `chunk` alone.
    pub fn piece(chunk: Chunk) -> Self {
        Feed::of(Source::Piece(Some(Box::new(chunk))))
    }

    fn of(source: Source<'a>) -> Self {
        Feed { source, given: Vec::new(), lines_bytes: 0, coarse: 0, rows: 0 }
    }

    /// The next chunk that has rows.
    pub async fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            let chunk = match &mut self.source {
                Source::Stream(stream) => stream.next().await?,
                Source::Piece(chunk) => chunk.take().map(|chunk| *chunk),
            };
            let Some(chunk) = chunk else { return Ok(None) };
            if chunk.rows() == 0 {
                continue;
            }
            let (file, lines) = (Arc::clone(&chunk.file), chunk.lines.clone());
            self.lines_bytes += lines.bytes();
            self.given.push(Given { first_row: self.rows, file, lines });
            // The longer ago, the less likely to be asked for.
            while self.lines_bytes > MOST_LINES_BYTES && self.coarse < self.given.len() {
                let lines = &mut self.given[self.coarse].lines;
                self.lines_bytes -= lines.bytes();
                lines.coarsen();
                self.coarse += 1;
            }
            self.rows += chunk.rows() as u64;
            return Ok(Some(chunk));
        }
    }

    /// Rows given out so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// "people.csv, line 7", where `row`, from 0, began.
    pub fn place(&self, row: u64) -> Option<String> {
        let after = self.given.partition_point(|given| given.first_row <= row);
        let given = &self.given[after.checked_sub(1)?];
        let line = match given.lines.range((row - given.first_row) as usize) {
            (first, last) if first == last => format!("line {first}"),
            (first, last) => format!("line {first} to {last}"),
        };
        Some(format!("{}, {line}", given.file))
    }

    /// The lines that rows `first` to `last` began on.
    pub fn places(&self, first: u64, last: u64) -> Option<String> {
        let (first, last) = (self.place(first)?, self.place(last)?);
        if first == last {
            return Some(first);
        }
        // Of the same file only the line is said again.
        let file = &first[..=first.rfind(" line ")?];
        let last = last.strip_prefix(file).unwrap_or(&last);
        Some(format!("the rows from {first} to {last}"))
    }
}

/// Why a sink stopped.
#[derive(Debug)]
pub enum Failed {
    /// The input is wrong, or cannot be read.
    Input(Error),
    /// The server refused something.
    Server {
        /// What it said.
        error: tokio_postgres::Error,
        /// The rows that it may be about, from 0, the first and the last; `None` if it may be any.
        rows: Option<(u64, u64)>,
    },
}

impl Failed {
    /// The server's SQLSTATE, if it was the server.
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Failed::Input(_) => None,
            Failed::Server { error, .. } => error.code(),
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Input(error)
    }
}

/// What the server says it did with the rows that it was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// New rows.
    pub inserted: u64,
    /// Rows that were there and got new values.
    pub updated: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.inserted += other.inserted;
        self.updated += other.updated;
    }
}

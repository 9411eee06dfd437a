//! Where the sinks get their chunks from: the encoder, or a piece that is tried again.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, watch};

use crate::load::chunk::encoder::{ChunkEncoder, TextFallback};
use crate::load::chunk::{Chunk, LineMap};
use crate::progress::Progress;
use crate::{Error, Result};

/// Chunks between the encoder and the sink: enough that neither waits for the other's hiccups.
const CHUNKS_AHEAD: usize = 4;

/// How much may be kept to tell which line a row was on, in bytes: two a row where records span lines, else nothing.
const MOST_LINES_BYTES: usize = 8 * 1024 * 1024;

/// The encoder's chunks, which several sinks may share.
#[derive(Debug)]
pub(crate) struct ChunkStream {
    chunks: Mutex<mpsc::Receiver<Result<Chunk>>>,
    counters: Arc<Progress>,
    /// Becomes true when nothing more is to be given out.
    stopped: watch::Sender<bool>,
    encoding: Mutex<Option<tokio::task::JoinHandle<Vec<TextFallback>>>>,
}

impl ChunkStream {
    /// Run `encoding` on a thread of its own.
    pub(crate) fn start(encoding: ChunkEncoder, counters: &Arc<Progress>) -> ChunkStream {
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let counters = Arc::clone(counters);
        let encoding = {
            let counters = Arc::clone(&counters);
            tokio::task::spawn_blocking(move || encoding.run(&counters, &sender))
        };
        ChunkStream {
            chunks: Mutex::new(receiver),
            counters,
            stopped: watch::Sender::new(false),
            encoding: Mutex::new(Some(encoding)),
        }
    }

    /// The next chunk; `None` when there is none left, or somebody stopped.
    pub(crate) async fn next(&self) -> Result<Option<Chunk>> {
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
    pub(crate) fn reject(&self, rows: u64) {
        self.counters.reject(rows);
    }

    /// Give out no more chunks, even to those who wait for one.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// After the last chunk: which columns the encoder left to the server in the middle of the input.
    pub(crate) async fn switches(&self) -> Vec<TextFallback> {
        match self.encoding.lock().await.take() {
            Some(encoding) => encoding.await.expect("the encoder neither panics nor is aborted"),
            None => Vec::new(),
        }
    }
}

/// What one sink is given, and where each row of it was.
#[derive(Debug)]
pub(crate) struct ChunkFeed<'a> {
    source: Source<'a>,
    given: Vec<Given>,
    /// How much the lines of what was given take, and how many of them, from the first, take no more than they must.
    lines_bytes: usize,
    coarse: usize,
    rows: u64,
}

#[derive(Debug)]
enum Source<'a> {
    ChunkStream(&'a ChunkStream),
    Piece(Option<Box<Chunk>>),
}

/// A chunk that was given out: what is needed to find a row of it.
#[derive(Debug)]
struct Given {
    first_row: u64,
    file: Arc<str>,
    lines: LineMap,
}

impl<'a> ChunkFeed<'a> {
    /// All that `stream` gives.
    pub(crate) fn stream(stream: &'a ChunkStream) -> Self {
        ChunkFeed::of(Source::ChunkStream(stream))
    }

    /// `chunk` alone.
    pub(crate) fn piece(chunk: Chunk) -> Self {
        ChunkFeed::of(Source::Piece(Some(Box::new(chunk))))
    }

    fn of(source: Source<'a>) -> Self {
        ChunkFeed { source, given: Vec::new(), lines_bytes: 0, coarse: 0, rows: 0 }
    }

    /// The next chunk that has rows.
    pub(crate) async fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            let chunk = match &mut self.source {
                Source::ChunkStream(stream) => stream.next().await?,
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
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// "people.csv, line 7", where `row`, from 0, began.
    pub(crate) fn locate(&self, row: u64) -> Option<String> {
        let after = self.given.partition_point(|given| given.first_row <= row);
        let given = &self.given[after.checked_sub(1)?];
        let line = match given.lines.range((row - given.first_row) as usize) {
            (first, last) if first == last => format!("line {first}"),
            (first, last) => format!("line {first} to {last}"),
        };
        Some(format!("{}, {line}", given.file))
    }

    /// The lines that rows `first` to `last` began on.
    pub(crate) fn locate_range(&self, first: u64, last: u64) -> Option<String> {
        let (first, last) = (self.locate(first)?, self.locate(last)?);
        if first == last {
            return Some(first);
        }
        // Of the same file only the line is said again.
        let file = &first[..=first.rfind(" line ")?];
        let last = last.strip_prefix(file).unwrap_or(&last);
        Some(format!("the rows from {first} to {last}"))
    }
}

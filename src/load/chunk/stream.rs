//! Hands the chunks of the encoder, or a single chunk, to the writers, and locates their rows in the files.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc, watch};
use tokio_postgres::Client;

use crate::error::Location;
use crate::load::chunk::encoder::{ChunkEncoder, EncoderSummary};
use crate::load::chunk::{Chunk, LineMap};
use crate::progress::Progress;
use crate::{Error, Result};

/// Chunks buffered between the encoder and the writers: enough that neither has to wait for a short stall of the other.
const CHUNKS_AHEAD: usize = 4;

/// Memory for the lines of delivered rows, in bytes: 2 bytes a row where records span several lines, otherwise none.
const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;

/// How often to look whether the connection is closed while there is no input.
const CLOSED_INTERVAL: Duration = Duration::from_millis(100);

/// The chunks of an encoder; several writers may share it.
#[derive(Debug)]
pub(crate) struct ChunkStream {
    chunks: Mutex<Delivery>,
    progress: Arc<Progress>,
    /// Becomes true when no more chunks are to be delivered.
    stopped: watch::Sender<bool>,
    /// When a writer first found that there are no more chunks.
    exhausted: OnceLock<Instant>,
    encoder: Mutex<Option<tokio::task::JoinHandle<ChunkEncoder>>>,
}

/// What a stream delivers.
#[derive(Debug)]
struct Delivery {
    receiver: mpsc::Receiver<Result<Chunk>>,
    /// The chunks received so far, and how many of them were delivered; `None` to keep none.
    kept: Option<(Vec<Chunk>, usize)>,
}

impl Delivery {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        let Some((chunks, delivered)) = &mut self.kept else { return self.receiver.recv().await.transpose() };
        if *delivered == chunks.len() {
            let Some(chunk) = self.receiver.recv().await.transpose()? else { return Ok(None) };
            chunks.push(chunk);
        }
        *delivered += 1;
        Ok(chunks.get(*delivered - 1).cloned())
    }
}

impl ChunkStream {
    /// Run `encoder` on a dedicated thread.
    pub(crate) fn start(encoder: ChunkEncoder, progress: &Arc<Progress>) -> ChunkStream {
        ChunkStream::new(encoder, progress, None)
    }

    /// As [`ChunkStream::start`], and keep all chunks in memory, so that they can be delivered again.
    pub(crate) fn start_keeping(encoder: ChunkEncoder, progress: &Arc<Progress>) -> ChunkStream {
        ChunkStream::new(encoder, progress, Some((Vec::new(), 0)))
    }

    fn new(
        encoder: ChunkEncoder,
        progress: &Arc<Progress>,
        kept: Option<(Vec<Chunk>, usize)>,
    ) -> ChunkStream {
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let progress = Arc::clone(progress);
        let encoder = {
            let progress = Arc::clone(&progress);
            tokio::task::spawn_blocking(move || encoder.run(&progress, &sender))
        };
        ChunkStream {
            chunks: Mutex::new(Delivery { receiver, kept }),
            progress,
            stopped: watch::Sender::new(false),
            exhausted: OnceLock::new(),
            encoder: Mutex::new(Some(encoder)),
        }
    }

    /// The next chunk; `None` at the end of the input, and after [`ChunkStream::stop`].
    ///
    /// # Errors
    /// The encoder's error, or that the load was cancelled.
    pub(crate) async fn next(&self) -> Result<Option<Chunk>> {
        let next = async { self.chunks.lock().await.next().await };
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => Ok(None),
            // The encoder may be waiting for input that never comes, as from an idle pipe.
            () = self.progress.cancelled() => Err(Error::interrupted()),
            chunk = next => {
                if matches!(chunk, Ok(None)) {
                    self.exhausted.get_or_init(Instant::now);
                }
                chunk
            }
        }
    }

    /// As [`ChunkStream::next`], and an error as soon as `client` is found to be closed.
    ///
    /// # Errors
    /// Also when the connection is closed.
    pub(crate) async fn next_for(&self, client: &Client) -> Result<Option<Chunk>> {
        while_open(client, self.next()).await
    }

    /// Deliver the chunks from the first one again, if they were kept.
    pub(crate) async fn rewind(&self) {
        if let Some((_, delivered)) = &mut self.chunks.lock().await.kept {
            *delivered = 0;
        }
    }

    /// Deliver no more chunks, and end every pending [`ChunkStream::next`].
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// What the encoder tells at its end. To be called once, as soon as the server has confirmed all rows.
    pub(crate) async fn summary(&self) -> EncoderSummary {
        let confirm_seconds = self.exhausted.get().map_or(0.0, |at| at.elapsed().as_secs_f64());
        let summary = self.encoder().await.map_or_else(EncoderSummary::default, ChunkEncoder::into_summary);
        EncoderSummary { confirm_seconds, ..summary }
    }

    /// The encoder. To be called once, after the last chunk; `None` after that.
    pub(crate) async fn encoder(&self) -> Option<ChunkEncoder> {
        match self.encoder.lock().await.take() {
            Some(encoder) => Some(encoder.await.expect("the encoder neither panics nor is aborted")),
            None => None,
        }
    }
}

/// Await `next`, and fail as soon as `client` is found to be closed.
async fn while_open<T>(client: &Client, next: impl Future<Output = Result<T>>) -> Result<T> {
    let closed = async {
        while !client.is_closed() {
            tokio::time::sleep(CLOSED_INTERVAL).await;
        }
    };
    tokio::select! {
        biased;
        next = next => next,
        () = closed => Err(Error::closed("wait for more input")),
    }
}

/// The chunks delivered to one writer, and the line of each of their rows.
#[derive(Debug)]
pub(crate) struct ChunkFeed<'a> {
    source: FeedSource<'a>,
    delivered: Vec<DeliveredChunk>,
    /// Memory that the lines of the delivered chunks take, in bytes.
    line_bytes: usize,
    /// Number of delivered chunks, from the first, whose lines were coarsened to save memory.
    coarse: usize,
    /// Number of delivered rows.
    rows: u64,
}

#[derive(Debug)]
enum FeedSource<'a> {
    Stream(&'a ChunkStream),
    /// A single chunk; `None` once it was delivered.
    Chunk(Option<Box<Chunk>>),
}

/// The position of a chunk in the input.
#[derive(Debug)]
struct DeliveredChunk {
    /// Rows that were delivered before it.
    first_row: u64,
    file: Arc<str>,
    lines: LineMap,
}

impl<'a> ChunkFeed<'a> {
    /// Deliver chunks of `stream`, which other writers may share.
    pub(crate) fn from_stream(stream: &'a ChunkStream) -> Self {
        ChunkFeed::new(FeedSource::Stream(stream))
    }

    /// Deliver `chunk` only.
    pub(crate) fn from_chunk(chunk: Chunk) -> Self {
        ChunkFeed::new(FeedSource::Chunk(Some(Box::new(chunk))))
    }

    fn new(source: FeedSource<'a>) -> Self {
        ChunkFeed { source, delivered: Vec::new(), line_bytes: 0, coarse: 0, rows: 0 }
    }

    /// The next chunk that has rows; `None` at the end.
    ///
    /// # Errors
    /// As [`ChunkStream::next`].
    pub(crate) async fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            let chunk = match &mut self.source {
                FeedSource::Stream(stream) => stream.next().await?,
                FeedSource::Chunk(chunk) => chunk.take().map(|chunk| *chunk),
            };
            let Some(chunk) = chunk else { return Ok(None) };
            if chunk.rows() == 0 {
                continue;
            }
            let (file, lines) = (Arc::clone(&chunk.file), chunk.lines.clone());
            self.line_bytes += lines.bytes();
            self.delivered.push(DeliveredChunk { first_row: self.rows, file, lines });
            // The oldest first: an error about them is the least likely.
            while self.line_bytes > MAX_LINE_BYTES && self.coarse < self.delivered.len() {
                let lines = &mut self.delivered[self.coarse].lines;
                self.line_bytes -= lines.bytes();
                lines.coarsen();
                self.coarse += 1;
            }
            self.rows += chunk.rows() as u64;
            return Ok(Some(chunk));
        }
    }

    /// As [`ChunkFeed::next`], and an error as soon as `client` is found to be closed: the input may be a pipe that stays
    /// silent for hours.
    ///
    /// # Errors
    /// Also when the connection is closed.
    pub(crate) async fn next_for(&mut self, client: &Client) -> Result<Option<Chunk>> {
        while_open(client, self.next()).await
    }

    /// Number of rows delivered so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// The file and line of delivered row `row`, from 0: "people.csv, line 7". `None` before the first chunk.
    pub(crate) fn locate(&self, row: u64) -> Option<String> {
        let after = self.delivered.partition_point(|chunk| chunk.first_row <= row);
        let chunk = &self.delivered[after.checked_sub(1)?];
        let line = match chunk.lines.range((row - chunk.first_row) as usize) {
            (first, last) if first == last => format!("line {first}"),
            (first, last) => format!("lines {first} to {last}"),
        };
        Some(format!("{}, {line}", chunk.file))
    }

    /// The place where the record of `row`, from 0, begins.
    pub(crate) fn location(&self, row: u64) -> Option<Location> {
        let after = self.delivered.partition_point(|chunk| chunk.first_row <= row);
        let chunk = &self.delivered[after.checked_sub(1)?];
        let (line, _) = chunk.lines.range((row - chunk.first_row) as usize);
        Some(Location::on_line(&chunk.file, line))
    }

    /// As [`ChunkFeed::locate`], for the rows `first` to `last`.
    pub(crate) fn locate_range(&self, first: u64, last: u64) -> Option<String> {
        let (first, last) = (self.locate(first)?, self.locate(last)?);
        if first == last {
            return Some(first);
        }
        // Name the file only once if both are in the same one.
        let file = &first[..first.rfind(", line")? + ", ".len()];
        let last = last.strip_prefix(file).unwrap_or(&last);
        Some(format!("the rows from {first} to {last}"))
    }
}

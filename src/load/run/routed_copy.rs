//! Several connections that copy into the partitions of a table, each row into its own.
//!
//! The rows of a chunk belong to many partitions. They wait in a buffer for each of these; a connection that is free copies
//! the fullest buffer, or else sorts the next chunk into them. While one connection writes into a partition, the others write
//! into different ones, so they neither wait for each other's locks on its pages nor for keys that occur twice. The server
//! checks that the rows belong to the partition.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Client;

use crate::load::chunk::stream::{ChunkFeed, ChunkStream};
use crate::load::chunk::{Chunk, LineMap};
use crate::load::mapping::ValueFormat;
use crate::load::options::{Mode, PartitionRouting};
use crate::load::refusal::RefusalScope;
use crate::load::run::stop::{Stopped, explain};
use crate::load::settings::LoadSettings;
use crate::load::table::partitions::{Partitions, PartitionsWritten};
use crate::load::table::prepare::PreparedTable;
use crate::load::write::copy::CopyWriter;
use crate::load::write::outcome::{RowCounts, WriteFailure};
use crate::{Error, Result};

/// Size of all buffers that are about to be copied, in bytes.
const BUFFERED_BYTES: usize = 8 * 1024 * 1024;

/// Rows that wait to be copied into one partition.
#[derive(Debug, Default)]
struct Buffer {
    tuples: Vec<u8>,
    /// The end of each tuple, in bytes.
    ends: Vec<usize>,
    /// Connections that are copying into the partition.
    writers: usize,
}

/// Sends each row to its partition.
#[derive(Debug)]
pub(super) struct RoutedCopy {
    partitions: Partitions,
    /// One for each partition, and one for the rows that belong to none of them: the server explains that.
    buffers: Mutex<Vec<Buffer>>,
    /// Size from which a buffer is copied, in bytes.
    enough: usize,
}

impl RoutedCopy {
    /// Decide over `client`, whose transaction has locked the table, whether to send rows to their partitions; `None` if not.
    ///
    /// # Errors
    /// When the server does not tell what the partitions are.
    pub(super) async fn plan(
        client: &Client,
        settings: &LoadSettings,
        prepared: &PreparedTable,
        can_be_read_again: bool,
    ) -> Result<(Option<RoutedCopy>, PartitionsWritten)> {
        let PreparedTable { table, mapping, .. } = prepared;
        if !table.is_partitioned || settings.partitions == PartitionRouting::Root {
            return Ok(Default::default());
        }
        let found = if can_be_read_again {
            Partitions::find(client, table, mapping).await?
        } else {
            Err("the input cannot be read again to find a row that is refused".to_owned())
        };
        let partitions = match found {
            Ok(partitions) => partitions,
            Err(reason) => {
                tracing::info!("rows are sent to the partitioned table: {reason}");
                let not_because = Some(reason).filter(|reason| !reason.is_empty());
                return Ok((None, PartitionsWritten { directly: None, not_because }));
            }
        };
        let count = partitions.names.len();
        tracing::info!("rows are sent to {count} partitions directly");
        let buffers = (0..=count).map(|_| Buffer::default()).collect();
        let enough = (BUFFERED_BYTES / count).clamp(64 * 1024, 1024 * 1024);
        let routed = RoutedCopy { partitions, buffers: Mutex::new(buffers), enough };
        Ok((Some(routed), PartitionsWritten { directly: Some(count), not_because: None }))
    }

    /// Copy rows of `stream` over one connection, in its open transaction; return the server's counts, and the number of rows
    /// taken from the stream.
    ///
    /// # Errors
    /// When the server refuses a row: [`Stopped::RetryRowByRow`], since it does not tell where in the files it is.
    pub(super) async fn copy(
        &self,
        client: &Client,
        settings: &LoadSettings,
        prepared: &PreparedTable,
        stream: &ChunkStream,
    ) -> Result<(RowCounts, u64), Stopped> {
        let PreparedTable { table, mapping, .. } = prepared;
        let mut writers = Vec::new();
        for name in self.partitions.names.iter().chain([&table.name]) {
            writers.push(CopyWriter::prepare(client, name, mapping, None, false).await?);
        }
        let mut feed = ChunkFeed::from_stream(stream);
        let mut counts = RowCounts::default();
        loop {
            let (target, chunk) = match self.take(self.enough) {
                Some(taken) => taken,
                None => match feed.next_for(client).await? {
                    // Only the server knows the keys of a chunk that it parses.
                    Some(chunk) if chunk.formats[0] == ValueFormat::Text => {
                        self.buffers().last_mut().expect("one is for the table").writers += 1;
                        (writers.len() - 1, chunk)
                    }
                    Some(chunk) => {
                        self.sort(&chunk);
                        continue;
                    }
                    None => match self.take(0) {
                        Some(taken) => taken,
                        None => return Ok((counts, feed.rows())),
                    },
                },
            };
            let copied = writers[target].insert(client, &mut ChunkFeed::from_chunk(chunk)).await;
            self.buffers()[target].writers -= 1;
            counts += copied.map_err(|failure| refused(failure, &feed, settings, prepared))?;
        }
    }

    fn buffers(&self) -> std::sync::MutexGuard<'_, Vec<Buffer>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Append each tuple of `chunk` to the buffer of its partition.
    fn sort(&self, chunk: &Chunk) {
        let targets: Vec<Option<usize>> =
            (0..chunk.rows()).map(|row| self.partitions.of(chunk, row)).collect();
        let mut buffers = self.buffers();
        let none = buffers.len() - 1;
        let mut start = 0;
        for (target, &end) in targets.into_iter().zip(&chunk.ends) {
            let buffer = &mut buffers[target.unwrap_or(none)];
            buffer.tuples.extend_from_slice(&chunk.tuples[start..end]);
            buffer.ends.push(buffer.tuples.len());
            start = end;
        }
    }

    /// Take the rows of the fullest buffer with at least `enough` bytes, and the index of their partition. Into a partition
    /// that another connection is writing, only if they have become twice as many: nearly all rows may belong to one.
    fn take(&self, enough: usize) -> Option<(usize, Chunk)> {
        let mut buffers = self.buffers();
        let is_ready = |buffer: &Buffer| {
            let needed = if buffer.writers == 0 { enough } else { 2 * enough };
            !buffer.ends.is_empty() && buffer.tuples.len() >= needed
        };
        let ready = buffers.iter_mut().enumerate().filter(|(_, buffer)| is_ready(buffer));
        let (target, buffer) = ready.max_by_key(|(_, buffer)| buffer.tuples.len())?;
        buffer.writers += 1;
        let (tuples, ends) = (std::mem::take(&mut buffer.tuples), std::mem::take(&mut buffer.ends));
        let chunk = Chunk {
            tuples: tuples.into(),
            ends,
            lines: LineMap::default(),
            file: Arc::default(),
            formats: Arc::new([ValueFormat::Binary]),
            originals: None,
            rejects: Vec::new(),
        };
        Some((target, chunk))
    }
}

/// The error for a `failure` to copy rows, whose lines are not known.
fn refused(
    failure: WriteFailure,
    feed: &ChunkFeed<'_>,
    settings: &LoadSettings,
    prepared: &PreparedTable,
) -> Stopped {
    let (failure, is_about_rows) = match failure {
        WriteFailure::Server { error, .. } => {
            let is_about_rows = RefusalScope::new(&error) != RefusalScope::Session;
            (WriteFailure::Server { error, rows: None }, is_about_rows)
        }
        failure @ WriteFailure::Input(_) => (failure, false),
    };
    let error: Error = explain(failure, feed, settings, &prepared.table);
    if is_about_rows { Stopped::RetryRowByRow(error, Mode::Copy) } else { Stopped::Error(error) }
}

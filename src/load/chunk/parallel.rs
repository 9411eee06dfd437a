//! Encodes with several threads. One cuts the files into pieces of whole records, the others encode them, and the chunks
//! are sent in the order of the input.
//!
//! A piece is encoded in the formats that are known when its turn comes. If an earlier piece turns out to need others,
//! because the server has to read a value, it is encoded again: so the chunks are those of a single thread, except for
//! where one ends and the next begins.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;

use crate::csv::Files;
use crate::csv::piece::PiecePosition;
use crate::load::chunk::Chunk;
use crate::load::chunk::encoder::{ChunkEncoder, EncodePlan};
use crate::load::chunk::findings::Findings;
use crate::load::mapping::{ColumnMapping, ValueFormat};
use crate::progress::Progress;
use crate::{Error, Result};

/// A piece that is encoded.
struct EncodedPiece {
    chunks: Vec<Chunk>,
    /// The error after the chunks; `None` if there is none.
    error: Option<Error>,
    encoder: ChunkEncoder,
    /// The formats with which encoding began.
    began_with: Arc<[ValueFormat]>,
    start: PiecePosition,
    took: Duration,
}

/// A piece, and where it is to be handed over.
struct Job {
    files: Files,
    done: SyncSender<EncodedPiece>,
}

/// What the threads share.
struct Shared {
    mapping: Arc<ColumnMapping>,
    plan: EncodePlan,
    /// The formats of the last chunk that was sent.
    formats: Mutex<Arc<[ValueFormat]>>,
}

impl Shared {
    fn formats(&self) -> Arc<[ValueFormat]> {
        Arc::clone(&self.formats.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Encode the piece `files` in these `formats`.
    fn encode(&self, files: Files, formats: Arc<[ValueFormat]>) -> EncodedPiece {
        let (started, start) = (Instant::now(), files.piece_position());
        let began_with = Arc::clone(&formats);
        let mut encoder = ChunkEncoder::with_formats(files, Arc::clone(&self.mapping), self.plan, formats);
        let mut chunks = Vec::new();
        let error = loop {
            match encoder.next_chunk() {
                Ok(Some(chunk)) => chunks.push(chunk),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        EncodedPiece { chunks, error, encoder, began_with, start, took: started.elapsed() }
    }

    /// The same piece in the formats that are known by now, if it was encoded in others.
    fn settled(&self, piece: EncodedPiece) -> EncodedPiece {
        let formats = self.formats();
        let piece = if piece.began_with == formats {
            piece
        } else {
            let mut files = piece.encoder.files;
            files.rewind_piece(piece.start);
            let again = self.encode(files, formats);
            EncodedPiece { took: piece.took + again.took, ..again }
        };
        *self.formats.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&piece.encoder.formats);
        piece
    }
}

impl ChunkEncoder {
    /// Whether several threads are to encode, and can.
    pub(super) fn is_parallel(&self) -> bool {
        self.plan.threads > 1 && self.section.is_none() && self.files.format().can_be_cut()
    }

    /// Encode all records that can be cut off with several threads, and send their chunks to `chunks`. Return whether more
    /// may follow: not after an error, nor when the receiver is dropped.
    pub(super) fn encode_in_parallel(&mut self, progress: &Progress, chunks: &Sender<Result<Chunk>>) -> bool {
        let ChunkEncoder { files, mapping, plan, formats, .. } = self;
        let threads = plan.threads;
        let shared =
            Shared { mapping: Arc::clone(mapping), plan: *plan, formats: Arc::clone(formats).into() };
        let (jobs, waiting) = sync_channel::<Job>(threads);
        let (turns, next) = sync_channel::<Result<Receiver<EncodedPiece>>>(threads);
        let (waiting, inputs) = (Mutex::new(waiting), files.inputs().clone());
        let read_before = inputs.read_time();
        let ended = thread::scope(|scope| {
            scope.spawn(move || cut(files, &jobs, &turns));
            for _ in 0..threads {
                scope.spawn(|| {
                    let take = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    while let Ok(Job { files, done }) = take() {
                        // Nobody takes it after an error in an earlier piece.
                        let _ = done.send(shared.encode(files, shared.formats()));
                    }
                });
            }
            let (mut findings, mut took) = (Findings::default(), Duration::ZERO);
            let goes_on = next.into_iter().all(|turn| {
                let piece = match turn {
                    Ok(piece) => shared.settled(piece.recv().expect("a thread that encodes does not panic")),
                    Err(error) => {
                        let _ = chunks.blocking_send(Err(error));
                        return false;
                    }
                };
                took += piece.took;
                let unsent = piece.encoder.unsent;
                findings.append(piece.encoder.findings);
                let sent = piece.chunks.into_iter().map(Ok).chain(piece.error.map(Err));
                sent.into_iter().all(|chunk| {
                    let chunk = if progress.is_cancelled() { Err(Error::interrupted()) } else { chunk };
                    let rows = chunk.as_ref().map_or(unsent, |chunk| chunk.rows() + chunk.rejects.len());
                    progress.add(rows as u64, inputs.consumed().saturating_sub(progress.bytes()));
                    let is_last = chunk.is_err();
                    chunks.blocking_send(chunk).is_ok() && !is_last
                })
            });
            (goes_on, findings, took)
        });
        let (goes_on, findings, took) = ended;
        self.read_time += inputs.read_time().saturating_sub(read_before);
        self.findings.append(findings);
        self.encode_time += took / u32::try_from(threads).unwrap_or(u32::MAX);
        self.use_formats(shared.formats());
        goes_on
    }
}

/// Cut `files` into pieces as far as that is possible, and hand each to a thread by `jobs`, after its turn to `turns`.
fn cut(files: &mut Files, jobs: &SyncSender<Job>, turns: &SyncSender<Result<Receiver<EncodedPiece>>>) {
    let mut next = || if files.has_next()? { files.cut_off() } else { Ok(None) };
    loop {
        let (piece, turn) = match next() {
            Ok(None) => return,
            Ok(Some(files)) => {
                let (done, turn) = sync_channel(1);
                (Some(Job { files, done }), Ok(turn))
            }
            Err(error) => (None, Err(error)),
        };
        // Neither fails but after an error in an earlier piece.
        if turns.send(turn).is_err() || piece.is_none_or(|piece| jobs.send(piece).is_err()) {
            return;
        }
    }
}

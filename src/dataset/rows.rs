//! Draws rows in independent blocks, and writes the blocks in order.

use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;

use fake::locales::{Data, EN};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::dataset::places::Places;
use crate::dataset::{DatasetSize, HEADER};
use crate::progress::Progress;

const FIRST_NAMES: &[&str] = EN::NAME_FIRST_NAME;
const LAST_NAMES: &[&str] = EN::NAME_LAST_NAME;

/// The range of ages, in years.
const AGES: std::ops::RangeInclusive<u8> = 22..=65;

/// Rows per block. Changing it changes the people that a seed yields.
pub(super) const BLOCK_ROWS: u64 = 4096;

/// The initial capacity of a block's buffer. A row has about 60 bytes, a few more where ids are long.
const BLOCK_BYTES: usize = BLOCK_ROWS as usize * 72;

/// With two buffers, a thread can fill one while the other waits to be written.
const BUFFERS_PER_THREAD: usize = 2;

/// Write the header and `rows` rows to `out`, drawn by `threads` threads. Stop early if `progress` is cancelled.
pub(super) fn write(
    rows: u64,
    seed: u64,
    unicode: bool,
    threads: usize,
    out: &mut impl Write,
    progress: &Progress,
) -> io::Result<DatasetSize> {
    let generator = RowGenerator::new(rows, seed, unicode);
    let mut written = DatasetSize { rows: 0, bytes: HEADER.len() as u64 };
    out.write_all(HEADER.as_bytes())?;
    progress.add(0, written.bytes);

    generator.for_each_block(threads, progress, |block, bytes| {
        out.write_all(bytes)?;
        let (rows, bytes) = (generator.rows_in(block), bytes.len() as u64);
        progress.add(rows, bytes);
        written.rows += rows;
        written.bytes += bytes;
        Ok(())
    })?;
    out.flush()?;
    Ok(written)
}

/// Generates rows from a seed.
struct RowGenerator {
    rows: u64,
    seed: u64,
    places: Places,
    /// `,age,isMarried` for every age and both values.
    ages: Vec<String>,
}

impl RowGenerator {
    fn new(rows: u64, seed: u64, unicode: bool) -> Self {
        let ages = AGES.flat_map(|age| [true, false].map(|married| format!(",{age},{married}"))).collect();
        RowGenerator { rows, seed, places: Places::new(unicode), ages }
    }

    fn blocks(&self) -> u64 {
        self.rows.div_ceil(BLOCK_ROWS)
    }

    fn rows_in(&self, block: u64) -> u64 {
        BLOCK_ROWS.min(self.rows - block * BLOCK_ROWS)
    }

    /// Replace the contents of `out` with the rows of `block`.
    ///
    /// Each block has a separate stream of the cipher, keyed by `seed`, and each row consumes one word of it, so a row
    /// depends only on the seed and its id.
    fn fill(&self, block: u64, out: &mut Vec<u8>) {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        let mut random = ChaCha8Rng::from_seed(key);
        random.set_stream(block);

        let mut digits = itoa::Buffer::new();
        out.clear();
        let before = block * BLOCK_ROWS;
        for id in before + 1..=before + self.rows_in(block) {
            let mut word = random.next_u64();
            out.extend_from_slice(digits.format(id).as_bytes());
            out.push(b',');
            out.extend_from_slice(FIRST_NAMES[draw(&mut word, FIRST_NAMES.len())].as_bytes());
            out.push(b' ');
            out.extend_from_slice(LAST_NAMES[draw(&mut word, LAST_NAMES.len())].as_bytes());
            out.extend_from_slice(self.ages[draw(&mut word, self.ages.len())].as_bytes());
            out.extend_from_slice(self.places.tail(draw(&mut word, self.places.len())));
        }
    }

    /// Pass every block to `emit`, in order, on this thread. Stop early if `progress` is cancelled.
    ///
    /// Thread `t` fills the blocks `t`, `t + threads`, …, so that taking one from each thread in turn yields them in order.
    /// Each thread owns a fixed number of buffers, which bounds the memory: it waits until one has been written.
    fn for_each_block(
        &self,
        threads: usize,
        progress: &Progress,
        mut emit: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if threads == 1 {
            let mut buffer = Vec::with_capacity(BLOCK_BYTES);
            for block in (0..self.blocks()).take_while(|_| !progress.is_cancelled()) {
                self.fill(block, &mut buffer);
                emit(block, &buffer)?;
            }
            return Ok(());
        }

        thread::scope(|scope| {
            let first_blocks = (0..self.blocks()).take(threads);
            let lanes: Vec<_> = first_blocks
                .map(|first| {
                    let (fill, to_fill) = mpsc::channel::<Vec<u8>>();
                    let (filled, to_emit) = mpsc::channel();
                    for _ in 0..BUFFERS_PER_THREAD {
                        let _ = fill.send(Vec::with_capacity(BLOCK_BYTES));
                    }
                    scope.spawn(move || {
                        for block in (first..self.blocks()).step_by(threads) {
                            let Ok(mut buffer) = to_fill.recv() else { return };
                            self.fill(block, &mut buffer);
                            if filled.send(buffer).is_err() {
                                return;
                            }
                        }
                    });
                    (fill, to_emit)
                })
                .collect();

            for (block, (fill, to_emit)) in (0..self.blocks()).zip(lanes.iter().cycle()) {
                // A lane ends early only by a panic, which the scope propagates.
                let Ok(buffer) = to_emit.recv() else { break };
                if progress.is_cancelled() {
                    break;
                }
                emit(block, &buffer)?;
                // A lane that has filled its last block no longer receives buffers.
                let _ = fill.send(buffer);
            }
            Ok(())
        })
    }
}

/// Draw a number below `n` from the entropy of `word`, leaving the rest in `word`.
///
/// `word` is read as a fraction of 2⁶⁴. The integer part of its product with `n` is the number; the fractional part is
/// the next `word`. All draws for a row together choose among fewer than 2⁴⁴ people, so none is favoured by more than one
/// part in a million.
fn draw(word: &mut u64, n: usize) -> usize {
    let product = u128::from(*word) * n as u128;
    *word = product as u64;
    (product >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_neither_quoting_nor_unicode() {
        for name in FIRST_NAMES.iter().chain(LAST_NAMES) {
            assert!(name.chars().all(|c| c.is_ascii_alphabetic() || c == '\''), "{name:?}");
        }
    }

    #[test]
    fn the_draws_of_a_row_leave_twenty_bits_of_the_word() {
        let generator = RowGenerator::new(1, 0, false);
        let people = [FIRST_NAMES.len(), LAST_NAMES.len(), generator.ages.len(), generator.places.len()]
            .iter()
            .try_fold(1u64, |product, &n| product.checked_mul(n as u64));
        assert!(people.unwrap() < 1 << 44);
    }

    #[test]
    fn draws_span_the_whole_range() {
        assert_eq!(draw(&mut 0, 44), 0);
        assert_eq!(draw(&mut u64::MAX.clone(), 44), 43);
    }
}

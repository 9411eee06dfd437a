//! Drawing rows, in blocks that do not depend on each other, and writing them in order.

use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;

use fake::locales::{Data, EN};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::dataset::places::Places;
use crate::dataset::{HEADER, Written};
use crate::progress::Progress;

const FIRST_NAMES: &[&str] = EN::NAME_FIRST_NAME;
const LAST_NAMES: &[&str] = EN::NAME_LAST_NAME;

/// The youngest and the oldest.
const AGES: std::ops::RangeInclusive<u8> = 22..=65;

/// Rows of a block. Part of what the seed means: another size gives other people.
pub(super) const BLOCK_ROWS: u64 = 4096;

/// Room for a block without growing; a row has about 60 bytes, and a few more where ids are long.
const BLOCK_BYTES: usize = BLOCK_ROWS as usize * 72;

/// Two blocks a thread: it fills one while the other waits for its turn to be written.
const BUFFERS_PER_THREAD: usize = 2;

/// Write the header and `rows` rows to `out`, drawn by `threads` threads; stop early if `counters` is cancelled.
pub(super) fn write(
    rows: u64,
    seed: u64,
    unicode: bool,
    threads: usize,
    out: &mut impl Write,
    counters: &Progress,
) -> io::Result<Written> {
    let source = Source::new(rows, seed, unicode);
    let mut written = Written { rows: 0, bytes: HEADER.len() as u64 };
    out.write_all(HEADER.as_bytes())?;
    counters.add(0, written.bytes);

    source.for_each_block(threads, counters, |block, bytes| {
        out.write_all(bytes)?;
        let (rows, bytes) = (source.rows_in(block), bytes.len() as u64);
        counters.add(rows, bytes);
        written.rows += rows;
        written.bytes += bytes;
        Ok(())
    })?;
    out.flush()?;
    Ok(written)
}

/// Everything a row is put together from.
struct Source {
    rows: u64,
    seed: u64,
    places: Places,
    /// `,age,isMarried` for every age and both answers.
    ages: Vec<String>,
}

impl Source {
    fn new(rows: u64, seed: u64, unicode: bool) -> Self {
        let ages = AGES.flat_map(|age| [true, false].map(|married| format!(",{age},{married}"))).collect();
        Source { rows, seed, places: Places::new(unicode), ages }
    }

    fn blocks(&self) -> u64 {
        self.rows.div_ceil(BLOCK_ROWS)
    }

    fn rows_in(&self, block: u64) -> u64 {
        BLOCK_ROWS.min(self.rows - block * BLOCK_ROWS)
    }

    /// Replace the contents of `out` by the rows of `block`.
    ///
    /// The block has its own stream of the cipher that `seed` keys, and a row takes one word of it, so a row depends
    /// on the seed and its id only.
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

    /// Hand every block to `emit`, in order, on this thread; stop early if `counters` is cancelled.
    ///
    /// Of several threads, thread `t` fills the blocks `t`, `t + threads`, …, so taking turns puts them in order. Each
    /// has its buffers for good, and they bound the memory: it waits for one that has been written.
    fn for_each_block(
        &self,
        threads: usize,
        counters: &Progress,
        mut emit: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if threads == 1 {
            let mut buffer = Vec::with_capacity(BLOCK_BYTES);
            for block in (0..self.blocks()).take_while(|_| !counters.is_cancelled()) {
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
                // A lane ends early only by a panic, which the scope passes on.
                let Ok(buffer) = to_emit.recv() else { break };
                if counters.is_cancelled() {
                    break;
                }
                emit(block, &buffer)?;
                // A lane that has filled its last block takes no buffer back.
                let _ = fill.send(buffer);
            }
            Ok(())
        })
    }
}

/// A number below `n`, taken out of the entropy of `word`, which keeps the rest.
///
/// `word` is read as a fraction of 2⁶⁴: the integer part of its product with `n` is the number, the fractional part
/// is the next `word`. All draws for a row together choose among fewer than 2⁴⁴ people, so none is favoured by more
/// than one part in a million.
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
        let source = Source::new(1, 0, false);
        let people = [FIRST_NAMES.len(), LAST_NAMES.len(), source.ages.len(), source.places.len()]
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

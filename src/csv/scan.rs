//! Finds the special bytes of a CSV file, 64 bytes at a time.
//!
//! Fields are short, so a call to a search function for each would cost more than the search itself. One pass over
//! 64 bytes yields a bit mask of the special ones, and iterating over its bits costs a few cycles each.

/// Iterates over the positions of special bytes in a buffer that is still being filled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scan {
    /// Bit `i` is set if the byte at `block + i` is special and has not been returned yet.
    mask: u64,
    block: usize,
    /// The bytes before this position have been searched.
    searched: usize,
}

/// The number of bytes searched at once. A buffer must extend this far beyond its filled part.
pub(super) const WIDTH: usize = 64;

/// The special bytes of a dialect: delimiter, quote, escape, LF and CR.
#[derive(Debug, Clone, Copy)]
pub(super) struct Specials {
    pub(super) delimiter: u8,
    pub(super) quote: u8,
    pub(super) escape: u8,
}

impl Specials {
    /// A bit for each byte of `block`, set where it is special.
    #[inline]
    fn mask(self, block: &[u8; WIDTH]) -> u64 {
        let Specials { delimiter, quote, escape } = self;
        // Branch-free comparisons over the whole array, which compilers vectorize.
        let mut hits = [0_u8; WIDTH];
        for (hit, &byte) in hits.iter_mut().zip(block) {
            *hit = u8::from(byte == delimiter)
                | u8::from(byte == quote)
                | u8::from(byte == escape)
                | u8::from(byte == b'\n')
                | u8::from(byte == b'\r');
        }
        let (eights, _) = hits.as_chunks::<8>();
        eights.iter().rev().fold(0, |mask, eight| {
            // The multiplication moves the lowest bit of byte i to bit 56 + i, without carries into those bits.
            mask << 8 | u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56
        })
    }
}

impl Scan {
    /// Start at `position`.
    pub(super) fn starting_at(position: usize) -> Self {
        Scan { mask: 0, block: 0, searched: position }
    }

    /// The position of the next special byte of `buffer[..filled]`; `None` when all of it has been searched.
    #[inline]
    pub(super) fn next(&mut self, buffer: &[u8], filled: usize, specials: Specials) -> Option<usize> {
        while self.mask == 0 {
            let ahead = filled - self.searched;
            if ahead == 0 {
                return None;
            }
            let block = buffer[self.searched..]
                .first_chunk()
                .expect("the buffer extends WIDTH bytes beyond its filled part");
            self.mask = specials.mask(block);
            self.block = self.searched;
            if ahead < WIDTH {
                self.mask &= (1 << ahead) - 1;
            }
            self.searched += ahead.min(WIDTH);
        }
        let at = self.block + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(at)
    }

    /// Account for the removal of the first `count` bytes of the buffer. Call it only after [`Scan::next`] returned
    /// `None`.
    pub(super) fn shift(&mut self, count: usize) {
        debug_assert_eq!(self.mask, 0, "a special byte was found but not returned yet");
        // A mark that was passed over may end behind what was searched.
        self.searched = self.searched.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_byte_is_found_once() {
        let specials = Specials { delimiter: b',', quote: b'"', escape: b'\\' };
        for filled in [0, 1, 63, 64, 65, 200] {
            let mut buffer: Vec<u8> = (0..filled + WIDTH).map(|at| (at * 7 % 256) as u8).collect();
            buffer[filled..].fill(b',');
            let expected: Vec<usize> = (0..filled).filter(|&at| b",\"\\\n\r".contains(&buffer[at])).collect();
            let mut scan = Scan::default();
            let found: Vec<usize> = std::iter::from_fn(|| scan.next(&buffer, filled, specials)).collect();
            assert_eq!(found, expected, "{filled}");
        }
    }
}

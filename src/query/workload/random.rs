//! The random number stream of an argument.

use std::convert::Infallible;

use rand::TryRng;
use rand_distr::{Distribution as _, StandardUniform};

/// The random numbers of one argument of one query.
///
/// `SplitMix64` (Steele, Lea and Flood, 2014), which can be entered anywhere. Seed, query and argument are mixed first,
/// so that neighbours have unrelated streams.
pub(crate) struct RandomStream(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of `SplitMix64`, which spreads every bit over all 64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl RandomStream {
    /// The stream of argument number `position` of query `index`.
    pub(crate) fn new(seed: u64, index: u64, position: usize) -> RandomStream {
        let query = mix(seed.wrapping_add(STEP)).wrapping_add(index.wrapping_add(1).wrapping_mul(STEP));
        RandomStream(mix(query).wrapping_add(mix((position as u64).wrapping_add(STEP))))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number below `span`, or any number if that is 0: Lemire's multiplication, biased by less than span / 2⁶⁴.
    pub(crate) fn below(&mut self, span: u64) -> u64 {
        match span {
            0 => self.next(),
            span => ((u128::from(self.next()) * u128::from(span)) >> 64) as u64,
        }
    }

    /// A number from 0 (included) to 1 (excluded).
    pub(crate) fn fraction(&mut self) -> f64 {
        StandardUniform.sample(self)
    }
}

impl TryRng for RandomStream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

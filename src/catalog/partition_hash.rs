//! The hash by which the server chooses the partition of a row, of values in binary format.
//!
//! As `hashfn.c` and `partbounds.c` of PostgreSQL on a little-endian machine. On others strings hash differently; the server
//! checks the rows that a partition is sent, and refuses them.

/// `HASH_PARTITION_SEED` of the server.
const SEED: u64 = 0x7A5B_2236_7996_DCFD;

/// How the values of a column are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HashedAs {
    /// As an integer of at most 32 bits.
    Integer,
    /// As an integer of 64 bits.
    BigInteger,
    /// As bytes.
    Bytes,
}

impl HashedAs {
    /// How values of the type `oid` are hashed; `None` if that is not known here.
    pub(crate) fn from_type(oid: u32) -> Option<HashedAs> {
        match oid {
            // boolean, smallint, integer, date
            16 | 21 | 23 | 1082 => Some(HashedAs::Integer),
            // bigint, timestamp, timestamp with time zone
            20 | 1114 | 1184 => Some(HashedAs::BigInteger),
            // text, character varying, uuid
            25 | 1043 | 2950 => Some(HashedAs::Bytes),
            _ => None,
        }
    }

    /// The hash of `value`; `None` if it does not have the length of its type.
    fn hash(self, value: &[u8]) -> Option<u64> {
        match (self, value) {
            (HashedAs::Integer, &[byte]) => Some(hash_integer(u32::from(byte))),
            (HashedAs::Integer, &[a, b]) => Some(hash_integer(i32::from(i16::from_be_bytes([a, b])) as u32)),
            (HashedAs::Integer, _) => Some(hash_integer(u32::from_be_bytes(value.try_into().ok()?))),
            (HashedAs::BigInteger, _) => {
                let value = i64::from_be_bytes(value.try_into().ok()?);
                let (low, high) = (value as u32, (value >> 32) as u32);
                // The same as for an integer of 32 bits, if it fits.
                Some(hash_integer(low ^ if value >= 0 { high } else { !high }))
            }
            (HashedAs::Bytes, _) => Some(hash_bytes(value)),
        }
    }
}

/// The hash of a row whose partition key has `values`; `None` if one does not have the length of its type.
pub(crate) fn hash_key<'a>(values: impl IntoIterator<Item = (HashedAs, Option<&'a [u8]>)>) -> Option<u64> {
    values.into_iter().try_fold(0_u64, |hash, (kind, value)| {
        let Some(value) = value else { return Some(hash) };
        let other = kind.hash(value)?;
        let mixed =
            other.wrapping_add(0x49A0_F4DD_15E5_A8E3).wrapping_add(hash << 54).wrapping_add(hash >> 7);
        Some(hash ^ mixed)
    })
}

fn hash_integer(value: u32) -> u64 {
    hash_bytes(&value.to_le_bytes())
}

/// Bob Jenkins's `lookup3`, with the server's seed.
fn hash_bytes(bytes: &[u8]) -> u64 {
    let start = 0x9E37_79B9_u32.wrapping_add(bytes.len() as u32).wrapping_add(3_923_095);
    let mut state = [start.wrapping_add((SEED >> 32) as u32), start.wrapping_add(SEED as u32), start];
    mix(&mut state);
    let mut blocks = bytes.chunks_exact(12);
    for block in &mut blocks {
        for (word, bytes) in state.iter_mut().zip(block.chunks_exact(4)) {
            *word = word.wrapping_add(u32::from_le_bytes(bytes.try_into().expect("a word has four bytes")));
        }
        mix(&mut state);
    }
    for (index, &byte) in blocks.remainder().iter().enumerate() {
        // The lowest byte of the last word is reserved for the length.
        let shift = if index < 8 { index % 4 } else { index - 7 };
        state[index / 4] = state[index / 4].wrapping_add(u32::from(byte) << (8 * shift));
    }
    let [mut a, mut b, mut c] = state;
    for (number, rotation) in [14, 11, 25, 16, 4, 14, 24].into_iter().enumerate() {
        let (target, source) = match number % 3 {
            0 => (&mut c, b),
            1 => (&mut a, c),
            _ => (&mut b, a),
        };
        *target = (*target ^ source).wrapping_sub(source.rotate_left(rotation));
    }
    u64::from(b) << 32 | u64::from(c)
}

fn mix([a, b, c]: &mut [u32; 3]) {
    for [first, second, third] in [[4, 6, 8], [16, 19, 4]] {
        *a = a.wrapping_sub(*c) ^ c.rotate_left(first);
        *c = c.wrapping_add(*b);
        *b = b.wrapping_sub(*a) ^ a.rotate_left(second);
        *a = a.wrapping_add(*c);
        *c = c.wrapping_sub(*b) ^ b.rotate_left(third);
        *b = b.wrapping_add(*a);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `hashint4extended(-7, seed)` and the like of PostgreSQL 15 return.
    #[test]
    fn values_hash_as_on_the_server() {
        let (big, negative) = (5_000_000_000_i64.to_be_bytes(), (-5_000_000_000_i64).to_be_bytes());
        let uuid = 0x0011_2233_4455_6677_8899_AABB_CCDD_EEFF_u128.to_be_bytes();
        for (kind, value, hash) in [
            (HashedAs::Integer, &(-7_i32).to_be_bytes()[..], -7_298_374_200_968_567_817),
            (HashedAs::Integer, &(-3_i16).to_be_bytes(), 656_044_135_061_257_817),
            (HashedAs::Integer, b"t", 2_116_082_310_661_084_430),
            (HashedAs::BigInteger, &negative, -4_482_100_988_868_492_312),
            (HashedAs::BigInteger, &big, -2_799_505_259_769_899_283),
            (HashedAs::Bytes, "Zürich, 42".as_bytes(), 8_972_048_581_205_652_508),
            (HashedAs::Bytes, b"", -5_700_645_584_453_517_373),
            (HashedAs::Bytes, b"abcdefghijklmnopqrstuvwxyz", -7_171_292_135_076_916_904),
            (HashedAs::Bytes, &uuid, -8_699_738_442_285_490_013_i64),
        ] {
            assert_eq!(kind.hash(value), Some(hash as u64), "{kind:?} {value:?}");
        }
        assert_eq!(HashedAs::BigInteger.hash(b"abc"), None);
    }
}

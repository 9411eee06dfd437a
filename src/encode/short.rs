//! Values of a few bytes, encoded without a branch on their length.
//!
//! Lengths are as random as values, and a processor that has guessed a branch wrong loses more time than encoding the value
//! takes. So the same number of bytes is copied and checked for every value, and what lies behind it is masked.

/// The greatest length of a short value, in bytes.
pub(crate) const SHORT: usize = 32;

/// The length of a word, in bytes.
const WORD: usize = 8;

/// 1 in each byte of a word.
const ONES: u64 = u64::MAX / 0xff;

/// For each length of a value, all bits of its bytes in words that are read in little-endian order.
const MASKS: [[u64; SHORT / WORD]; SHORT + 1] = {
    let mut masks = [[0; SHORT / WORD]; SHORT + 1];
    let mut length = 1;
    while length <= SHORT {
        masks[length] = masks[length - 1];
        masks[length][(length - 1) / WORD] |= 0xff << ((length - 1) % WORD * 8);
        length += 1;
    }
    masks
};

/// Append plain ASCII without zero bytes, which most text is.
#[inline]
pub(super) fn put_text(window: &[u8; SHORT], length: usize, out: &mut Vec<u8>) -> bool {
    let Some(masks) = MASKS.get(length) else { return false };
    let (words, _) = window.as_chunks::<WORD>();
    let others = words.iter().zip(masks).fold(0, |others, (word, mask)| {
        let word = u64::from_le_bytes(*word);
        // Subtracting 1 from each byte sets the high bit of a zero byte; other bytes do not borrow from their neighbours.
        others | (word | (word | !mask).wrapping_sub(ONES)) & mask
    });
    if others & (ONES << 7) != 0 {
        return false;
    }
    let mut field = [0; 4 + SHORT];
    field[..4].copy_from_slice(&(length as u32).to_be_bytes());
    field[4..].copy_from_slice(window);
    let end = out.len() + 4 + length;
    out.extend_from_slice(&field);
    out.truncate(end);
    true
}

/// Append an integer of `BYTES` bytes that is written with one to eight digits and nothing else.
#[inline]
pub(super) fn put_integer<const BYTES: usize>(
    window: &[u8; SHORT],
    length: usize,
    out: &mut Vec<u8>,
) -> bool {
    if !(1..=WORD).contains(&length) {
        return false;
    }
    // The value of each digit in the highest bytes, and zeros below, as if the number were written with zeros in front.
    let digits = (first_word(window) ^ (ONES * u64::from(b'0'))) << (8 * (WORD - length));
    // Adding sets the high bit of 10 and more.
    if (digits | digits.wrapping_add(ONES * (0x80 - 10))) & (ONES << 7) != 0 {
        return false;
    }
    // Neighbours are combined: digits to pairs, pairs to fours, fours to the number.
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let number = (fours * 10_000 + (fours >> 32)) & 0xffff_ffff;
    let mut field = [0; 12];
    field[..4].copy_from_slice(&(BYTES as u32).to_be_bytes());
    field[4..4 + BYTES].copy_from_slice(&number.to_be_bytes()[WORD - BYTES..]);
    out.extend_from_slice(&field[..4 + BYTES]);
    true
}

/// Append `true` or `false`, which is how programs write booleans.
#[inline]
pub(super) fn put_boolean(window: &[u8; SHORT], length: usize, out: &mut Vec<u8>) -> bool {
    let word = first_word(window);
    let is_true = (length == 4) & (word & MASKS[4][0] == u64::from_le_bytes(*b"true\0\0\0\0"));
    let is_false = (length == 5) & (word & MASKS[5][0] == u64::from_le_bytes(*b"false\0\0\0"));
    if !(is_true | is_false) {
        return false;
    }
    out.extend_from_slice(&[0, 0, 0, 1, u8::from(is_true)]);
    true
}

/// The first bytes of `window`, in little-endian order.
#[inline]
fn first_word(window: &[u8; SHORT]) -> u64 {
    u64::from_le_bytes(*window.first_chunk().expect("a window is longer than a word"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encode::Encoder;

    /// Check that `value` is encoded as [`Encoder::encode`] does it, whatever `rest` lies behind it; return whether it is
    /// encoded as a short value.
    fn check(encoder: &Encoder, value: &[u8], rest: &[u8; SHORT]) -> bool {
        let mut window = *rest;
        window[..value.len()].copy_from_slice(value);
        let (mut short, mut usual) = (vec![1], vec![1, 0, 0, 0, 0]);
        if !encoder.encode_short(&window, value.len(), &mut short) {
            assert_eq!(short, [1], "{}", value.escape_ascii());
            return false;
        }
        let result = encoder.encode(value, &mut usual);
        assert_eq!(result, Ok(()), "{encoder:?} {}", value.escape_ascii());
        let length = usual.len() as u32 - 5;
        usual[1..5].copy_from_slice(&length.to_be_bytes());
        assert_eq!(short, usual, "{encoder:?} {}", value.escape_ascii());
        true
    }

    #[test]
    fn the_usual_spellings_are_short_whatever_lies_behind() {
        for rest in [0, b'0', b'e', b',', 0xff].map(|byte| [byte; SHORT]) {
            for (encoder, value, expected) in [
                (Encoder::Int2, "9999", true),
                (Encoder::Int2, "00099", false),
                (Encoder::Int2, "32768", false),
                (Encoder::Int4, "0", true),
                (Encoder::Int4, "007", true),
                (Encoder::Int4, "12345678", true),
                (Encoder::Int4, "123456789", false),
                (Encoder::Int4, "", false),
                (Encoder::Int4, "-1", false),
                (Encoder::Int4, "1:", false),
                (Encoder::Int4, "1/", false),
                (Encoder::Int8, "99999999", true),
                (Encoder::Bool, "true", true),
                (Encoder::Bool, "false", true),
                (Encoder::Bool, "t", false),
                (Encoder::Bool, "tru", false),
                (Encoder::Bool, "truee", false),
                (Encoder::Bool, "TRUE", false),
                (Encoder::Text, "", true),
                (Encoder::Text, "Paris", true),
                (Encoder::Text, "12345678901234567890123456789012", true),
                (Encoder::Text, "Zürich", false),
                (Encoder::Text, "a\0b", false),
                (Encoder::Float8, "1", false),
            ] {
                assert_eq!(check(&encoder, value.as_bytes(), &rest), expected, "{encoder:?} {value}");
            }
        }
    }

    proptest! {
        #[test]
        fn short_values_are_encoded_as_all_others(
            value in prop_oneof![
                "[0-9]{0,10}",
                "[ -~]{0,32}",
                "[+-]?[0-9 ]{1,9}",
                "(true|false|t|f|True|0|1).?",
                "[a-zé\\x00]{0,16}",
            ],
            rest in any::<[u8; SHORT]>(),
        ) {
            for encoder in [Encoder::Int2, Encoder::Int4, Encoder::Int8, Encoder::Bool, Encoder::Text] {
                check(&encoder, value.as_bytes(), &rest);
            }
        }
    }
}

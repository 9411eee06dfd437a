//! Detects the character encoding of a sample, as far as it can be known.
//!
//! A byte order mark is certain, and so is text that is valid UTF-8 beyond ASCII. Any other encoding is a guess, since almost
//! every sequence of bytes is valid in most of them. It is accepted only if there is enough to guess from, or if the likely
//! alternatives would read the same text.

use std::collections::HashSet;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1250, WINDOWS_1252, WINDOWS_1254};

use crate::{Error, Result};

/// The number of characters outside ASCII from which a guess by their frequencies is accepted.
const ENOUGH_CHARACTERS: usize = 24;

/// The number of different letters that are to be among them.
const ENOUGH_LETTERS: usize = 8;

/// The number of characters of several bytes each that an encoding has to explain, all without an error.
const ENOUGH_WIDE_CHARACTERS: usize = 4;

/// The encoding of `sample`, the beginning of the file `name`; `is_cut` tells whether the file goes on.
///
/// # Errors
/// When it cannot be told.
pub(super) fn detect_encoding(name: &str, sample: &[u8], is_cut: bool) -> Result<&'static Encoding> {
    if let Some((encoding, _)) = Encoding::for_bom(sample) {
        return Ok(encoding);
    }
    if let Some(encoding) = utf16_without_mark(sample) {
        return Ok(encoding);
    }
    match std::str::from_utf8(sample) {
        Ok(_) => return Ok(UTF_8),
        // The sample may end inside a character.
        Err(error) if error.error_len().is_none() && is_cut => return Ok(UTF_8),
        Err(_) => {}
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(sample, !is_cut);
    let guess = detector.guess(None, Utf8Detection::Deny);
    if is_plain_latin(guess, sample) {
        return Ok(WINDOWS_1252);
    }
    if is_certain(guess, sample) {
        return Ok(guess);
    }
    let other = if guess == WINDOWS_1252 { WINDOWS_1250 } else { WINDOWS_1252 };
    let (read, misread) = difference(guess, other, sample);
    Err(Error::input(format!(
        "{name} is not UTF-8, and too little of it is outside ASCII to tell its encoding: {read} in {} would be {misread} \
         in {}",
        guess.name().to_ascii_lowercase(),
        other.name().to_ascii_lowercase()
    ))
    .with_help(format!(
        "name the encoding beside --sniff, for example --encoding {}",
        guess.name().to_ascii_lowercase()
    )))
}

/// UTF-16 in the byte order in which Latin text has its zero bytes; `None` if too few bytes are zero.
fn utf16_without_mark(sample: &[u8]) -> Option<&'static Encoding> {
    let zeros = |at: usize| sample.iter().skip(at).step_by(2).filter(|&&byte| byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    // Where both bytes of a pair are zero, it is not text.
    if (even + odd) * 4 <= sample.len() || even.min(odd) * 8 > even.max(odd) {
        return None;
    }
    Some(if even > odd { UTF_16BE } else { UTF_16LE })
}

/// Whether `guess` is certain enough for `sample`.
fn is_certain(guess: &'static Encoding, sample: &[u8]) -> bool {
    let (text, had_errors) = guess.decode_without_bom_handling(sample);
    let foreign = || text.chars().filter(|character| !character.is_ascii());
    let count = foreign().count();
    if !guess.is_single_byte() {
        let wide = foreign().filter(|character| *character >= '\u{1100}').count();
        // The last character of the sample may be cut.
        let errors = text.chars().filter(|character| *character == '\u{fffd}').count();
        return (!had_errors || errors <= 1) && wide >= ENOUGH_WIDE_CHARACTERS && wide * 10 >= count * 9;
    }
    let letters = foreign().filter(|character| character.is_alphabetic());
    let distinct = letters.clone().collect::<HashSet<_>>().len();
    count >= ENOUGH_CHARACTERS && distinct >= ENOUGH_LETTERS && letters.count() * 10 >= count * 7
}

/// Whether `sample` has only words that the Latin encodings, of which `guess` is one, read alike.
fn is_plain_latin(guess: &'static Encoding, sample: &[u8]) -> bool {
    let latin = [WINDOWS_1252, WINDOWS_1250, WINDOWS_1254];
    let text = guess.decode_without_bom_handling(sample).0;
    latin.contains(&guess)
        && has_latin_words(&text)
        && latin.iter().all(|other| other.decode_without_bom_handling(sample).0 == text)
}

/// Whether every character outside ASCII is a letter next to an ASCII letter, as in a word of a Latin script.
fn has_latin_words(text: &str) -> bool {
    let characters: Vec<char> = text.chars().collect();
    let is_latin = |index: Option<usize>| {
        index.and_then(|index| characters.get(index)).is_some_and(char::is_ascii_alphabetic)
    };
    characters.iter().enumerate().filter(|(_, character)| !character.is_ascii()).all(|(index, character)| {
        character.is_alphabetic() && (is_latin(index.checked_sub(1)) || is_latin(Some(index + 1)))
    })
}

/// The first word of `sample` that the encodings `one` and `other` read differently, in either reading.
fn difference(one: &'static Encoding, other: &'static Encoding, sample: &[u8]) -> (String, String) {
    let words = |encoding: &'static Encoding| -> Vec<String> {
        let (text, _) = encoding.decode_without_bom_handling(sample);
        let is_end = |character: char| character.is_ascii() && !character.is_ascii_alphanumeric();
        let words = text.split(is_end).filter(|word| !word.is_ascii());
        words.map(|word| crate::escape::escape(word).chars().take(20).collect()).collect()
    };
    let mut pairs = words(one).into_iter().zip(words(other));
    pairs.find(|(read, misread)| read != misread).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use encoding_rs::{EUC_JP, SHIFT_JIS, WINDOWS_1251};

    use super::*;

    fn detect(sample: &[u8]) -> Option<&'static str> {
        detect_encoding("x.csv", sample, false).map(Encoding::name).ok()
    }

    #[test]
    fn only_what_can_be_known_is_accepted() {
        let text = "name,city\nJosé,Málaga\n";
        let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        assert_eq!(detect(text.as_bytes()), Some("UTF-8"));
        assert_eq!(detect(&[b"\xef\xbb\xbf", text.as_bytes()].concat()), Some("UTF-8"));
        assert_eq!(detect(&utf16(u16::to_le_bytes)), Some("UTF-16LE"));
        assert_eq!(detect(&utf16(u16::to_be_bytes)), Some("UTF-16BE"));
        let japanese = "番号,名前\n1,サウロン\n2,指輪物語\n";
        let russian = "имя,город\nАнна,Москва\nБорис,Омск\nВера,Псков\n";
        for (encoding, text) in
            [(WINDOWS_1252, text), (SHIFT_JIS, japanese), (EUC_JP, japanese), (WINDOWS_1251, russian)]
        {
            assert_eq!(detect(&encoding.encode(text).0), Some(encoding.name()));
        }
        // An é or a щ: nothing tells.
        for sample in [&b"a\n\xe9\n"[..], &[b'\xfd'; 100], b"id,x\n1,\x82\n", b"a,b\n\xff\xfd,\x80\n"] {
            assert_eq!(detect(sample), None, "{sample:?}");
        }
    }
}

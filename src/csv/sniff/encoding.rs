//! Detects the character encoding of a sample, as far as it can be known.
//!
//! A byte order mark is certain, and so is text that is valid UTF-8 beyond ASCII. Any other encoding is a guess, since almost
//! every sequence of bytes is valid in most of them. It is accepted only if there is enough to guess from, or if the likely
//! alternatives would read the same text.

use std::collections::HashSet;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1250,
    WINDOWS_1251, WINDOWS_1252, WINDOWS_1254,
};

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
    let label = |encoding: &'static Encoding| encoding.name().to_ascii_lowercase();
    let compared = difference(guess, other, sample).map_or_else(String::new, |(read, misread)| {
        format!(": {read} in {} would be {misread} in {}", label(guess), label(other))
    });
    let likely: Vec<String> = candidates(guess, sample).into_iter().map(label).collect();
    let reason = if is_much(&guess.decode_without_bom_handling(sample).0) {
        "no other encoding fits well enough"
    } else {
        "too little of it is outside ASCII to tell its encoding"
    };
    let message = format!("{name} is not UTF-8, and {reason}{compared}");
    let help = format!("name the encoding beside --sniff; it may be --encoding {}", likely.join(", or "));
    Err(Error::input(message).with_help(help))
}

/// Encodings in which `sample` may be written, the `guess` first: those that read all of it without control characters.
fn candidates(guess: &'static Encoding, sample: &[u8]) -> Vec<&'static Encoding> {
    const MOST: usize = 5;
    let can_read = |encoding: &&'static Encoding| {
        let (text, had_errors) = encoding.decode_without_bom_handling(sample);
        !had_errors && !text.chars().any(|character| ('\u{80}'..'\u{a0}').contains(&character))
    };
    let common = [WINDOWS_1252, WINDOWS_1250, SHIFT_JIS, EUC_JP, GB18030, EUC_KR, BIG5, WINDOWS_1251];
    let others = common.into_iter().filter(|encoding| *encoding != guess).filter(can_read);
    std::iter::once(guess).chain(others).take(MOST).collect()
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
    is_much(&text) && foreign().filter(|character| character.is_alphabetic()).count() * 10 >= count * 7
}

/// Whether `text` has enough characters outside ASCII to guess an encoding from.
fn is_much(text: &str) -> bool {
    let foreign = text.chars().filter(|character| !character.is_ascii());
    let distinct =
        foreign.clone().filter(|character| character.is_alphabetic()).collect::<HashSet<_>>().len();
    foreign.count() >= ENOUGH_CHARACTERS && distinct >= ENOUGH_LETTERS
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

/// The first word of `sample` that the encodings `one` and `other` read differently, in either reading; `None` if they read
/// all alike, or a word as nothing.
fn difference(one: &'static Encoding, other: &'static Encoding, sample: &[u8]) -> Option<(String, String)> {
    let words = |encoding: &'static Encoding| -> Vec<String> {
        let (text, _) = encoding.decode_without_bom_handling(sample);
        let is_end = |character: char| character.is_ascii() && !character.is_ascii_alphanumeric();
        let words = text.split(is_end).filter(|word| !word.is_ascii());
        words.map(|word| crate::escape::escape(word).chars().take(20).collect()).collect()
    };
    let mut pairs = words(one).into_iter().zip(words(other));
    pairs
        .find(|(read, misread)| read != misread && ![read, misread].iter().any(|word| word.trim().is_empty()))
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn the_error_names_what_may_be_and_compares_nothing_with_nothing() {
        let refusal = |sample: &[u8]| detect_encoding("x.csv", sample, false).unwrap_err();
        let japanese = SHIFT_JIS.encode("a,b\n1,東京\n").0;
        let error = refusal(&japanese);
        assert!(!error.to_string().contains("in  ") && !error.to_string().contains(":  "), "{error}");
        assert!(error.help().is_some_and(|help| help.contains("shift_jis")), "{:?}", error.help());
        let error = refusal(b"a\n\xe9\n");
        assert!(error.to_string().contains("too little of it is outside ASCII"), "{error}");
        let letters: Vec<u8> = (0x80..=0xff).flat_map(|byte| [byte, b'\n']).collect();
        assert!(refusal(&letters).to_string().contains("no other encoding fits well enough"));
        assert!(error.help().is_some_and(|help| help.contains("windows-1250")), "{:?}", error.help());
    }
}

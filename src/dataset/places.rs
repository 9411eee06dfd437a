//! Real places, formatted once as the end of a row.

use std::borrow::Cow;

use any_ascii::any_ascii_char;

/// `city,state,country` of each place; `data/README.md` names the source.
pub(super) const CITIES: &str = include_str!("../../data/cities.csv");

/// Every place as the end of a row: `,city,state,country\n`, quoted where CSV requires it.
pub(super) struct Places {
    tails: Vec<u8>,
    /// The offset at which tail `i` starts. One more entry than places marks the end of the last tail.
    starts: Vec<u32>,
}

impl Places {
    /// Format all places, transliterated to ASCII unless `unicode`.
    pub(super) fn new(unicode: bool) -> Self {
        const WELL_FORMED: &str = "the compiled-in places are well-formed CSV";
        const IN_MEMORY: &str = "a Vec takes every write";

        let mut reader = csv::Reader::from_reader(CITIES.as_bytes());
        let mut place = csv::StringRecord::new();
        let mut writer = csv::Writer::from_writer(Vec::with_capacity(CITIES.len() * 21 / 20));
        while reader.read_record(&mut place).expect(WELL_FORMED) {
            // The empty field before the city yields the comma after isMarried.
            writer.write_field("").expect(IN_MEMORY);
            for name in &place {
                let name = if unicode { Cow::Borrowed(name) } else { to_ascii(name) };
                writer.write_field(name.as_bytes()).expect(IN_MEMORY);
            }
            writer.write_record(None::<&[u8]>).expect(IN_MEMORY);
        }
        let tails = writer.into_inner().expect(IN_MEMORY);

        let ends = memchr::memchr_iter(b'\n', &tails).map(|newline| newline as u32 + 1);
        let starts = std::iter::once(0).chain(ends).collect();
        Places { tails, starts }
    }

    /// The number of places.
    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The end of the row of a person who lives in place `index`.
    pub(super) fn tail(&self, index: usize) -> &[u8] {
        &self.tails[self.starts[index] as usize..self.starts[index + 1] as usize]
    }
}

/// Transliterate `name` to ASCII. Dashes become `-`, and quote-like letters are dropped, so that `Dar‘ā` becomes `Dara`.
/// ASCII characters are kept, including the apostrophe of `Coeur d'Alene`.
pub(super) fn to_ascii(name: &str) -> Cow<'_, str> {
    if name.is_ascii() {
        return Cow::Borrowed(name);
    }
    let mut ascii = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_ascii() {
            ascii.push(letter);
        } else {
            ascii.extend(any_ascii_char(letter).chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-'));
        }
    }
    Cow::Owned(ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transliterates_letters_and_drops_quote_like_ones() {
        for (original, expected) in [
            ("São Paulo", "Sao Paulo"),
            ("Dar‘ā", "Dara"),
            ("Coeur d'Alene", "Coeur d'Alene"),
            ("‘As ‘Êla", "As Ela"),
            ("Haʻikū", "Haiku"),
            ("Ytyk-Kyuyël’", "Ytyk-Kyuyel"),
            ("Gießen", "Giessen"),
            ("Şəki", "Seki"),
            ("H̱olon", "Holon"),
            ("North Ossetia–Alania", "North Ossetia-Alania"),
        ] {
            assert_eq!(to_ascii(original), expected);
        }
    }

    #[test]
    fn every_place_is_clean_in_both_spellings() {
        let mut reader = csv::Reader::from_reader(CITIES.as_bytes());
        assert_eq!(reader.headers().unwrap(), vec!["city", "state", "country"]);
        let mut places = 0;
        for place in reader.records() {
            let place = place.unwrap();
            assert_eq!(place.len(), 3);
            for name in &place {
                let ascii = to_ascii(name);
                for spelling in [name, &ascii] {
                    assert!(spelling.chars().any(char::is_alphabetic), "{name:?}");
                    assert_eq!(spelling.trim(), spelling, "{name:?}");
                    assert!(!spelling.contains("  "), "{name:?}");
                    assert!(!spelling.contains(char::is_control), "{name:?}");
                }
                let plain = |c: char| c.is_ascii_alphanumeric() || " -.,'&/()".contains(c);
                assert!(ascii.chars().all(plain), "{name:?} became {ascii:?}");
            }
            places += 1;
        }
        assert!(places >= 40_000);
    }

    #[test]
    fn a_tail_is_the_formatted_place() {
        let places = Places::new(true);
        assert_eq!(places.len(), CITIES.lines().count() - 1);
        for (index, line) in CITIES.lines().skip(1).enumerate() {
            assert_eq!(str::from_utf8(places.tail(index)).unwrap(), format!(",{line}\n"));
        }
    }
}

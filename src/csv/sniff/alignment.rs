//! Finds what looks delimited and is not: columns aligned by blanks, delimiters of several characters, and apostrophes
//! around delimiters.

use std::collections::HashMap;

use crate::csv::sniff::reading::Reading;
use crate::csv::sniff::rows::{Cell, Row};
use crate::csv::sniff::sample::Detect;

const ALIGNED: &str = "its columns seem to be aligned by blanks, which cannot be read";
const ALIGNED_HELP: &str = "replace the blanks between columns by a delimiter first; if it has a single column, name a delimiter that does not occur, such as --delimiter tab";
const WIDE: &str = "the delimiter seems to be several characters, which cannot be read";
const BLANK_HELP: &str =
    "if a blank follows every delimiter, name the delimiter, and add --trim, as in --delimiter , --trim";
const APOSTROPHES: &str =
    "apostrophes seem to enclose values that contain the delimiter, but not as quotes do";
const APOSTROPHES_HELP: &str = "if they are parts of the values, say so with --quote '\"'; if they are quotes, double those inside the values";

/// Why `reading` reads something else than was written, and what helps; `None` if it does not seem to.
pub(super) fn misfit(reading: &Reading, detect: Detect) -> Option<(&'static str, Option<&'static str>)> {
    let has_blanks = reading.dialect.delimiter == b' ' && reading.fields > 1;
    if detect.delimiter && ((has_blanks && has_runs(reading)) || (reading.fields == 1 && is_aligned(reading)))
    {
        Some((ALIGNED, Some(ALIGNED_HELP)))
    } else if detect.delimiter && has_blanks && ends_in_delimiters(reading) {
        Some((WIDE, Some(BLANK_HELP)))
    } else if detect.delimiter && has_wide_delimiter(reading) {
        Some((WIDE, None))
    } else if detect.quote && reading.dialect.quote != Some(b'\'') && splits_apostrophes(reading) {
        Some((APOSTROPHES, Some(APOSTROPHES_HELP)))
    } else {
        None
    }
}

fn is_empty(cell: Cell<'_>) -> bool {
    cell.text.is_empty() && !cell.quoted
}

/// Whether the first record and most others have several delimiters in a row.
fn has_runs(reading: &Reading) -> bool {
    let has_run = |row: Row<'_>| row.iter().any(is_empty);
    let runs = reading.rows.iter().filter(|row| has_run(*row)).count();
    reading.rows.first().is_some_and(has_run) && runs * 2 >= reading.rows.len()
}

/// Whether all values of any column but the last end with the same common delimiter, as in `1, "x"`.
fn ends_in_delimiters(reading: &Reading) -> bool {
    let ends = |index: usize, delimiter: char| {
        let mut cells = reading.rows.iter().filter_map(|row| row.get(index));
        cells.all(|cell| !cell.quoted && cell.text.ends_with(delimiter))
    };
    (0..reading.fields - 1)
        .any(|index| [',', ';', '|', '\t'].into_iter().any(|delimiter| ends(index, delimiter)))
}

/// Whether all columns of `reading` but every second, third and so on are empty, header included, as if the delimiter had
/// several characters.
fn has_wide_delimiter(reading: &Reading) -> bool {
    let is_blank = |index: usize| reading.rows.iter().all(|row| row.get(index).is_none_or(is_empty));
    let is_wide = |width: usize| {
        (reading.fields - 1).is_multiple_of(width)
            && (0..reading.fields).filter(|index| !index.is_multiple_of(width)).all(is_blank)
    };
    reading.fields > 2 && (2..reading.fields).any(is_wide)
}

/// Whether most values of a single column have gaps of several blanks: the same number of them, or one at the same place.
fn is_aligned(reading: &Reading) -> bool {
    let (mut numbers, mut places) = (HashMap::<usize, usize>::new(), HashMap::<usize, usize>::new());
    let values: Vec<&str> = reading.rows.iter().filter_map(|row| Some(row.get(0)?.text)).collect();
    for value in &values {
        let gaps = gaps(value);
        if !gaps.is_empty() {
            *numbers.entry(gaps.len()).or_default() += 1;
        }
        for gap in gaps {
            *places.entry(gap).or_default() += 1;
        }
    }
    let most = numbers.into_values().chain(places.into_values()).max().unwrap_or(0);
    values.len() > 1 && most * 10 >= values.len() * 8
}

/// The ends of the gaps of two blanks or more between words of `text`, but not between sentences.
fn gaps(text: &str) -> Vec<usize> {
    let (mut gaps, mut last, mut blanks) = (Vec::new(), None, 0);
    for (at, character) in text.chars().enumerate() {
        if character == ' ' {
            blanks += 1;
            continue;
        }
        if blanks > 1 && last.is_some_and(|last| !".!?:;,".contains(last)) {
            gaps.push(at);
        }
        (last, blanks) = (Some(character), 0);
    }
    gaps
}

/// Whether, of the records with a field that begins with an apostrophe, at least half have a later field that ends with
/// it: then the delimiters between them belong to a value.
fn splits_apostrophes(reading: &Reading) -> bool {
    let (mut beginning, mut split) = (0, 0);
    for row in reading.rows.iter() {
        let texts = || row.iter().map(|cell| cell.text);
        let opens = |text: &str| text.len() > 1 && text.starts_with('\'') && !text.ends_with('\'');
        let closes = |text: &str| text.ends_with('\'') && !text.starts_with('\'');
        beginning += usize::from(texts().any(|text| text.starts_with('\'')));
        split += usize::from(texts().skip_while(|text| !opens(text)).skip(1).any(closes));
    }
    split > 0 && split * 2 >= beginning
}

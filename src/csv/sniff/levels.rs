//! Finds headers of several levels, of which only one could be read as the names of the columns.

use std::collections::HashSet;

use crate::csv::sniff::rows::Cell;
use crate::csv::sniff::value::{ValueClass, YEARS, classify, integer};

/// The number of records that the names of columns may take at most.
pub(super) const MOST_LEVELS: usize = 5;

/// The number of records at the beginning of `rest` that seem to have names as well, or units, although `first` looks like
/// a header by itself; 0 if there are none. `begins_with_header` tells whether the first of the records given to it does, by
/// itself.
pub(super) fn levels_below(
    first: &[Cell<'_>],
    rest: &[Vec<Cell<'_>>],
    begins_with_header: &dyn Fn(&[Vec<Cell<'_>>]) -> bool,
) -> usize {
    let has_gaps = has_gaps(first, rest);
    let are_levels = |depth: &usize| {
        let (levels, values) = rest.split_at(*depth);
        let is_second_header = || {
            let is_header = begins_with_header(rest);
            has_gaps && *depth == 1 && (is_header || has_years_alone(&levels[0], values))
        };
        let above_values = words_above_values(first.len(), levels, values);
        (above_values > 1 && values.len() > *depth) || (above_values > 0 && has_gaps) || is_second_header()
    };
    (1..MOST_LEVELS.min(rest.len())).find(are_levels).unwrap_or(0)
}

/// Whether `first` lacks names of columns that have values, other than that of the first column, or has a name twice: in
/// both cases, what is below may tell the columns apart.
fn has_gaps(first: &[Cell<'_>], rest: &[Vec<Cell<'_>>]) -> bool {
    let mut names = HashSet::new();
    let has_values =
        |index: usize| rest.iter().any(|row| row.get(index).is_some_and(|cell| !cell.text.trim().is_empty()));
    first.iter().enumerate().any(|(index, cell)| match cell.text.trim() {
        "" => index > 0 && has_values(index),
        name => !names.insert(name),
    })
}

/// The number of columns, of `width`, that have words in `levels` and only numbers or times in `values`; 0 if the levels
/// have what cannot be a name or a unit, as records do, or the same word everywhere.
fn words_above_values(width: usize, levels: &[Vec<Cell<'_>>], values: &[Vec<Cell<'_>>]) -> usize {
    let texts = || levels.iter().flatten().map(|cell| cell.text.trim());
    let mut words = texts().filter(|text| !text.is_empty());
    let is_placeholder = words.next().is_none_or(|first| words.all(|text| text == first));
    if is_placeholder || !texts().all(|text| classify(text) == ValueClass::Missing || is_label(text)) {
        return 0;
    }
    let has_word = |index: usize| {
        levels.iter().filter_map(|row| row.get(index)).any(|cell| classify(cell.text) == ValueClass::Text)
    };
    let has_only_values = |index: usize| {
        let classes = values.iter().filter_map(|row| Some(classify(row.get(index)?.text)));
        let mut classes = classes.filter(|class| *class != ValueClass::Missing).peekable();
        classes.peek().is_some() && classes.all(is_typed)
    };
    (0..width).filter(|index| has_word(*index) && has_only_values(*index)).count()
}

/// Whether `text` may be a name or a unit, such as `km/h`, `(m²)`, `%` or `°C`.
fn is_label(text: &str) -> bool {
    let is_unit = |character: char| "([%°$€£#".contains(character);
    !is_typed(classify(text)) && text.starts_with(|first: char| first.is_alphabetic() || is_unit(first))
}

/// Whether the numbers of `level` are years, and hardly any record of `values` has years in their places.
fn has_years_alone(level: &[Cell<'_>], values: &[Vec<Cell<'_>>]) -> bool {
    let is_year = |cell: &Cell<'_>| integer(cell.text).is_some_and(|number| YEARS.contains(&number));
    let numbers = || level.iter().enumerate().filter(|(_, cell)| is_typed(classify(cell.text)));
    let places: Vec<usize> = numbers().map(|(index, _)| index).collect();
    let has_years = |row: &&Vec<Cell<'_>>| places.iter().all(|index| row.get(*index).is_some_and(is_year));
    places.len() > 1
        && numbers().all(|(_, cell)| is_year(cell))
        && values.iter().filter(has_years).count() * 10 <= values.len()
}

/// The number of records at the beginning of `rest` that seem to have names, as `first` does, because in any column words
/// stand in all of them, and only numbers or times below; 0 if there are none.
pub(super) fn levels_of_words(first: &[Cell<'_>], rest: &[Vec<Cell<'_>>]) -> usize {
    let is_word = |text: &str| classify(text) == ValueClass::Text;
    let depth = |index: usize| {
        let classes =
            rest.iter().map(|row| row.get(index).map_or(ValueClass::Missing, |cell| classify(cell.text)));
        let mut known = classes.enumerate().filter(|(_, class)| *class != ValueClass::Missing).peekable();
        let mut words = 0;
        while known.next_if(|(_, class)| *class == ValueClass::Text).is_some() {
            words += 1;
        }
        let depth = known.peek().map_or(0, |(at, _)| *at);
        let mut numbers = 0;
        let are_typed = known.all(|(_, class)| {
            numbers += 1;
            is_typed(class)
        });
        ((1..MOST_LEVELS).contains(&words) && are_typed && numbers > words).then_some(depth)
    };
    (0..first.len()).filter(|index| is_word(first[*index].text)).find_map(depth).unwrap_or(0)
}

/// Whether `class` is that of numbers, dates and times.
fn is_typed(class: ValueClass) -> bool {
    matches!(class, ValueClass::Number | ValueClass::Time)
}

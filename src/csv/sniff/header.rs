//! Decides whether the first record is a header, by how it differs from the records below it.

use std::collections::HashSet;

use crate::csv::sniff::levels::{levels_below, levels_of_words};
use crate::csv::sniff::rows::{Cell, Row, Rows};
use crate::csv::sniff::value::{ValueClass, YEARS, classify, integer};

/// What the records say of the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderVerdict {
    /// It is a header.
    Yes,
    /// It is data.
    No,
    /// It may be either.
    Unclear,
}

/// Evidence for and against a header, and the strongest piece of each.
#[derive(Debug, Default)]
struct Evidence {
    yes: Weighed,
    no: Weighed,
}

/// Why the first record is not a header if its values recur below it.
const RECURS: &str = "a value of the first record recurs below it";

/// The sum of the weights, and the heaviest reason.
#[derive(Debug, Default)]
struct Weighed {
    sum: u32,
    heaviest: u32,
    reason: &'static str,
}

impl Weighed {
    fn add(&mut self, weight: u32, reason: &'static str) {
        self.sum += weight;
        if weight > self.heaviest {
            (self.heaviest, self.reason) = (weight, reason);
        }
    }
}

/// A piece of evidence that suffices by itself.
const STRONG: u32 = 2;

/// A piece of evidence that needs another one.
const WEAK: u32 = 1;

/// Why it is unclear whether there is a header if its numbers stand above numbers, and its words above words.
pub(crate) const NUMBERS_MAY_BE_NAMES: &str = "its numbers may be names of columns, or values as below them";

/// Why it is unclear whether there is a header if there may be several.
const SEVERAL_LEVELS: &str = "several records of words, which may be names, stand above values";

/// Names that columns often have, and values rarely.
const COMMON_NAMES: &[&str] = &[
    "address",
    "age",
    "amount",
    "author",
    "category",
    "city",
    "class",
    "code",
    "color",
    "comment",
    "comments",
    "company",
    "count",
    "country",
    "county",
    "created",
    "currency",
    "customer",
    "date",
    "day",
    "department",
    "description",
    "email",
    "end",
    "event",
    "file",
    "firstname",
    "gender",
    "group",
    "height",
    "id",
    "index",
    "item",
    "key",
    "label",
    "lang",
    "language",
    "lastname",
    "lat",
    "latitude",
    "length",
    "level",
    "location",
    "lon",
    "longitude",
    "message",
    "model",
    "month",
    "name",
    "notes",
    "number",
    "order",
    "parent",
    "path",
    "phone",
    "population",
    "price",
    "product",
    "quantity",
    "query",
    "rank",
    "region",
    "result",
    "role",
    "rownames",
    "score",
    "sex",
    "size",
    "source",
    "start",
    "state",
    "status",
    "street",
    "sum",
    "surname",
    "symbol",
    "tag",
    "tags",
    "target",
    "text",
    "time",
    "timestamp",
    "title",
    "total",
    "type",
    "unit",
    "updated",
    "url",
    "user",
    "username",
    "uuid",
    "value",
    "version",
    "weight",
    "width",
    "year",
    "zip",
];

/// What the records say of a header.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeaderFinding {
    pub verdict: HeaderVerdict,
    /// Why.
    pub reason: &'static str,
    /// The number of records that seem to have names: more than one only if that is the reason.
    pub levels: usize,
}

/// Judge the first of `rows`.
pub(super) fn detect_header(rows: &Rows) -> HeaderFinding {
    let rows: Vec<Vec<Cell<'_>>> = rows.iter().map(|row| Row::iter(row).collect()).collect();
    let (verdict, reason) = judge(&rows);
    let levels = rows.split_first().map_or(0, |(first, rest)| match verdict {
        HeaderVerdict::No => 0,
        HeaderVerdict::Unclear if reason == SEVERAL_LEVELS => levels_of_words(first, rest),
        HeaderVerdict::Yes | HeaderVerdict::Unclear => {
            levels_below(first, rest, &|rest| judge(rest).0 == HeaderVerdict::Yes)
        }
    });
    match levels {
        0 => HeaderFinding { verdict, reason, levels: 1 },
        below => HeaderFinding { verdict: HeaderVerdict::Unclear, reason: SEVERAL_LEVELS, levels: 1 + below },
    }
}

/// Judge the first of `rows`, by itself, and say why.
pub(super) fn judge(rows: &[Vec<Cell<'_>>]) -> (HeaderVerdict, &'static str) {
    let Some((first, rest)) = rows.split_first() else {
        return (HeaderVerdict::Yes, "there are no records");
    };
    let mut evidence = Evidence::default();
    weigh_quotes(first, rest, &mut evidence);
    let numbers_are_names = weigh_numbers(first, rest, &mut evidence);
    for (index, name) in first.iter().enumerate() {
        let column: Vec<&str> = rest.iter().filter_map(|row| Some(row.get(index)?.text)).collect();
        weigh_column(index, name.text, &column, numbers_are_names, &mut evidence);
    }
    weigh_empty_names(first, rest, &mut evidence);
    if rest.is_empty() && first.iter().all(|name| is_identifier(name.text)) && first.iter().any(is_compound) {
        evidence.yes.add(STRONG, "the only record has names as programs use them");
    }
    if is_sequence(first) && rest.iter().filter(|row| is_sequence(row)).count() * 10 <= rest.len() {
        evidence
            .yes
            .add(STRONG + WEAK, "the first record has names in sequence, unlike the records below it");
    }
    if rest.len() < 3 && most_recur(first, rest) {
        evidence.no.add(WEAK, RECURS);
    }
    let Evidence { yes, no } = evidence;
    if yes.sum >= STRONG && yes.sum >= 3 * no.sum {
        (HeaderVerdict::Yes, yes.reason)
    } else if no.sum >= STRONG && no.sum >= 3 * yes.sum && !numbers_are_names {
        if may_be_names(first, rest) {
            return (HeaderVerdict::Unclear, NUMBERS_MAY_BE_NAMES);
        }
        if levels_of_words(first, rest) > 0 {
            return (HeaderVerdict::Unclear, SEVERAL_LEVELS);
        }
        if no.heaviest < STRONG && !rest.is_empty() {
            return (HeaderVerdict::Unclear, "it has values, but not where the records below it have them");
        }
        (HeaderVerdict::No, no.reason)
    } else if yes.sum + no.sum == 0 {
        (HeaderVerdict::Unclear, "it looks like the records below it")
    } else {
        (HeaderVerdict::Unclear, "some of it looks like names, and some like the records below it")
    }
}

/// Whether the first record may have names although some are numbers, as in `gene,10,20,50`: it has words, or nothing, above
/// words, and numbers above numbers. A number in the first column is none, because that one has the names of the rows.
fn may_be_names(first: &[Cell<'_>], rest: &[Vec<Cell<'_>>]) -> bool {
    let (mut words, mut numbers) = (0, 0);
    for (index, cell) in first.iter().enumerate() {
        let name = cell.text.trim();
        let values = rest.iter().filter_map(|row| Some(row.get(index)?.text.trim()));
        let values: Vec<&str> = values.filter(|value| classify(value) != ValueClass::Missing).collect();
        let are = |class: ValueClass| {
            values.iter().filter(|value| classify(value) == class).count() * 10 >= values.len() * 9
        };
        if classify(name) == ValueClass::Number && index > 0 && are(ValueClass::Number) {
            numbers += 1;
        } else if may_be_name(name) && !values.contains(&name) && are(ValueClass::Text) {
            words += 1;
        } else {
            return false;
        }
    }
    words > 0 && numbers > 0 && !rest.is_empty()
}

/// Whether most values of the first record occur in their columns again.
fn most_recur(first: &[Cell<'_>], rest: &[Vec<Cell<'_>>]) -> bool {
    let names = || first.iter().enumerate().filter(|(_, name)| !name.text.trim().is_empty());
    let recurs = |(index, name): &(usize, &Cell<'_>)| {
        rest.iter().filter_map(|row| row.get(*index)).any(|cell| cell.text.trim() == name.text.trim())
    };
    names().filter(recurs).count() * 2 > names().count()
}

/// Whether `text` may be the name of a column: words, or nothing.
fn may_be_name(text: &str) -> bool {
    let is_wordy = |character: char| character.is_alphanumeric() || " _-.()".contains(character);
    text.is_empty() || (text.starts_with(char::is_alphabetic) && text.chars().all(is_wordy))
}

/// Names are often quoted where numbers are not.
fn weigh_quotes(first: &[Cell<'_>], rest: &[Vec<Cell<'_>>], evidence: &mut Evidence) {
    let all_quoted = !first.is_empty() && first.iter().all(|name| name.quoted);
    let none_quoted = first.iter().all(|name| !name.quoted);
    let column = |index: usize| rest.iter().filter_map(move |row| row.get(index));
    let is_never_quoted = |index: usize| {
        let mut values = column(index).filter(|cell| classify(cell.text) != ValueClass::Missing).peekable();
        values.peek().is_some() && values.all(|cell| !cell.quoted)
    };
    let is_always_quoted = |index: usize| rest.len() > 1 && column(index).all(|cell| cell.quoted);
    if all_quoted && (0..first.len()).any(is_never_quoted) {
        evidence.yes.add(STRONG + WEAK, "the first record is quoted above values that are not");
    } else if none_quoted && (0..first.len()).any(is_always_quoted) {
        evidence.yes.add(STRONG, "the first record is not quoted above values that are");
    }
}

/// Whether the numbers of the first record may be names: years, or numbers in sequence, unlike those below them. That they
/// are is evidence only where other names are words.
fn weigh_numbers(first: &[Cell<'_>], rest: &[Vec<Cell<'_>>], evidence: &mut Evidence) -> bool {
    let numbers: Vec<(usize, i64)> = first
        .iter()
        .enumerate()
        .filter(|(_, name)| classify(name.text) == ValueClass::Number)
        .map_while(|(index, name)| Some((index, integer(name.text)?)))
        .collect();
    let all = first.iter().filter(|name| classify(name.text) == ValueClass::Number).count();
    if numbers.is_empty() || numbers.len() < all || rest.is_empty() {
        return false;
    }
    let steps = |values: &[i64]| values.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1]));
    let is_sequence =
        numbers.len() > 1 && steps(&numbers.iter().map(|(_, number)| *number).collect::<Vec<_>>());
    let are_years = numbers.iter().all(|(_, number)| YEARS.contains(number));
    let value = |row: &[Cell<'_>], index: usize| row.get(index).and_then(|cell| integer(cell.text));
    let is_like_first = |row: &&Vec<Cell<'_>>| {
        let values: Option<Vec<i64>> = numbers.iter().map(|(index, _)| value(row, *index)).collect();
        values.is_some_and(|values| {
            (is_sequence && steps(&values)) || (are_years && values.iter().all(|value| YEARS.contains(value)))
        })
    };
    let alike = rest.iter().filter(is_like_first).count();
    if !(is_sequence || are_years) || alike * 10 > rest.len() {
        return false;
    }
    let words = first.iter().any(|name| classify(name.text) == ValueClass::Text);
    if words && is_sequence && (numbers.len() > 3 || are_years) {
        evidence.yes.add(STRONG, "the first record has consecutive numbers, unlike the records below it");
    }
    true
}

/// Weigh the name at `index` against the values of its `column`.
fn weigh_column(index: usize, name: &str, column: &[&str], numbers_are_names: bool, evidence: &mut Evidence) {
    let classes: Vec<ValueClass> =
        column.iter().map(|value| classify(value)).filter(|class| *class != ValueClass::Missing).collect();
    let share = |class: ValueClass| {
        let count = classes.iter().filter(|other| **other == class).count();
        if classes.is_empty() { 0.0 } else { count as f64 / classes.len() as f64 }
    };
    let typed = [ValueClass::Number, ValueClass::Time, ValueClass::Boolean]
        .into_iter()
        .map(|class| (class, share(class)))
        .find(|(_, share)| *share >= 0.9);
    match (classify(name), typed) {
        (ValueClass::Text, Some((ValueClass::Number | ValueClass::Time, 1.0))) => {
            evidence.yes.add(STRONG, "the first record has text above a column of values");
        }
        (ValueClass::Text, Some(_)) => evidence.yes.add(WEAK, "the first record has text above values"),
        (ValueClass::Boolean, Some((ValueClass::Number | ValueClass::Time, 1.0))) => {
            evidence.yes.add(WEAK, "the first record has a word above a column of values");
        }
        (ValueClass::Time, Some((ValueClass::Number, 1.0))) if index > 0 => {
            evidence.yes.add(STRONG, "the first record has dates above columns of numbers");
        }
        (ValueClass::Number, Some((ValueClass::Number, _))) if numbers_are_names => {}
        // `t` is a name, too.
        (ValueClass::Boolean, Some((ValueClass::Boolean, _)))
            if name.trim().len() == 1 && !column.contains(&name) =>
        {
            evidence.no.add(WEAK, "the first record contains values, as the others do");
        }
        (class, Some((other, _))) if class == other => {
            evidence.no.add(STRONG, "the first record contains values, as the others do");
        }
        (ValueClass::Text | ValueClass::Boolean, None) => weigh_words(name.trim(), column, evidence),
        (ValueClass::Number | ValueClass::Time, None) if !column.is_empty() && !numbers_are_names => {
            evidence.no.add(WEAK, "the first record contains values");
        }
        (ValueClass::Number | ValueClass::Time, None) if column.is_empty() => {
            evidence.no.add(WEAK, "the only record contains values");
        }
        _ => {}
    }
}

/// Weigh a word above a `column` of words.
fn weigh_words(name: &str, column: &[&str], evidence: &mut Evidence) {
    let values: Vec<&str> =
        column.iter().map(|value| value.trim()).filter(|value| !value.is_empty()).collect();
    if values.contains(&name) {
        // In a few records, a value may well be called as its column.
        if column.len() >= 3 {
            evidence.no.add(STRONG, RECURS);
        }
        return;
    }
    let plain = name.to_ascii_lowercase().replace(['_', ' ', '-', '.'], "");
    let last_word = name.rsplit(['_', ' ', '-', '.']).next().unwrap_or_default().to_ascii_lowercase();
    if COMMON_NAMES.binary_search(&plain.as_str()).is_ok()
        || (name.contains('_') && COMMON_NAMES.binary_search(&last_word.as_str()).is_ok())
    {
        evidence.yes.add(STRONG, "the first record has names that columns often have");
        return;
    }
    if values.is_empty() {
        return;
    }
    let most = |holds: &dyn Fn(&str) -> bool| {
        values.iter().filter(|value| holds(value)).count() * 10 >= values.len() * 9
    };
    let length = values[0].chars().count();
    if is_identifier(name) && most(&|value| !is_identifier(value)) {
        evidence.yes.add(WEAK, "the first record has plain words above other text");
    } else if values.len() > 2
        && name.chars().count() != length
        && most(&|value| value.chars().count() == length)
    {
        evidence.yes.add(WEAK, "the first record has a word above values of one length");
    }
}

/// A record that names all columns but the first, which has the names of the rows, as R writes it; or a record in which
/// names are missing.
fn weigh_empty_names(first: &[Cell<'_>], rest: &[Vec<Cell<'_>>], evidence: &mut Evidence) {
    let [corner, names @ ..] = first else { return };
    let is_counted = rest.len() > 1
        && (1_i64..).zip(rest).all(|(number, row)| {
            row.first()
                .and_then(|cell| integer(cell.text))
                .is_some_and(|value| [number, number - 1].contains(&value))
        });
    let distinct: HashSet<&str> = names.iter().map(|name| name.text).collect();
    let are_names = !names.is_empty()
        && names.iter().all(|name| !name.text.trim().is_empty())
        && distinct.len() == names.len();
    if corner.text.is_empty() && are_names && is_counted {
        evidence
            .yes
            .add(STRONG + WEAK, "the first record leaves only the column of row numbers without a name");
    }
}

/// Whether `row` has three or more names in sequence, such as `a,b,c` or `V1,V2,V3`, and no others.
fn is_sequence(row: &[Cell<'_>]) -> bool {
    let ordinal = |text: &str| match text.as_bytes() {
        [letter] if letter.is_ascii_alphabetic() => Some((String::new(), i64::from(*letter))),
        _ => {
            let digits = text.find(|character: char| character.is_ascii_digit()).filter(|at| *at > 0)?;
            Some((text[..digits].to_owned(), integer(&text[digits..])?))
        }
    };
    let names = row.iter().map(|cell| cell.text.trim()).filter(|name| !name.is_empty());
    let Some(ordinals) = names.map(ordinal).collect::<Option<Vec<_>>>() else { return false };
    ordinals.len() > 2 && ordinals.windows(2).all(|pair| pair[0].0 == pair[1].0 && pair[1].1 - pair[0].1 == 1)
}

/// Whether `name` joins words, as in `first_name` or `firstName`.
fn is_compound(name: &Cell<'_>) -> bool {
    let has_hump = name
        .text
        .as_bytes()
        .windows(2)
        .any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
    name.text.contains('_') || has_hump
}

/// Whether `text` could be the name of a variable.
fn is_identifier(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_are_sorted() {
        assert!(COMMON_NAMES.is_sorted());
    }
}

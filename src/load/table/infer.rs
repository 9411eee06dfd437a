//! Infers the type of a column from its values, so that no value is changed by it.
//!
//! A type other than `text` is chosen only if it keeps every value of the column: `007` is text rather than a number, and
//! so are dates of which the day and the month cannot be told apart. NULLs fit every type. Naturally
//! inferred, a value may be spelled in another way than PostgreSQL prints it, and each such way is counted; exactly
//! inferred, it may not.

use serde::Serialize;

use crate::catalog::TableName;
use crate::csv::{Field, Notation, excerpt};
use crate::load::date_order::DateOrder;
use crate::load::hints;
use crate::load::options::Infer;
use crate::load::spelling::{BooleanWords, NumberStyle, Spelling};
use crate::load::table::kinds::{Change, Kind, Kinds, Reading, WordsSeen, read};
use crate::sql::quote;

/// A type that was inferred from values spelled otherwise than PostgreSQL prints them, or that one value made text.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InferredColumn {
    /// The name of the column.
    pub column: String,
    /// Its type.
    #[serde(rename = "type")]
    pub sql_type: String,
    /// The order in which its dates are read; `None` if they begin with the year, or are no dates.
    pub dates: Option<&'static str>,
    /// What is spelled otherwise.
    pub changes: Vec<SpellingChange>,
    /// The value that made the column text; `None` if the column is not text, or no other type fits its first value.
    pub text_because: Option<TextCause>,
    /// The flag by which the column would not be text, as far as its values tell; `None` if there is none.
    pub text_help: Option<String>,
}

/// The value that made a column text.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TextCause {
    /// The value, shortened and printable.
    pub value: String,
    /// Name of its file.
    pub file: String,
    /// Its line, from 1.
    pub line: u64,
    /// The type that fits all values before it.
    pub until_then: &'static str,
}

/// A way in which values are spelled otherwise than PostgreSQL prints them.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpellingChange {
    /// How these values differ from what PostgreSQL prints.
    pub what: &'static str,
    /// Number of them, among the rows from which the types were inferred.
    pub values: u64,
    /// The first of them, shortened and printable.
    pub first: String,
    /// Name of its file.
    pub file: String,
    /// Its line, from 1.
    pub line: u64,
}

/// A column of a new table.
#[derive(Debug, Clone)]
pub(crate) struct NewColumn {
    pub name: String,
    /// Its type, in SQL.
    pub sql_type: String,
    /// The order in which its dates are to be read; `None` to leave that to PostgreSQL.
    pub order: Option<DateOrder>,
}

/// The inference for one column.
#[derive(Debug, Clone)]
struct ObservedColumn {
    name: String,
    /// The type that the user declared; `None` to infer it.
    declared: Option<String>,
    /// The kinds that fit all values so far.
    kinds: Kinds,
    /// Whether there was a value other than NULL.
    has_value: bool,
    /// Whether there was an object or an array.
    has_nested: bool,
    /// The words for booleans, if the others of it are words as well.
    words: WordsSeen,
    changes: Vec<(Change, SpellingChange)>,
    /// The value that made it text; `None` if it is not text, or was nothing else before.
    text_because: Option<TextCause>,
    /// What it would be with another flag, once it is text.
    other: Option<OtherReading>,
}

/// A column of text as another flag would read it.
#[derive(Debug, Clone)]
struct OtherReading {
    /// Names the flag.
    help: String,
    /// How it writes numbers; `None` if the flag is not about them.
    numbers: Option<NumberStyle>,
    /// The kinds that fit all values.
    kinds: Kinds,
    /// Whether any value is one.
    has_value: bool,
}

impl OtherReading {
    /// The reading that fits `value`, which made a column text whose values so far were of `kinds`: of the kind `before`,
    /// if there were any.
    fn new(value: &[u8], kinds: Kinds, before: Option<Kind>, has_order: bool) -> Option<OtherReading> {
        if has_order && before.is_none() && !read(value, Kinds::MOMENTS).kinds.is_empty() {
            let help = hints::of_date(value)?;
            return Some(OtherReading { help, numbers: None, kinds: Kinds::MOMENTS, has_value: true });
        }
        let (help, spelling) = hints::of_text(value)?;
        let Some(spelling) = spelling else {
            return Some(OtherReading { help, numbers: None, kinds, has_value: before.is_some() });
        };
        // A point before was one of a number.
        let is_whole = before.is_none_or(|before| ["smallint", "integer", "bigint"].contains(&before.sql()));
        let (numbers, kinds) = (spelling.numbers(), kinds.and(Kinds::NUMBERS));
        is_whole.then_some(OtherReading { help, numbers, kinds, has_value: true })
    }

    /// Whether `value` fits as well.
    fn observe(&mut self, value: &[u8], scratch: &mut Vec<u8>) -> bool {
        let reading = match &self.numbers {
            Some(style) => read_styled(value, self.kinds, style, scratch),
            None if hints::is_no_value(value) && self.kinds != Kinds::MOMENTS => return true,
            None => read(value, self.kinds),
        };
        self.has_value = true;
        self.kinds = self.kinds.and(reading.kinds);
        !self.kinds.is_empty()
    }
}

/// Infers the columns of a table from the values of records.
#[derive(Debug, Clone)]
pub(crate) struct Inference {
    /// One per field; `None` for a field that is not loaded.
    columns: Vec<Option<ObservedColumn>>,
    infer: Infer,
    /// The kinds to choose from.
    kinds: Kinds,
    /// Whether the order of dates is given.
    has_order: bool,
    numbers: Option<NumberStyle>,
    booleans: Option<BooleanWords>,
    scratch: Vec<u8>,
}

impl Inference {
    /// Begin the inference, of no columns yet. Dates that do not begin with the year are read in `order`; without one, in
    /// that on which all values of a column agree.
    pub(crate) fn new(infer: Infer, order: Option<DateOrder>, spelling: &Spelling) -> Self {
        let (numbers, booleans) = (spelling.numbers(), spelling.booleans());
        let kinds = if infer == Infer::Exact { Kinds::EXACT } else { Kinds::ALL };
        let kinds = order.map_or(kinds, |order| kinds.in_order(order));
        let has_order = order.is_some();
        Inference { columns: Vec::new(), infer, kinds, has_order, numbers, booleans, scratch: Vec::new() }
    }

    /// Add the column of the next field, of a `declared` type if there is one; `None` if the field is not loaded.
    pub(crate) fn add(&mut self, name: Option<String>, declared: Option<String>) {
        self.columns.push(name.map(|name| ObservedColumn {
            name,
            declared,
            kinds: self.kinds,
            has_value: false,
            has_nested: false,
            words: WordsSeen::default(),
            changes: Vec::new(),
            text_because: None,
            other: None,
        }));
    }

    /// Take the value of field `index`, from 0, into account, which is on line `line` of `file`.
    pub(crate) fn observe(
        &mut self,
        index: usize,
        field: Field<'_>,
        notation: Notation,
        (file, line): (&str, u64),
    ) {
        let (Some(Some(column)), Field::Value(value)) = (self.columns.get_mut(index), field) else { return };
        if notation == Notation::Nested {
            column.has_nested = true;
            return;
        }
        if column.kinds.is_empty() {
            let scratch = &mut self.scratch;
            column.other =
                column.other.take().and_then(|mut other| other.observe(value, scratch).then_some(other));
            return;
        }
        let (has_order, kinds_before) = (self.has_order, column.kinds);
        let before = column.preferred().filter(|_| column.has_value);
        column.has_value = true;
        let wanted =
            if notation == Notation::String { column.kinds.and(Kinds::OF_STRINGS) } else { column.kinds };
        let is_word = self.booleans.as_ref().and_then(|words| words.read(value)).is_some();
        let reading = if is_word {
            read(b"t", wanted)
        } else if let Some(style) = self.numbers.as_ref().filter(|_| notation != Notation::Scalar) {
            read_styled(value, wanted, style, &mut self.scratch)
        } else {
            read(value, wanted)
        };
        let kinds = if self.infer == Infer::Exact { reading.unchanged() } else { reading.kinds };
        column.kinds = wanted.and(kinds);
        if column.kinds.is_empty() {
            column.other = OtherReading::new(value, kinds_before, before, has_order);
            let (value, file) = (excerpt(value), file.to_owned());
            // Otherwise the report names the value as the cause.
            if let (Some(other), None) = (&mut column.other, before) {
                other.help = format!("its first value is {value}; {}", other.help);
            }
            let cause = |before: Kind| TextCause { value, file, line, until_then: before.sql() };
            column.text_because = before.map(cause);
            column.changes = Vec::new();
        } else if column.kinds.preferred() == Some(Kind::Boolean) {
            column.words.add(value, is_word);
            reading.changes().for_each(|change| column.count(change, value, file, line));
        } else if reading.is_changed() {
            reading.changes().for_each(|change| column.count(change, value, file, line));
        }
    }

    /// A note for each column that was another type until one value made it text, with the position of that value.
    pub(crate) fn text_notes(&self) -> impl Iterator<Item = String> {
        let inferred = self.columns.iter().flatten().filter(|column| column.declared.is_none());
        inferred.filter_map(|column| {
            let TextCause { value, file, line, until_then } = column.text_because.as_ref()?;
            let name = &column.name;
            Some(format!("{name} is text because of {value} in {file}, line {line}; until then {until_then}"))
        })
    }

    /// The columns of the table; `text` for those without a value.
    pub(crate) fn columns(&self) -> Vec<NewColumn> {
        let column = |column: &ObservedColumn| NewColumn {
            name: column.name.clone(),
            sql_type: column.sql_type(),
            order: column.order(),
        };
        self.columns.iter().flatten().map(column).collect()
    }

    /// What there is to say about the columns.
    pub(crate) fn report(&self) -> Vec<InferredColumn> {
        let report = |column: &ObservedColumn| {
            let kind = column.kind();
            let is_made = |change: Change| change != Change::DoubleSpelling || kind == Some(Kind::Double);
            let changes = column.changes.iter().filter(|(change, _)| kind.is_some() && is_made(*change));
            let changes: Vec<_> = changes.map(|(_, change)| change.clone()).collect();
            let order = column.order().filter(|order| *order != DateOrder::Ymd);
            let sql_type = column.sql_type();
            InferredColumn {
                column: column.name.clone(),
                sql_type,
                dates: order.map(DateOrder::words),
                changes,
                text_because: column
                    .text_because
                    .clone()
                    .filter(|_| column.declared.is_none() && !column.has_nested),
                text_help: column.text_help(),
            }
        };
        let has_news = |column: &InferredColumn| {
            column.dates.is_some()
                || !column.changes.is_empty()
                || column.text_because.is_some()
                || column.text_help.is_some()
        };
        self.columns.iter().flatten().map(report).filter(has_news).collect()
    }

    /// A note for each column of dates that are text because they can be read in two orders.
    pub(crate) fn ambiguous_notes(&self) -> impl Iterator<Item = String> {
        let ambiguous = |column: &&ObservedColumn| column.has_value && column.kind().is_none();
        let columns = self.columns.iter().flatten().filter(ambiguous);
        columns.filter(|column| column.kinds.is_ambiguous() && column.declared.is_none()).map(|column| {
            let first = column.changes.first().map_or("", |(_, change)| &change.first);
            format!(
                "{} is text because its dates, such as {first}, may begin with the day or with the month; \
                 --date-style dmy or mdy decides",
                column.name
            )
        })
    }
}

/// Read `value` in `style`; what is no number in it is read as it is, but not as a number.
fn read_styled(value: &[u8], wanted: Kinds, style: &NumberStyle, scratch: &mut Vec<u8>) -> Reading {
    scratch.clear();
    match style.rewrite(value, scratch) {
        Some(()) => read(scratch, wanted),
        None => read(value, wanted.without_numbers()),
    }
}

impl ObservedColumn {
    /// Count a value with `change`.
    fn count(&mut self, change: Change, value: &[u8], file: &str, line: u64) {
        if let Some((_, counted)) = self.changes.iter_mut().find(|(other, _)| *other == change) {
            counted.values += 1;
            return;
        }
        let (what, first, file) = (change.name(), excerpt(value), file.to_owned());
        self.changes.push((change, SpellingChange { what, values: 1, first, file, line }));
    }

    /// The kind to choose as far as its values so far tell. Numbers with exponents are rather doubles, if those keep them.
    fn preferred(&self) -> Option<Kind> {
        let found = self.kinds.preferred()?;
        let has_exponents = || self.changes.iter().any(|(change, _)| *change == Change::Exponent);
        let is_double =
            found == Kind::Numeric && !self.kinds.and(Kinds::DOUBLE).is_empty() && has_exponents();
        Some(if is_double { Kind::Double } else { found })
    }

    /// The kind chosen; `None` for text.
    fn kind(&self) -> Option<Kind> {
        let found = self.preferred().filter(|_| self.has_value && !self.has_nested)?;
        if found == Kind::Boolean && !self.words.are_boolean() {
            return None;
        }
        // Of what was inferred, only the order of dates matters to a declared type.
        let fits = self.declared.as_ref().is_none_or(|declared| {
            let is_moment =
                ["date", "timestamp"].iter().any(|name| declared.to_ascii_lowercase().starts_with(name));
            is_moment && found.order().is_some()
        });
        fits.then_some(found)
    }

    /// The flag by which it would not be text.
    fn text_help(&self) -> Option<String> {
        let is_inferred = self.declared.is_none() && !self.has_nested && self.kinds.is_empty();
        let other = self.other.as_ref().filter(|other| is_inferred && other.has_value)?;
        other.kinds.first().map(|_| other.help.clone())
    }

    fn sql_type(&self) -> String {
        let inferred = self.kind().map_or(if self.has_nested { "jsonb" } else { "text" }, Kind::sql);
        self.declared.clone().unwrap_or_else(|| inferred.to_owned())
    }

    /// The order in which its dates are to be read, where PostgreSQL could read them otherwise.
    fn order(&self) -> Option<DateOrder> {
        let found = self.kind()?.order()?;
        let is_respelled = self.changes.iter().any(|(change, _)| *change == Change::DateSpelling);
        (is_respelled || found != DateOrder::Ymd).then_some(found)
    }
}

/// The statement that creates `table` with `columns`, with one of them per line.
pub(crate) fn ddl(table: &TableName, columns: &[NewColumn]) -> String {
    let column = |column: &NewColumn| format!("    {} {}", quote(&column.name), column.sql_type);
    let columns: Vec<String> = columns.iter().map(column).collect();
    format!("CREATE TABLE {} (\n{}\n)", table.sql(), columns.join(",\n"))
}

#[cfg(test)]
mod tests;

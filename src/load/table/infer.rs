//! Infers the type of a column from its values, so that no value is changed by it.
//!
//! A type other than `text` is chosen only if it keeps every value of the column: `007` is text rather than a number, and
//! so are 20-digit numbers, and dates of which the day and the month cannot be told apart. NULLs fit every type. Naturally
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
        let before = column.kinds.preferred().filter(|_| column.has_value);
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
            let changes = column.changes.iter().filter(|_| column.kind().is_some());
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

    /// The kind chosen; `None` for text.
    fn kind(&self) -> Option<Kind> {
        let found = self.kinds.preferred().filter(|_| self.has_value && !self.has_nested)?;
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
mod tests {
    use super::*;

    /// A column with these values, of which an empty one is NULL.
    fn inferred(infer: Infer, values: &[&str]) -> Inference {
        let mut inference = Inference::new(infer, None, &Spelling::default());
        inference.add(Some("x".to_owned()), None);
        for (line, value) in (2..).zip(values) {
            let field = if value.is_empty() { Field::Null } else { Field::Value(value.as_bytes()) };
            inference.observe(0, field, Notation::Text, ("f.csv", line));
        }
        inference
    }

    fn type_of(infer: Infer, values: &[&str]) -> String {
        inferred(infer, values).columns().remove(0).sql_type
    }

    #[test]
    fn each_type_is_inferred_from_its_values() {
        for (values, expected) in [
            (&["true", "f", ""][..], "boolean"),
            (&["1", "-2147483648", "0"], "integer"),
            (&["1", "2147483648"], "bigint"),
            (&["1", "0.50", "-3.0"], "numeric"),
            (&["2021-12-31", "2020-02-29"], "date"),
            (&["2021-12-31 23:59:59", "2021-12-31T23:59:59.123456"], "timestamp"),
            (&["2021-12-31 23:59:59+02", "2021-12-31T23:59:59.1Z"], "timestamptz"),
            (&["b5aee1d4-1f3a-4d6e-8a3e-1c5a9d6f7e80"], "uuid"),
        ] {
            assert_eq!(type_of(Infer::Exact, values), expected, "{values:?}");
            let natural = inferred(Infer::Natural, values);
            assert_eq!(natural.columns()[0].sql_type, expected, "{values:?}");
            let changed: Vec<&str> = natural
                .report()
                .iter()
                .flat_map(|column| &column.changes)
                .map(|change| change.what)
                .collect();
            let iso = Change::IsoSpelling.name();
            let is_printed_otherwise = values.iter().any(|value| value.contains(['T', '+']));
            assert_eq!(changed, if is_printed_otherwise { vec![iso] } else { vec![] }, "{values:?}");
        }
    }

    /// Types that only the natural inference chooses, and what it says about the spelling.
    #[test]
    fn other_spellings_are_read_naturally_and_reported() {
        for (values, expected, dates, changes) in [
            (&["1", " 2", "3 "][..], "integer", None, &["2 blanks around them"][..]),
            (&["TRUE", "No", "t"], "boolean", None, &["2 another word than true or false"]),
            (
                &["2012/01/01", "2012-1-9"],
                "date",
                None,
                &["2 a date or time in another spelling than ISO 8601"],
            ),
            (
                &["31/12/2026", "01/02/2026"],
                "date",
                Some("day, month, year"),
                &["2 a date or time in another spelling than ISO 8601"],
            ),
            (
                &["12.31.2026"],
                "date",
                Some("month, day, year"),
                &["1 a date or time in another spelling than ISO 8601"],
            ),
            (
                &["17-08-1984 9:05 PM"],
                "timestamp",
                Some("day, month, year"),
                &["1 a date or time in another spelling than ISO 8601", "1 a time without seconds"],
            ),
            (&["1e-5", "12", "NaN"], "double precision", None, &["1 an exponent"]),
            (
                &[".5", "5.", "-0"],
                "numeric",
                None,
                &["2 a decimal point without digits on one side", "1 a minus before zero"],
            ),
            (&["12:34:56", "23:59:59.5"], "time", None, &[]),
            (&["B5AEE1D4-1F3A-4D6E-8A3E-1C5A9D6F7E80"], "uuid", None, &["1 capitals in a UUID"]),
        ] {
            let natural = inferred(Infer::Natural, values);
            assert_eq!(natural.columns()[0].sql_type, expected, "{values:?}");
            let report = natural.report();
            let said: Vec<String> = report
                .iter()
                .flat_map(|column| &column.changes)
                .map(|change| format!("{} {}", change.values, change.what))
                .collect();
            assert_eq!(said, changes, "{values:?}");
            assert_eq!(report.first().and_then(|column| column.dates), dates, "{values:?}");
            assert_eq!(type_of(Infer::Exact, values), "text", "{values:?}");
        }
    }

    #[test]
    fn values_that_a_type_would_change_stay_text() {
        for values in [
            &["007"][..],
            &["12345678901234567890"],
            &["+1"],
            &["0.12345678901234567890e1"],
            &["1", "n/a"],
            &["2.2.20"],
            &["2021.3.2"],
            &["03/04/2021"],
            &["31/12/2021", "12/31/2021"],
            &["31/12/21"],
            &["2021-12-31", "31.12.2021"],
            &["2021-02-29"],
            &["2021-12-31 23:59:59.1234567"],
            &["2021-12-31 23:59:59", "2021-12-31 23:59:59Z"],
            &["25:00:00"],
            &["2021-12-31", "2021-12-31 23:59:59"],
            &["Y", "N"],
            &["NO", "no"],
            &["F"],
            &["t", "true"],
            &["1", "true"],
            &["1", "  "],
            &["", ""],
        ] {
            for infer in [Infer::Natural, Infer::Exact] {
                assert_eq!(type_of(infer, values), "text", "{values:?}");
            }
        }
    }

    #[test]
    fn a_column_of_text_names_the_flag_that_would_read_it() {
        let help = |order, values: &[&str]| {
            let mut inference = Inference::new(Infer::Natural, order, &Spelling::default());
            inference.add(Some("x".to_owned()), None);
            for value in values {
                inference.observe(0, Field::Value(value.as_bytes()), Notation::Text, ("f.csv", 2));
            }
            inference.report().pop().and_then(|column| column.text_help)
        };
        for (values, flag) in [
            (&["1.019,90", "7"][..], Some("--decimal , --thousands .")),
            (&["1", "1,50", "2"], Some("--decimal ,")),
            (&["1,50", "2.5"], None),
            (&["NA", "1", "2.5"], Some("--null '' --null 'NA'")),
            (&["2026-01-31", "NA"], Some("--null '' --null 'NA'")),
            (&["NA", "Ann"], None),
            (&["NA"], None),
            (&["1.2.3.4", "10.0.0.1"], None),
            (&["1.5", "1,5"], None),
        ] {
            let help = help(None, values);
            assert_eq!(help.is_some(), flag.is_some(), "{values:?} {help:?}");
            assert!(help.is_none_or(|help| help.contains(flag.unwrap())), "{values:?}");
        }
        let dates = help(Some(DateOrder::Dmy), &["12/31/2026", "12/30/2026"]);
        assert!(dates.is_some_and(|help| help.ends_with("--date-style mdy")));
    }

    #[test]
    fn what_is_ambiguous_is_decided_by_an_order_or_named() {
        let ambiguous = inferred(Infer::Natural, &["03/04/2021"]);
        let notes: Vec<String> = ambiguous.ambiguous_notes().collect();
        assert_eq!(
            notes,
            [
                "x is text because its dates, such as \"03/04/2021\", may begin with the day or with the month; \
              --date-style dmy or mdy decides"
            ]
        );
        for (order, value, expected) in [
            (DateOrder::Mdy, "03/04/2021", "date"),
            (DateOrder::Dmy, "03/04/2021", "date"),
            (DateOrder::Dmy, "12/31/2021", "text"),
            (DateOrder::Dmy, "2021-12-31", "date"),
            (DateOrder::Ymd, "03/04/2021", "text"),
        ] {
            let mut decided = Inference::new(Infer::Natural, Some(order), &Spelling::default());
            decided.add(Some("x".to_owned()), None);
            decided.observe(0, Field::Value(value.as_bytes()), Notation::Text, ("f.csv", 2));
            assert_eq!(decided.columns()[0].sql_type, expected, "{order:?} {value}");
        }
    }

    #[test]
    fn settings_of_spelling_count() {
        let spelling = Spelling {
            decimal: Some(b','),
            thousands: Some('.'),
            true_words: vec!["ja".into()],
            false_words: vec!["nein".into()],
        };
        for (values, expected) in [
            (&["1.234,50", "7"][..], "numeric"),
            (&["1.234", "-5"], "integer"),
            (&["1.5"], "text"),
            (&["Ja", "nein", "t"], "boolean"),
            (&["31.12.2026"], "date"),
        ] {
            let mut inference = Inference::new(Infer::Natural, None, &spelling);
            inference.add(Some("x".to_owned()), None);
            for value in values {
                inference.observe(0, Field::Value(value.as_bytes()), Notation::Text, ("f.csv", 1));
            }
            assert_eq!(inference.columns()[0].sql_type, expected, "{values:?}");
        }
    }

    #[test]
    fn the_statement_quotes_names() {
        let mut inference = Inference::new(Infer::Natural, None, &Spelling::default());
        inference.add(Some("id".to_owned()), None);
        inference.add(None, None);
        inference.add(Some("Full \"name\"".to_owned()), Some("varchar(9)".to_owned()));
        inference.observe(0, Field::Value(b"1"), Notation::Text, ("f.csv", 2));
        let ddl = ddl(&TableName::parse("people").unwrap(), &inference.columns());
        assert_eq!(
            ddl,
            "CREATE TABLE \"people\" (\n    \"id\" integer,\n    \"Full \"\"name\"\"\" varchar(9)\n)"
        );
    }
}

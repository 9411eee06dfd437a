//! Which field of a record is loaded into which column of the table.

use std::collections::HashMap;
use std::sync::Arc;

use crate::catalog::{Column, Table, TableName};
use crate::csv::{Header, NameStyle, excerpt};
use crate::encode::{DateTimeType, Encoder, Refusal, TypeKind};
use crate::error::Location;
use crate::load::date_order::DateOrder;
use crate::load::field_names::{
    ALREADY_LOADED, FieldNames, NUL_HELP, NUL_IN_NAME, ONLY_ONCE, cannot_add, listed, spelling,
};
use crate::load::names::MadeName;
use crate::load::options::{AddedValue, DateStyle, InputOptions, Mode, Naming};
use crate::load::planned::PlannedFields;
use crate::load::spelling::Conversion;
use crate::sql::{fold, quote, quote_list, truncate};
use crate::{Error, Result};

/// A column that is loaded, and the source of its values.
#[derive(Debug, Clone)]
pub(super) struct MappedColumn {
    /// Where its values come from.
    pub source: ValueSource,
    /// The table's column.
    pub column: Column,
    /// Encodes its values; `None` if only the server can read the type.
    pub encoder: Option<Encoder>,
    /// Turns its values into what the encoder and the server read; `None` if they are that.
    pub conversion: Option<Box<Conversion>>,
}

/// Where the values of a column come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ValueSource {
    /// The field of this index in a record, from 0.
    Field(usize),
    /// The name of the file.
    File,
    /// The line of the record.
    Line,
    /// The same text for all rows.
    Constant(Box<[u8]>),
    /// The time of the load, as text: until the server has told its own, that of this program.
    Now(Box<[u8]>),
}

impl MappedColumn {
    /// The number of its field in a record, from 1; `None` if it is not in the files.
    pub(super) fn field_number(&self) -> Option<usize> {
        match self.source {
            ValueSource::Field(field) => Some(field + 1),
            _ => None,
        }
    }
}

impl MappedColumn {
    /// Whether its values are dates, also with a time, or arrays or ranges of them, which are read as they are in the file.
    pub(super) fn is_date(&self) -> bool {
        use DateTimeType::{Date, Timestamp, TimestampTz};
        let is_read_as_written = self.conversion.is_none() && matches!(self.source, ValueSource::Field(_));
        let name = self.column.base_name.as_str();
        let has_dates = || {
            let is_array =
                name.ends_with("[]") && (name.starts_with("date") || name.starts_with("timestamp"));
            let ranges = ["daterange", "tsrange", "tstzrange"];
            is_array
                || ranges.contains(&name)
                || ranges.contains(&name.replace("multirange", "range").as_str())
        };
        is_read_as_written
            && (matches!(self.encoder, Some(Encoder::DateTime(Date | Timestamp | TimestampTz { .. })))
                || has_dates())
    }
}

/// Every column that is loaded, in the order of the file's fields.
#[derive(Debug, Clone, Default)]
pub(super) struct ColumnMapping {
    /// The columns.
    pub columns: Vec<MappedColumn>,
    /// Number of fields in a record.
    pub fields: usize,
    /// Whether the fields are the table's columns in order, because nothing names them.
    pub is_positional: bool,
    /// Names in the header that `--ignore-extra` skipped.
    pub ignored: Vec<String>,
    /// Names in the header that `--select` leaves out.
    pub unselected: Vec<String>,
    /// The columns they would have been loaded into.
    pub unselected_columns: Vec<String>,
    /// Fields whose names could not be the names of their columns.
    pub made_names: Vec<MadeName>,
    /// The order in which the session reads the day, month and year of dates.
    pub date_order: DateOrder,
}

/// The format in which a column's values are sent, which decides who parses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueFormat {
    /// The type's binary format: this program has parsed the value.
    Binary,
    /// The text of the file: the server parses it.
    Text,
}

impl ColumnMapping {
    /// The format of each column at the start of a load in `mode`.
    ///
    /// A COPY has one format for all columns. A batch sends arrays as text, because `unnest()` would flatten them.
    pub(super) fn formats(&self, mode: Mode) -> Arc<[ValueFormat]> {
        let is_read_by_server = |mapped: &MappedColumn| {
            let Column { column_type, array_oid, .. } = &mapped.column;
            let cannot_be_unnested = matches!(column_type.kind, TypeKind::Array { .. }) || *array_oid == 0;
            mapped.encoder.is_none() || (mode == Mode::Batch && cannot_be_unnested)
        };
        let all = mode == Mode::Copy && self.columns.iter().any(is_read_by_server);
        let format =
            |mapped| if all || is_read_by_server(mapped) { ValueFormat::Text } else { ValueFormat::Binary };
        self.columns.iter().map(format).collect()
    }

    /// Names of the loaded columns.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|mapped| mapped.column.name.as_str())
    }

    /// The beginning of an INSERT of these columns into `table`, up to the source of its rows.
    pub(super) fn insert_into(&self, table: &TableName) -> String {
        let always = self.columns.iter().any(|mapped| mapped.column.identity_always);
        let overriding = if always { " OVERRIDING SYSTEM VALUE" } else { "" };
        format!("INSERT INTO {} ({}){overriding}", table.sql(), quote_list(self.names()))
    }

    /// Find the column of `table` for each field.
    ///
    /// # Errors
    /// At the first name that is unknown, occurs twice, or belongs to a column that cannot be loaded.
    pub(super) fn find(
        header: Option<&Header>,
        file: &str,
        naming: &Naming,
        table: &Table,
    ) -> Result<ColumnMapping> {
        let (mapping, problems) = ColumnMapping::find_all(header, file, naming, table);
        problems.into_iter().next().map_or(Ok(mapping), Err)
    }

    /// As [`ColumnMapping::find`], but return every problem; the mapping has the columns without one.
    pub(super) fn find_all(
        header: Option<&Header>,
        file: &str,
        naming: &Naming,
        table: &Table,
    ) -> (ColumnMapping, Vec<Error>) {
        let names = field_names(header, naming, table);
        let own = FieldNames::new(&names, naming);
        let mut problems = own.problems(header, file);
        let header = header.filter(|_| naming.columns.is_none());
        let is_positional = header.is_none() && naming.columns.is_none();
        let date_order = DateOrder::from_date_style(&table.session.date_style);
        let mapping =
            ColumnMapping { fields: names.len(), is_positional, date_order, ..ColumnMapping::default() };
        let mut mapper = FieldMapper {
            names: &names,
            own: &own,
            spellings: spellings(&names),
            header,
            file,
            naming,
            table,
            columns: table.columns.iter().map(|column| (column.name.as_str(), column)).collect(),
            taken: HashMap::new(),
            mapping,
            unknown: Vec::new(),
        };
        problems.extend((0..names.len()).filter_map(|field| mapper.map_field(field).err()));
        problems.extend(mapper.unknown_names());
        let mut mapping = mapper.mapping;
        if mapping.columns.is_empty() && problems.is_empty() {
            problems.push(
                Error::input(format!("{file} has no column of {}", table.name))
                    .with_help("the first line has to name the table's columns"),
            );
        }
        problems.extend(mapping.add_columns(naming, table));
        (mapping, problems)
    }

    /// The mapping of fields that are loaded into the columns of `table` that `planned` names, if it has all of them.
    ///
    /// # Errors
    /// At the first column of `naming` that cannot be added.
    pub(super) fn from_plan(
        planned: &PlannedFields,
        naming: &Naming,
        table: &Table,
    ) -> Result<Option<ColumnMapping>> {
        let PlannedFields { columns, made, ignored, unselected } = planned;
        let mut mapping = ColumnMapping {
            fields: columns.len(),
            ignored: ignored.clone(),
            unselected: unselected.clone(),
            made_names: made.clone(),
            date_order: DateOrder::from_date_style(&table.session.date_style),
            ..ColumnMapping::default()
        };
        for (field, name) in columns.iter().enumerate() {
            let Some(name) = name else { continue };
            let column = table.columns.iter().find(|column| column.name == *name && !column.generated);
            let Some(column) = column else { return Ok(None) };
            mapping.push(ValueSource::Field(field), column, table);
        }
        mapping.add_columns(naming, table).map_or(Ok(Some(mapping)), Err)
    }

    fn push(&mut self, source: ValueSource, column: &Column, table: &Table) {
        let (encoder, column) = (table.encoder(column), column.clone());
        self.columns.push(MappedColumn { source, column, encoder, conversion: None });
    }

    /// Add the columns that are not in the files; return what is wrong with the first that cannot be added.
    fn add_columns(&mut self, naming: &Naming, table: &Table) -> Option<Error> {
        naming.added.iter().find_map(|(name, value)| self.add_column(name, value, naming, table).err())
    }

    fn add_column(&mut self, name: &str, value: &AddedValue, naming: &Naming, table: &Table) -> Result<()> {
        let refuse = |reason: &str, help: &str| Err(cannot_add(name, value, reason, help));
        let own_name = naming.added_name(name);
        let Some(column) = table.columns.iter().find(|column| column.name == truncate(&own_name)) else {
            let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            let reason = format!("{} has no such column", table.name);
            return refuse(&reason, &format!("its columns are {}", names.join(", ")));
        };
        if column.generated {
            return refuse("it is a generated column, which the server computes", "leave it out");
        }
        if self.names().any(|loaded| loaded == column.name) {
            return refuse(ALREADY_LOADED, ONLY_ONCE);
        }
        let source = match value {
            AddedValue::File => ValueSource::File,
            AddedValue::Line => ValueSource::Line,
            AddedValue::Constant(text) => ValueSource::Constant(text.as_bytes().into()),
            AddedValue::Now => {
                let now = humantime::format_rfc3339_micros(std::time::SystemTime::now());
                ValueSource::Now(now.to_string().into_bytes().into())
            }
        };
        self.push(source, column, table);
        Ok(())
    }

    /// Convert values that are spelled as `options` say, and dates of the columns in `orders` from their order.
    ///
    /// # Errors
    /// When a constant cannot be read; and when numbers are spelled otherwise than PostgreSQL does, and a column is of type
    /// money: the server would take its decimal comma for a mark between thousands.
    pub(super) fn convert(&mut self, options: &InputOptions, orders: &[(&str, DateOrder)]) -> Result<()> {
        let spelling = &options.spelling;
        let is_money = |mapped: &&MappedColumn| mapped.column.base_name == "money";
        if let Some(mapped) = self.columns.iter().find(is_money).filter(|_| spelling.numbers().is_some()) {
            let message =
                format!("--decimal and --thousands do not apply to {}, of type money", mapped.column.name);
            return Err(
                Error::usage(message).with_help("make the column numeric, or write the amounts as 1234.50")
            );
        }
        for mapped in &mut self.columns {
            let conversion = match &mapped.encoder {
                Some(
                    Encoder::Int2
                    | Encoder::Int4
                    | Encoder::Int8
                    | Encoder::Float4
                    | Encoder::Float8
                    | Encoder::Numeric { .. },
                ) => spelling.numbers().map(Conversion::Number),
                Some(Encoder::Bool) => spelling.booleans().map(Conversion::Boolean),
                Some(Encoder::DateTime(
                    DateTimeType::Date | DateTimeType::Timestamp | DateTimeType::TimestampTz { .. },
                )) => {
                    let order = orders.iter().find(|(name, _)| *name == mapped.column.name);
                    let iso = (options.date_style == Some(DateStyle::Iso)).then_some(Conversion::IsoDate);
                    order.map(|(_, order)| Conversion::Date(*order)).or(iso)
                }
                _ => None,
            };
            match &mut mapped.source {
                ValueSource::Field(_) => mapped.conversion = conversion.map(Box::new),
                ValueSource::Constant(text) => {
                    convert_constant(text, conversion.as_ref(), mapped.encoder.as_ref()).map_err(
                        |expected| {
                            let (name, type_name) = (&mapped.column.name, &mapped.column.type_name);
                            let value = AddedValue::Constant(String::from_utf8_lossy(text).into_owned());
                            let reason = format!("cannot be read as {type_name}: {expected}");
                            cannot_add(name, &value, &reason, "correct the constant")
                        },
                    )?;
                }
                ValueSource::File | ValueSource::Line | ValueSource::Now(_) => {}
            }
        }
        Ok(())
    }

    /// The indexes of the fields that are loaded into columns of JSON.
    pub(super) fn json_fields(&self) -> Vec<usize> {
        let is_json = |mapped: &&MappedColumn| matches!(mapped.encoder, Some(Encoder::Json | Encoder::Jsonb));
        let numbers = self.columns.iter().filter(is_json).filter_map(MappedColumn::field_number);
        numbers.map(|number| number - 1).collect()
    }
}

/// Convert `text`, a constant, as values of the files are; the error is what `encoder` expects instead.
fn convert_constant(
    text: &mut Box<[u8]>,
    conversion: Option<&Conversion>,
    encoder: Option<&Encoder>,
) -> Result<(), String> {
    if let Some(conversion) = conversion {
        let mut converted = Vec::new();
        *text = conversion.apply(text, &mut converted)?.into();
    }
    match encoder.map(|encoder| encoder.encode(text, &mut Vec::new())) {
        Some(Err(Refusal::Invalid(expected))) => Err(expected),
        _ => Ok(()),
    }
}

/// The names that tell a header from data: those of the columns of `table`, and those that `naming` maps to one.
pub(super) fn header_names<'a>(table: Option<&'a Table>, naming: &'a Naming) -> Vec<&'a str> {
    let columns = table.into_iter().flat_map(|table| &table.columns).map(|column| column.name.as_str());
    columns.chain(naming.map.iter().map(|(name, _)| name.as_str())).collect()
}

/// A name for each field: from `--columns`, otherwise from the header, otherwise from the table.
fn field_names(header: Option<&Header>, naming: &Naming, table: &Table) -> Vec<String> {
    match (&naming.columns, header) {
        (Some(columns), _) => columns.clone(),
        (None, Some(header)) => header.names.clone(),
        // Generated columns are never written, so a file without a header has no fields for them.
        (None, None) => {
            let written = table.columns.iter().filter(|column| !column.generated);
            written.map(|column| quote(&column.name)).collect()
        }
    }
}

/// Builds a [`ColumnMapping`], field by field.
struct FieldMapper<'a> {
    names: &'a [String],
    /// The same, as flags may call them.
    own: &'a FieldNames<'a>,
    /// How many of the names are the same but for capitals and blanks around them.
    spellings: HashMap<String, usize>,
    /// The header, if the names are from it.
    header: Option<&'a Header>,
    file: &'a str,
    naming: &'a Naming,
    table: &'a Table,
    /// The columns of the table by name.
    columns: HashMap<&'a str, &'a Column>,
    /// The field that each column mapped so far is loaded from.
    taken: HashMap<&'a str, usize>,
    mapping: ColumnMapping,
    /// Names that no column of the table has, as messages quote them.
    unknown: Vec<String>,
}

impl<'a> FieldMapper<'a> {
    /// Add the column of `field`, from 0, to the mapping, or its name to those ignored or unknown.
    fn map_field(&mut self, field: usize) -> Result<()> {
        let (names, naming, table) = (self.names, self.naming, self.table);
        let name = names[field].as_str();
        if !self.own.is_selected(field) {
            self.leave_out(field);
            return Ok(());
        }
        let renamed = self.own.renamed(field);
        // The column that an earlier load made for this field.
        let made = self.own.made_column(field).filter(|_| renamed.is_none() && !self.mapping.is_positional);
        let made = made.and_then(|made| self.columns.get(made).copied());
        if name.trim().is_empty() && renamed.is_none() && made.is_none() {
            if naming.ignore_extra {
                self.mapping.ignored.push(String::new());
                return Ok(());
            }
            return Err(self.refuse(field, "the header has no name here").with_help(
                "the first line has to name the table's columns; --ignore-extra skips fields without a name",
            ));
        }
        if name.contains('\0') {
            return Err(self.refuse(field, NUL_IN_NAME).with_help(NUL_HELP));
        }
        let styled = self.styled(field);
        if made.is_some() {
            let made = self.own.made.iter().find(|made| made.field == field + 1);
            self.mapping.made_names.extend(made.cloned());
        }
        let Some(column) = made.or_else(|| self.column_for(&styled, renamed)) else {
            match (renamed, naming.ignore_extra) {
                (None, true) => self.mapping.ignored.push(name.to_owned()),
                _ => self.unknown.push(excerpt(renamed.unwrap_or(name).as_bytes())),
            }
            return Ok(());
        };
        if let Some(&other) = self.taken.get(column.name.as_str()) {
            let (other, name) = (names[other].trim(), name.trim());
            let how = if other == name { String::new() } else { format!(", as {other} and as {name}") };
            let who = self.namer();
            return Err(self
                .refuse(field, &format!("{who} {} twice{how}", column.name))
                .with_help(self.only_once()));
        }
        if column.generated {
            let reason = format!("{} is a generated column, which the server computes", column.name);
            return Err(self
                .refuse(field, &reason)
                .with_help("leave it out of the file, or skip it with --ignore-extra and --map"));
        }
        self.taken.insert(&column.name, field);
        self.mapping.push(ValueSource::Field(field), column, table);
        Ok(())
    }

    /// Note that `field` is not selected, and which column it would have been loaded into.
    fn leave_out(&mut self, field: usize) {
        let name = self.styled(field);
        let made = self.own.made_column(field).and_then(|made| self.columns.get(made).copied());
        let column = made.or_else(|| self.column_for(&name, self.own.renamed(field)));
        self.mapping.unselected_columns.extend(column.map(|column| column.name.clone()));
        self.mapping.unselected.push(self.own.shown(field));
    }

    /// The name of `field` in the style of the names of columns.
    fn styled(&self, field: usize) -> String {
        match (self.naming.style, self.header) {
            (NameStyle::SnakeCase, Some(_)) => self.naming.style.apply(&self.names[field]),
            _ => self.names[field].clone(),
        }
    }

    /// The column that a field called `name` is loaded into; `renamed` is the name that `--map` gives it.
    fn column_for(&self, name: &str, renamed: Option<&str>) -> Option<&'a Column> {
        if renamed.is_some() || self.header.is_none() {
            return self.columns.get(fold(renamed.unwrap_or(name))?.as_str()).copied();
        }
        let named = |name: &str| self.columns.get(truncate(name)).copied();
        let folded = named(&spelling(name));
        let exact = named(name.trim()).or_else(|| named(name));
        let mut candidates: Vec<&Column> = folded.into_iter().chain(exact).collect();
        // Of several names that fold to the same one, each that is exactly a column's name means that column.
        if self.spellings.get(&spelling(name)).is_some_and(|count| *count > 1) {
            candidates.reverse();
        }
        let is_free = |column: &&Column| !self.taken.contains_key(column.name.as_str());
        candidates.iter().copied().find(is_free).or(candidates.first().copied())
    }

    /// The remedy for a column named twice.
    fn only_once(&self) -> &'static str {
        match (self.header, &self.naming.columns) {
            (Some(_), None) => {
                "every column can be loaded only once: give the fields other names with --columns; if the first line is data, \
                 use --header no"
            }
            _ => ONLY_ONCE,
        }
    }

    /// Who names the columns, and the verb.
    fn namer(&self) -> &'static str {
        if self.naming.columns.is_some() { "--columns names" } else { "the header names" }
    }

    /// The error for `field`, from 0.
    fn refuse(&self, field: usize, reason: &str) -> Error {
        let (line, location) = match self.header.filter(|_| self.naming.columns.is_none()) {
            Some(header) => (format!(", line {}", header.line), Location::on_line(self.file, header.line)),
            None => (String::new(), Location::in_file(self.file)),
        };
        Error::input(format!("{}{line}, column {}: {reason}", self.file, field + 1))
            .at(location.in_column(field + 1))
    }

    /// The error for all names that the table does not have.
    fn unknown_names(&self) -> Option<Error> {
        if self.unknown.is_empty() {
            return None;
        }
        let line = self.header.map_or_else(String::new, |header| format!(", line {}", header.line));
        let (unknown, table, namer) = (listed(&self.unknown), &self.table.name, self.namer());
        let is_number = |name: &String| name.trim().parse::<f64>().is_ok();
        let is_data =
            self.header.is_some() && self.naming.columns.is_none() && self.names.iter().any(is_number);
        let guess = match other_delimiter(self.names) {
            None if looks_like_json(self.names) => Some(JSON_HELP.into()),
            None if is_data => {
                Some("if the first line is data, use --no-header, and --columns to name its fields".into())
            }
            delimiter => delimiter,
        };
        let help = guess.unwrap_or_else(|| {
            let columns: Vec<&str> = self.table.columns.iter().map(|column| column.name.as_str()).collect();
            format!("its columns are {}; rename with --map, or skip with --ignore-extra", columns.join(", "))
        });
        let message = format!("{}{line}: {namer} {unknown}, which {table} does not have", self.file);
        Some(Error::input(message).with_help(help))
    }
}

/// How often each of `names` occurs, by its [`spelling`].
fn spellings(names: &[String]) -> HashMap<String, usize> {
    let mut spellings = HashMap::with_capacity(names.len());
    for name in names {
        *spellings.entry(spelling(name)).or_default() += 1;
    }
    spellings
}

/// The remedy for a header that is JSON.
pub(super) const JSON_HELP: &str =
    "this looks like JSON: with an object on each line, load it with --format ndjson";

/// Whether `names` are the beginning of a JSON object or array rather than a header.
pub(super) fn looks_like_json(names: &[String]) -> bool {
    let first = names.first().map_or("", |name| name.trim_start());
    let inner = first.strip_prefix(['{', '[']).map(str::trim_start);
    inner.is_some_and(|inner| {
        inner.is_empty() || inner.starts_with(['"', '{', '[', '}', ']']) || inner.contains(':')
    })
}

/// The remedy for a header of a single name that contains another delimiter.
pub(super) fn other_delimiter(names: &[String]) -> Option<String> {
    let [name] = names else { return None };
    let (_, flag) = [(',', "','"), (';', "';'"), ('\t', "tab"), ('|', "'|'")]
        .into_iter()
        .find(|(sign, _)| name.contains(*sign))?;
    Some(format!("the fields seem to be separated by another character: --delimiter {flag}, or --sniff"))
}

//! Counts the dates whose meaning depends on the session's `DateStyle`.

use serde::Serialize;

use crate::csv::{Field, Record, excerpt};
use crate::load::date_order::{DateOrder, iso, numbers};
use crate::load::mapping::{ColumnMapping, ValueFormat, ValueSource};

/// The dates of a load that another `DateStyle` would read differently.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AmbiguousDates {
    /// Their number.
    pub count: u64,
    /// The number of dates in the same columns and notation that only the session's `DateStyle` can read.
    pub certain: u64,
    /// The first; `None` if there is none.
    pub first: Option<AmbiguousDate>,
}

/// A date, and two ways to read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AmbiguousDate {
    /// Name of the file.
    pub file: String,
    /// The line on which its record begins, from 1.
    pub line: u64,
    /// Name of the column.
    pub column: String,
    /// The date as written, in quotes.
    pub value: String,
    /// The date as loaded, such as `2026-08-10`.
    pub read_as: String,
    /// The order of day, month and year that it was read in: `MDY`, `DMY` or `YMD`.
    pub order: &'static str,
    /// The date in another order.
    pub other: String,
    /// That order.
    pub other_order: &'static str,
}

impl AmbiguousDates {
    /// Take those values of `record`, of the file `file`, into account that the server reads, because `formats` says so, in
    /// a session with the date order of `mapping`.
    pub(super) fn observe(
        &mut self,
        record: &Record<'_>,
        file: &str,
        mapping: &ColumnMapping,
        formats: &[ValueFormat],
    ) {
        let mut scratch = Vec::new();
        for (mapped, format) in mapping.columns.iter().zip(formats) {
            let ValueSource::Field(field) = mapped.source else { continue };
            if *format == ValueFormat::Binary || !mapped.is_date() || field >= record.len() {
                continue;
            }
            let Field::Value(value) = record.field(field, &mut scratch) else { continue };
            // Of an array or a range, each date by itself.
            for date in value.split(|byte| b"{}[](),\"".contains(byte)) {
                self.observe_date(date, mapping.date_order, |date| AmbiguousDate {
                    file: file.to_owned(),
                    line: record.line,
                    column: mapped.column.name.clone(),
                    ..date
                });
            }
        }
    }

    /// Take `value` into account, which is read in `order`; `place` adds where it is.
    fn observe_date(
        &mut self,
        value: &[u8],
        order: DateOrder,
        place: impl FnOnce(AmbiguousDate) -> AmbiguousDate,
    ) {
        let Some(numbers) = numbers(value) else { return };
        let Some(read) = order.read(numbers) else { return };
        let others = || DateOrder::ALL.into_iter().filter_map(|other| Some((other, other.read(numbers)?)));
        let Some((other_order, other)) = others().find(|(_, other)| *other != read) else {
            self.certain += u64::from(others().count() == 1);
            return;
        };
        self.count += 1;
        self.first.get_or_insert_with(|| {
            place(AmbiguousDate {
                file: String::new(),
                line: 0,
                column: String::new(),
                value: excerpt(value),
                read_as: iso(read),
                order: order.name(),
                other: iso(other),
                other_order: other_order.name(),
            })
        });
    }
}

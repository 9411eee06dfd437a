//! Why records are rejected that cannot be encoded, and what to do about them.

use crate::csv::{Notation, Record, excerpt, shortened};
use crate::load::chunk::rejected::Reason;
use crate::load::hints;
use crate::load::mapping::{MappedColumn, ValueSource, other_delimiter};

/// Why a record with a stray quote is refused.
pub(super) fn stray_quote(record: &Record<'_>) -> Reason {
    let field = record.stray_fields().first;
    Reason {
        help: "put the value in quotes and double those inside, or choose --stray-quotes keep".into(),
        ..Reason::new(format!("field {field} has a quote inside that does not enclose it"))
    }
}

/// Why `value`, in `record`, is rejected: the column cannot take it; the encoder `expected` something else.
pub(super) fn wrong_value(
    record: &Record<'_>,
    mapped: &MappedColumn,
    value: &[u8],
    expected: &str,
) -> Reason {
    if record.encoding() != encoding_rs::UTF_8 && std::str::from_utf8(value).is_err() {
        return wrong_bytes(record, mapped, value);
    }
    let type_name = &mapped.column.type_name;
    let is_text =
        matches!(mapped.source, ValueSource::Field(field) if record.notation(field) == Notation::Text);
    Reason {
        column: Some(mapped.column.name.clone()),
        field: mapped.field_number().map(|number| record.position(number - 1)),
        value: Some(shortened(value)),
        help: if std::str::from_utf8(value).is_err() {
            "give the file's encoding with --encoding, or let --sniff detect it".into()
        } else if is_text && record.line == 1 && value.first().is_some_and(u8::is_ascii_alphabetic) {
            "if the first line names the columns: leave --no-header out, or give --header yes".into()
        } else {
            let is_as_written = is_text && mapped.conversion.is_none();
            let hint = is_as_written.then(|| hints::of_value(mapped.encoder.as_ref(), value)).flatten();
            hint.unwrap_or_else(|| "correct the value, or leave it empty for NULL".into())
        },
        ..Reason::new(format!("cannot read {} as {type_name}: {expected}", excerpt(value)))
    }
}

/// Why `value` is rejected: part of it could not be decoded.
fn wrong_bytes(record: &Record<'_>, mapped: &MappedColumn, value: &[u8]) -> Reason {
    let encoding = record.encoding().name();
    Reason {
        column: Some(mapped.column.name.clone()),
        field: mapped.field_number().map(|number| record.position(number - 1)),
        value: Some(shortened(value)),
        help: "correct it, or give the file's encoding with --encoding".into(),
        ..Reason::new(format!("{} has bytes that are not {encoding}", excerpt(value)))
    }
}

/// Why a record without the `expected` number of fields is refused; `is_positional` as in [`ColumnMapping`].
pub(super) fn wrong_field_count(
    record: &Record<'_>,
    expected: usize,
    is_positional: bool,
    is_detected: bool,
) -> Reason {
    if let Some(defect) = record.defect() {
        return Reason { help: defect.help.into(), ..Reason::new(defect.message.clone()) };
    }
    let found = record.len();
    let fields = if found == 1 { "field" } else { "fields" };
    let raw = String::from_utf8_lossy(record.raw());
    let (reason, help) = if record.is_empty() {
        (
            format!("the line is empty, where {expected} fields were expected"),
            "remove the line, or skip all blank lines with --blank-lines skip".to_owned(),
        )
    } else {
        let help = match other_delimiter(&[raw.into_owned()]).filter(|_| found == 1 && !is_detected) {
            Some(delimiter) => delimiter,
            None if is_positional => {
                "without a header, the fields are the table's columns in order: name those of the file with --columns"
                    .to_owned()
            }
            None if found > expected => {
                "put values that contain the delimiter in quotes: \"Washington, D.C.\"".to_owned()
            }
            None => "write every field, and leave a field empty for NULL, or let --pad add what is missing at the end".to_owned(),
        };
        (format!("{found} {fields}, where {expected} were expected"), help)
    };
    Reason { help, ..Reason::new(reason) }
}

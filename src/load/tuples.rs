//! Records → chunks of encoded tuples, on a thread of its own.
//!
//! A tuple is what binary COPY calls one: a 16-bit field count, then for each field a 32-bit length (−1 for
//! NULL) and the value in binary format. The same length and bytes make a Bind parameter and an array
//! element, so every sink slices these chunks and none encodes anything itself.

use std::io::Read;

use bytes::{Buf, Bytes};
use tokio::sync::mpsc::Sender;

use crate::encode::Encoder;
use crate::progress::Counters;
use crate::source::{Field, Header, Record, Records, excerpt};
use crate::table::{Column, Table};
use crate::{Error, Result};

/// A chunk is handed on when it holds this many bytes.
const CHUNK_BYTES: usize = 128 * 1024;

/// One column that is loaded.
#[derive(Debug, Clone)]
pub struct Target {
    /// The table's column.
    pub column: Column,
    /// Writes its values.
    pub encoder: Encoder,
}

/// Tuples of consecutive records.
#[derive(Debug)]
pub struct Chunk {
    /// The tuples, back to back.
    pub tuples: Bytes,
    /// The line that each tuple's record began on.
    pub lines: Vec<u64>,
}

/// What the header's columns are in `table`, in the order of the file.
///
/// # Errors
/// When a name is unknown, given twice, or names a column that cannot be loaded.
pub fn targets(header: &Header, file: &str, table: &Table) -> Result<Vec<Target>> {
    let mut targets: Vec<Target> = Vec::with_capacity(header.names.len());
    let mut unknown = Vec::new();
    for (index, name) in header.names.iter().enumerate() {
        let refuse = |reason: String| {
            Error::input(format!("{file}, line {}, column {}: {reason}", header.line, index + 1))
        };
        if name.trim().is_empty() {
            return Err(refuse("the header has no name here".into())
                .with_help("the first line has to name the table's columns"));
        }
        let Some(column) = table.column(name.trim()) else {
            unknown.push(excerpt(name.as_bytes()));
            continue;
        };
        let Column { name, type_name, .. } = column;
        if targets.iter().any(|target| target.column.name == *name) {
            return Err(refuse(format!("the header names {name} twice"))
                .with_help("every column can be loaded once only"));
        }
        if column.generated {
            return Err(refuse(format!("{name} is a generated column, which the server computes"))
                .with_help("leave it out of the file"));
        }
        let Some(encoder) = table.encoder(column) else {
            return Err(refuse(format!("{name} has the type {type_name}, which cannot be loaded yet"))
                .with_help("numbers, booleans, text, bytea, uuid, json, network addresses, enums and arrays of these can"));
        };
        targets.push(Target { column: column.clone(), encoder });
    }
    if unknown.is_empty() {
        return Ok(targets);
    }
    let columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    Err(Error::input(format!(
        "{file}, line {}: the header names {}, which {} does not have",
        header.line,
        unknown.join(", "),
        table.name
    ))
    .with_help(format!(
        "its columns are {}; the first line of the file has to name them",
        columns.join(", ")
    )))
}

/// Encode every record that is left in `records` and send the chunks, of up to `chunk_rows` rows, to `chunks`.
///
/// The first record that `targets` do not take, or that cannot be read, ends the chunks with an error.
/// Nobody receiving any more ends them too: whoever stopped knows why.
pub fn encode_all<R: Read>(
    mut records: Records<R>,
    targets: &[Target],
    chunk_rows: usize,
    counters: &Counters,
    chunks: &Sender<Result<Chunk>>,
) {
    loop {
        let before = records.offset();
        let chunk = match encode_chunk(&mut records, targets, chunk_rows) {
            Ok(chunk) if chunk.lines.is_empty() => return,
            Ok(_) if counters.is_cancelled() => Err(Error::interrupted()),
            chunk => chunk,
        };
        let last = chunk.is_err();
        if let Ok(chunk) = &chunk {
            counters.add(chunk.lines.len() as u64, records.offset() - before);
        }
        if chunks.blocking_send(chunk).is_err() || last {
            return;
        }
    }
}

fn encode_chunk<R: Read>(records: &mut Records<R>, targets: &[Target], chunk_rows: usize) -> Result<Chunk> {
    let mut tuples = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
    let (mut lines, mut scratch) = (Vec::new(), Vec::new());
    while tuples.len() < CHUNK_BYTES && lines.len() < chunk_rows {
        let Some((record, file)) = records.next_named()? else { break };
        encode_record(record, targets, file, &mut tuples, &mut scratch)?;
        lines.push(record.line);
    }
    Ok(Chunk { tuples: tuples.into(), lines })
}

/// Append `record` as one tuple.
fn encode_record(
    record: Record<'_>,
    targets: &[Target],
    file: &str,
    tuples: &mut Vec<u8>,
    scratch: &mut Vec<u8>,
) -> Result<()> {
    if record.len() != targets.len() {
        return Err(wrong_field_count(record, targets, file));
    }
    // A table has at most 1,600 columns.
    tuples.extend_from_slice(&(targets.len() as i16).to_be_bytes());
    for (index, target) in targets.iter().enumerate() {
        match record.field(index, scratch) {
            Field::Null => tuples.extend_from_slice(&(-1_i32).to_be_bytes()),
            Field::Value(value) => {
                let length_at = tuples.len();
                tuples.extend_from_slice(&[0; 4]);
                target.encoder.encode(value, tuples).map_err(|refusal| {
                    let Column { name, type_name, .. } = &target.column;
                    Error::input(format!(
                        "{file}, line {}, column {} ({name}): cannot read {} as {type_name}: {refusal}",
                        record.line,
                        index + 1,
                        excerpt(value),
                    ))
                    .with_help("correct the value, or leave it empty for NULL")
                })?;
                let length = (tuples.len() - length_at - 4) as i32;
                tuples[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
            }
        }
    }
    Ok(())
}

fn wrong_field_count(record: Record<'_>, targets: &[Target], file: &str) -> Error {
    let place = format!("{file}, line {}", record.line);
    let expected = targets.len();
    if record.is_empty() {
        return Error::input(format!("{place}: the line is empty, where {expected} fields were expected"))
            .with_help("remove the line");
    }
    let (found, fields) = (record.len(), if record.len() == 1 { "field" } else { "fields" });
    Error::input(format!("{place}: {found} {fields}, where the header has {expected}")).with_help(
        if found > expected {
            "put values that hold a comma in quotes: \"Washington, D.C.\""
        } else {
            "write every field, and nothing between the commas for NULL"
        },
    )
}

impl Chunk {
    /// The tuples one by one.
    pub fn iter(&self) -> impl Iterator<Item = Tuple> + use<> {
        let mut rest = self.tuples.clone();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let fields = usize::from(rest.get_u16());
            let tuple = Tuple { fields, rest: rest.clone() };
            for _ in 0..fields {
                skip_field(&mut rest);
            }
            Some(tuple)
        })
    }
}

/// The fields of one tuple, each as its bytes, or `None` for NULL.
#[derive(Debug, Clone)]
pub struct Tuple {
    fields: usize,
    rest: Bytes,
}

impl Iterator for Tuple {
    type Item = Option<Bytes>;

    fn next(&mut self) -> Option<Option<Bytes>> {
        self.fields = self.fields.checked_sub(1)?;
        Some(skip_field(&mut self.rest))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.fields, Some(self.fields))
    }
}

impl ExactSizeIterator for Tuple {}

/// Take one length and its bytes from the front.
fn skip_field(rest: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(rest.get_i32()).ok()?;
    Some(rest.split_to(length))
}

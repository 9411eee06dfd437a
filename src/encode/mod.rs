//! The bytes of a CSV field → PostgreSQL's binary format of the column's type.
//!
//! Pure: no I/O, no connection. Each encoder knows a grammar that the type's input function (`int4in`,
//! `numeric_in`, … in `src/backend/utils/adt` of the server's source) takes too and means the same by. What is
//! outside of it is either certain to be refused by every server, or left to the server. A value is written
//! without its length, which the caller puts in front.
//!
//! Limits that the server checks on either way in (of `varchar(n)`, `numeric(p, s)`, a domain) are its own.

mod container;
mod datetime;
mod json;
mod network;
mod number;
mod text;
mod types;

use std::fmt;
use std::sync::Arc;

pub use crate::encode::container::{Array, Labels};
pub use crate::encode::datetime::DateTime;
pub use crate::encode::types::{SessionParams, Type, TypeKind};

/// Writes fields of one type; chosen once per column when a load starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoder {
    /// `smallint`: 2 bytes, big-endian.
    Int2,
    /// `integer`: 4 bytes, big-endian.
    Int4,
    /// `bigint`: 8 bytes, big-endian.
    Int8,
    /// `real`: IEEE 754, 4 bytes, big-endian.
    Float4,
    /// `double precision`: IEEE 754, 8 bytes, big-endian.
    Float8,
    /// `numeric`: number of digits, weight, sign, scale, and the digits to base 10,000, 2 bytes each.
    Numeric {
        /// Whether the server knows infinity (since version 14).
        infinity: bool,
    },
    /// `boolean`: one byte, 0 or 1.
    Bool,
    /// `text`, `varchar` and `char(n)`: the bytes themselves, in UTF-8; the server pads or refuses.
    Text,
    /// `name`: up to 63 bytes of text.
    Name {
        /// Whether the server stores UTF-8, so that we know where it cuts.
        utf8: bool,
    },
    /// `bytea`: the bytes themselves.
    Bytea {
        /// Whether the server stores UTF-8, so that we know which bytes it makes of a character.
        utf8: bool,
    },
    /// `uuid`: 16 bytes.
    Uuid,
    /// `json`: its text.
    Json,
    /// `jsonb`: a version, 1, and its text.
    Jsonb,
    /// `inet`: family, prefix length, 0, number of bytes, address.
    Inet,
    /// `cidr`: family, prefix length, 1, number of bytes, address.
    Cidr,
    /// `macaddr`: 6 bytes.
    Macaddr,
    /// `macaddr8`: 8 bytes.
    Macaddr8,
    /// Dates, times and spans of time.
    DateTime(DateTime),
    /// An enumeration: its label.
    Enum(Arc<Labels>),
    /// An array: dimensions, whether it has NULLs, the elements' type, bounds, and the elements.
    Array(Arc<Array>),
}

/// Why a field was not encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The server would refuse it too; this says what was expected.
    Invalid(String),
    /// The server may take it, but what it means is for the server to say.
    Unsure,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Invalid(expected) => expected,
            Refusal::Unsure => "only the server can tell what it means",
        })
    }
}

impl Encoder {
    /// The encoder for `column_type`, or `None` if only the server reads such values.
    pub fn new(column_type: &Type, session: &SessionParams) -> Option<Self> {
        match &column_type.kind {
            TypeKind::Base => Encoder::for_base_type(column_type.oid, session),
            TypeKind::Enum(labels) => Some(Encoder::Enum(Arc::new(Labels::new(labels)))),
            // Binary input checks a domain's constraints as text input does.
            TypeKind::Domain(base) => Encoder::new(base, session),
            TypeKind::Array { element, delimiter } => {
                let array = Array::new(Encoder::new(element, session)?, element.oid, *delimiter, session);
                Some(Encoder::Array(Arc::new(array)))
            }
            TypeKind::Other => None,
        }
    }

    /// The encoder for one of PostgreSQL's own types; `pg_type.dat` of its source lists them.
    fn for_base_type(oid: u32, session: &SessionParams) -> Option<Self> {
        let utc_session = session.is_in_utc();
        Some(match oid {
            16 => Encoder::Bool,
            17 => Encoder::Bytea { utf8: session.stores_utf8() },
            19 => Encoder::Name { utf8: session.stores_utf8() },
            20 => Encoder::Int8,
            21 => Encoder::Int2,
            23 => Encoder::Int4,
            25 | 1042 | 1043 => Encoder::Text,
            114 => Encoder::Json,
            650 => Encoder::Cidr,
            700 => Encoder::Float4,
            701 => Encoder::Float8,
            774 => Encoder::Macaddr8,
            829 => Encoder::Macaddr,
            869 => Encoder::Inet,
            1082 => Encoder::DateTime(DateTime::Date),
            1083 => Encoder::DateTime(DateTime::Time),
            1114 => Encoder::DateTime(DateTime::Timestamp),
            1184 => Encoder::DateTime(DateTime::TimestampTz { utc_session }),
            1186 => Encoder::DateTime(DateTime::Interval),
            1266 => Encoder::DateTime(DateTime::TimeTz { utc_session }),
            1700 => Encoder::Numeric { infinity: session.version_num >= 140_000 },
            2950 => Encoder::Uuid,
            3802 => Encoder::Jsonb,
            _ => return None,
        })
    }

    /// Append the value that `field` spells to `out`.
    ///
    /// # Errors
    /// When `field` is not a value of the type, or not certainly one; `out` is then as it was.
    #[inline]
    pub fn encode(&self, field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        match self {
            Encoder::Int2 => {
                let value = number::integer(field, i16::MIN.into(), i16::MAX.into())?;
                out.extend_from_slice(&(value as i16).to_be_bytes());
                Ok(())
            }
            Encoder::Int4 => {
                let value = number::integer(field, i32::MIN.into(), i32::MAX.into())?;
                out.extend_from_slice(&(value as i32).to_be_bytes());
                Ok(())
            }
            Encoder::Int8 => {
                let value = number::integer(field, i64::MIN, i64::MAX)?;
                out.extend_from_slice(&value.to_be_bytes());
                Ok(())
            }
            Encoder::Bool => {
                out.push(text::boolean(field)?.into());
                Ok(())
            }
            Encoder::Text => {
                text::check(field)?;
                out.extend_from_slice(field);
                Ok(())
            }
            Encoder::DateTime(kind) => kind.encode(field, out),
            _ => {
                let start = out.len();
                let encoded = self.encode_rarer(field, out);
                if encoded.is_err() {
                    out.truncate(start);
                }
                encoded
            }
        }
    }

    /// The types whose encoders may notice late that a value is none; not inlined into the common ones.
    fn encode_rarer(&self, field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        match self {
            Encoder::Int2
            | Encoder::Int4
            | Encoder::Int8
            | Encoder::Bool
            | Encoder::Text
            | Encoder::DateTime(_) => self.encode(field, out),
            Encoder::Float4 => number::float4(field, out),
            Encoder::Float8 => number::float8(field, out),
            Encoder::Numeric { infinity } => number::numeric(field, *infinity, out),
            Encoder::Name { utf8 } => text::name(field, *utf8, out),
            Encoder::Bytea { utf8 } => text::bytea(field, *utf8, out),
            Encoder::Uuid => text::uuid(field, out),
            Encoder::Json => json::json(field, out),
            Encoder::Jsonb => json::jsonb(field, out),
            Encoder::Inet => network::inet(field, out),
            Encoder::Cidr => network::cidr(field, out),
            Encoder::Macaddr => network::macaddr(field, out),
            Encoder::Macaddr8 => network::macaddr8(field, out),
            Encoder::Enum(labels) => labels.encode(field, out),
            Encoder::Array(array) => array.encode(field, out),
        }
    }
}

/// What C's `isspace` takes for white space in every locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// `field` without the white space around it, which PostgreSQL skips around numbers and booleans.
fn trim(field: &[u8]) -> &[u8] {
    if let (Some(first), Some(last)) = (field.first(), field.last())
        && !is_space(*first)
        && !is_space(*last)
    {
        return field;
    }
    let start = field.iter().position(|byte| !is_space(*byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !is_space(*byte)).map_or(start, |last| last + 1);
    &field[start..end]
}

/// The refusal of a `field` that no server takes, unless for a space that only its locale knows.
#[cold]
fn invalid(field: &[u8], expected: impl Into<String>) -> Refusal {
    if field.is_ascii() { Refusal::Invalid(expected.into()) } else { Refusal::Unsure }
}

#[cfg(test)]
mod tests;

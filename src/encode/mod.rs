//! The bytes of a CSV field → PostgreSQL's binary format of the column's type.
//!
//! Encoding is pure: no I/O and no connection. Each encoder accepts a subset of the grammar of the type's input
//! function (`int4in`, `numeric_in`, … in `src/backend/utils/adt` of the server's source), and gives every field in it
//! the same value. Any other field is either certain to be refused by every server, or left to the server. A value is
//! written without its length, which the caller adds in front.
//!
//! Limits that the server checks on binary input too (`varchar(n)`, `numeric(p, s)`, domains) are left to it.

mod container;
mod datetime;
mod json;
mod network;
mod number;
mod short;
mod text;
mod types;

use std::fmt;
use std::sync::Arc;

pub use crate::encode::container::{ArrayEncoder, EnumLabels};
pub use crate::encode::datetime::DateTimeType;
pub(crate) use crate::encode::datetime::calendar::days_in_month;
pub(crate) use crate::encode::short::SHORT;
pub use crate::encode::types::{SessionParams, Type, TypeKind};

/// Encodes the fields of one column; chosen once, by its type, when a load starts.
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
    /// `numeric`: number of digits, weight, sign, scale, and the digits in base 10,000, 2 bytes each.
    Numeric {
        /// Whether the server supports infinity (since version 14).
        infinity: bool,
    },
    /// `boolean`: 1 byte, 0 or 1.
    Bool,
    /// `text`, `varchar` and `char(n)`: the bytes themselves, in UTF-8; the server pads and checks the length.
    Text,
    /// `name`: up to 63 bytes of text.
    Name {
        /// Whether the server stores UTF-8, which determines where a long name is truncated.
        utf8: bool,
    },
    /// `bytea`: the bytes themselves.
    Bytea {
        /// Whether the server stores UTF-8, which determines the bytes of a literal character.
        utf8: bool,
    },
    /// `uuid`: 16 bytes.
    Uuid,
    /// `json`: its text.
    Json,
    /// `jsonb`: a version byte, 1, and its text.
    Jsonb,
    /// `inet`: family, prefix length, 0, number of bytes, address.
    Inet,
    /// `cidr`: family, prefix length, 1, number of bytes, address.
    Cidr,
    /// `macaddr`: 6 bytes.
    Macaddr,
    /// `macaddr8`: 8 bytes.
    Macaddr8,
    /// Dates, times and intervals.
    DateTime(DateTimeType),
    /// An enumeration: its label.
    Enum(Arc<EnumLabels>),
    /// An array: the number of dimensions, whether it contains NULLs, the element type, the bounds and the elements.
    Array(Arc<ArrayEncoder>),
}

/// Why a field was not encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Every server would refuse it. The text says what was expected.
    Invalid(String),
    /// The server may accept it, but its meaning may depend on the server's version or settings.
    NeedsServer,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Invalid(expected) => expected,
            Refusal::NeedsServer => "only the server can interpret it",
        })
    }
}

impl Encoder {
    /// The encoder for `column_type`; `None` if only the server can read values of this type.
    pub fn new(column_type: &Type, session: &SessionParams) -> Option<Self> {
        match &column_type.kind {
            TypeKind::Base => Encoder::for_base_type(column_type.oid, session),
            TypeKind::Enum(labels) => Some(Encoder::Enum(Arc::new(EnumLabels::new(labels)))),
            // Binary input checks a domain's constraints as text input does.
            TypeKind::Domain(base) => Encoder::new(base, session),
            TypeKind::Array { element, delimiter } => {
                let array =
                    ArrayEncoder::new(Encoder::new(element, session)?, element.oid, *delimiter, session);
                Some(Encoder::Array(Arc::new(array)))
            }
            TypeKind::Other => None,
        }
    }

    /// The encoder for a built-in type; `pg_type.dat` in the server's source lists their OIDs.
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
            1082 => Encoder::DateTime(DateTimeType::Date),
            1083 => Encoder::DateTime(DateTimeType::Time),
            1114 => Encoder::DateTime(DateTimeType::Timestamp),
            1184 => Encoder::DateTime(DateTimeType::TimestampTz { utc_session }),
            1186 => Encoder::DateTime(DateTimeType::Interval),
            1266 => Encoder::DateTime(DateTimeType::TimeTz { utc_session }),
            1700 => Encoder::Numeric { infinity: session.version_num >= 140_000 },
            2950 => Encoder::Uuid,
            3802 => Encoder::Jsonb,
            _ => return None,
        })
    }

    /// Append the value that `field` spells to `out`.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] when `field` is not a value of the type, [`Refusal::NeedsServer`] when only the server can
    /// interpret it; `out` is then unchanged.
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

    /// Append the length of the value that the first `length` bytes of `window` spell, and the value as
    /// [`Encoder::encode`] writes it; `false` if only that function can do it, and nothing is appended then.
    #[inline]
    pub(crate) fn encode_short(&self, window: &[u8; SHORT], length: usize, out: &mut Vec<u8>) -> bool {
        match self {
            Encoder::Text => short::put_text(window, length, out),
            // Numbers of that many digits fit into the type.
            Encoder::Int2 if length <= 4 => short::put_integer::<2>(window, length, out),
            Encoder::Int4 => short::put_integer::<4>(window, length, out),
            Encoder::Int8 => short::put_integer::<8>(window, length, out),
            Encoder::Bool => short::put_boolean(window, length, out),
            _ => false,
        }
    }

    /// Encode the less common types, whose encoders may fail after writing to `out`. Kept out of [`Encoder::encode`] so
    /// that the common types can be inlined.
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

/// Whether C's `isspace` treats `byte` as white space in every locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// Strip the surrounding white space, which PostgreSQL ignores around numbers and booleans.
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

/// The refusal of a `field` outside the grammar. If it is not ASCII, it may contain a character that is white space in
/// the server's locale, so only the server can decide.
#[cold]
fn invalid(field: &[u8], expected: impl Into<String>) -> Refusal {
    if field.is_ascii() { Refusal::Invalid(expected.into()) } else { Refusal::NeedsServer }
}

#[cfg(test)]
mod tests;

//! What an encoder needs to know about a column: its type, as in the catalog, and the session's parameters.

/// A data type, as described by `pg_type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// Its OID.
    pub oid: u32,
    /// Its kind.
    pub kind: TypeKind,
}

/// The kinds of types that encoding distinguishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeKind {
    /// A base type; its OID identifies it if it is built in.
    Base,
    /// An enumeration, with its labels in sort order.
    Enum(Vec<String>),
    /// A domain, with its base type, which may itself be a domain.
    Domain(Box<Type>),
    /// An array.
    Array {
        /// The type of its elements.
        element: Box<Type>,
        /// The byte between two elements: `typdelim` of their type.
        delimiter: u8,
    },
    /// A composite, a range, a multirange or a pseudo-type.
    Other,
}

/// The parameters of a session on which the meaning of a value depends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionParams {
    /// `server_version_num`: 150018 for version 15.18.
    pub version_num: i32,
    /// `server_encoding`: the encoding of the database. The client encoding is UTF-8.
    pub server_encoding: String,
    /// `TimeZone`.
    pub time_zone: String,
    /// `DateStyle`.
    pub date_style: String,
    /// `IntervalStyle`.
    pub interval_style: String,
    /// `array_nulls`: whether an unquoted `NULL` in an array literal is a NULL element.
    pub array_nulls: bool,
}

/// The parameters of a typical PostgreSQL 18: UTF-8, UTC and `initdb`'s default styles.
impl Default for SessionParams {
    fn default() -> Self {
        SessionParams {
            version_num: 180_000,
            server_encoding: "UTF8".into(),
            time_zone: "UTC".into(),
            date_style: "ISO, MDY".into(),
            interval_style: "postgres".into(),
            array_nulls: true,
        }
    }
}

impl SessionParams {
    /// Whether `TimeZone` is UTC, under one of its common names.
    pub fn is_in_utc(&self) -> bool {
        matches!(self.time_zone.as_str(), "UTC" | "Etc/UTC" | "GMT" | "Etc/GMT")
    }

    /// Whether the database stores text as UTF-8, and so exactly as it is sent.
    pub fn stores_utf8(&self) -> bool {
        self.server_encoding == "UTF8"
    }
}

//! What an encoder has to know of a column: its type, as the catalog has it, and the session's parameters.

/// A type, as `pg_type` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// Its OID.
    pub oid: u32,
    /// What sort of type it is.
    pub kind: TypeKind,
}

/// The sorts of types that are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeKind {
    /// A base type: its OID says which, if it is one of PostgreSQL's own.
    Base,
    /// An enumeration, with its labels.
    Enum(Vec<String>),
    /// A domain over another type, which may be a domain too.
    Domain(Box<Type>),
    /// An array.
    Array {
        /// The type of its elements.
        element: Box<Type>,
        /// What stands between two elements: `typdelim` of their type.
        delimiter: u8,
    },
    /// A composite, a range, a multirange or a pseudo-type.
    Other,
}

/// The parameters of a session that the meaning of a value depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionParams {
    /// `server_version_num`: 150018 is 15.18.
    pub version_num: i32,
    /// `server_encoding`: the encoding of the database; the client's is UTF-8.
    pub server_encoding: String,
    /// `TimeZone`.
    pub time_zone: String,
    /// `DateStyle`.
    pub date_style: String,
    /// `IntervalStyle`.
    pub interval_style: String,
    /// `array_nulls`: whether NULL in an array's literal is one.
    pub array_nulls: bool,
}

/// Those of a PostgreSQL 18 as it is set up mostly: UTF-8, UTC, and `initdb`'s own styles.
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
    /// Whether local times are in UTC, by one of the names that servers come with or that people set.
    pub fn is_in_utc(&self) -> bool {
        matches!(self.time_zone.as_str(), "UTC" | "Etc/UTC" | "GMT" | "Etc/GMT")
    }

    /// Whether text is stored in the bytes that we send.
    pub fn stores_utf8(&self) -> bool {
        self.server_encoding == "UTF8"
    }
}

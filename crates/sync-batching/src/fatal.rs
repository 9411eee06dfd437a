//! The error with which a server ends a session.

/// The error with which a server ends a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FatalError {
    /// The SQLSTATE, five characters.
    pub code: String,
    /// The message.
    pub message: String,
}

impl FatalError {
    /// The error in the `fields` of an `ErrorResponse`, if it ends the session.
    pub(crate) fn parse(fields: &[u8]) -> Option<FatalError> {
        let field = |name: u8| {
            let field = fields.split(|byte| *byte == 0).find(|field| field.first() == Some(&name))?;
            Some(String::from_utf8_lossy(&field[1..]).into_owned())
        };
        // In this field, unlike the one named S, the severity is not translated. PgBouncer sends only the latter.
        let severity = field(b'V').or_else(|| field(b'S'))?;
        let is_fatal = matches!(severity.as_str(), "FATAL" | "PANIC");
        is_fatal.then_some(FatalError { code: field(b'C')?, message: field(b'M')? })
    }
}

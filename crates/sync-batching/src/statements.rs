//! Statements that last no longer than the group that uses them.

use std::collections::HashMap;
use std::io;
use std::ops::Range;

use bytes::BytesMut;

use crate::wire::frontend_tag::{BIND, CLOSE, DESCRIBE, EXECUTE, PARSE};
use crate::wire::{put_header, put_message};

/// The number of messages with which the server answers the Parse, Bind and Execute of [`READ_ONLY`].
const READ_ONLY_ANSWERS: u8 = 4;

/// Makes the transaction read-only until it ends. `SET TRANSACTION READ ONLY` would draw a warning in a transaction that
/// was not begun explicitly.
const READ_ONLY: &[u8] = b"SELECT pg_catalog.set_config('transaction_read_only', 'on', true)";

/// Where the body of a message has the name of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StatementName {
    /// Nowhere: the message is about something else.
    Absent,
    /// More of the message is needed to tell, or to replace the name.
    Incomplete,
    /// Here, including the NUL that ends it.
    At(Range<usize>),
}

impl StatementName {
    /// Looks for a name in a message with this tag and a body of `length` bytes, of which `available` is the start.
    ///
    /// A Parse message has to be available as a whole.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if the body is complete and the name does not end.
    pub(crate) fn find(tag: u8, length: usize, available: &[u8]) -> io::Result<StatementName> {
        let body = &available[..length.min(available.len())];
        let start = match (tag, body.first()) {
            (PARSE, _) if body.len() < length => return Ok(StatementName::Incomplete),
            (PARSE, _) => Some(0),
            (BIND, _) => end_of_string(body, 0),
            (DESCRIBE | CLOSE, Some(b'S')) => Some(1),
            (DESCRIBE | CLOSE, None) => None,
            _ => return Ok(StatementName::Absent),
        };
        let name = start.and_then(|start| Some(start..end_of_string(body, start)?));
        match name {
            Some(name) => Ok(StatementName::At(name)),
            None if body.len() < length => Ok(StatementName::Incomplete),
            None => Err(invalid(format!("message {:?} is too short", tag as char))),
        }
    }
}

/// The position after the NUL that ends the string at `start`.
fn end_of_string(body: &[u8], start: usize) -> Option<usize> {
    let length = body.get(start..)?.iter().position(|byte| *byte == 0)?;
    Some(start + length + 1)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// The statements that the driver has prepared, by name with its NUL, and the one that the server has.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    /// What follows the name in the Parse message: the SQL and the types of the parameters.
    prepared: HashMap<Vec<u8>, Vec<u8>>,
    /// The driver's name for the server's unnamed statement; `None` if the server may not have one.
    current: Option<Vec<u8>>,
}

impl Statements {
    /// Notes that the server may no longer have the unnamed statement.
    pub(crate) fn forget_current(&mut self) {
        self.current = None;
    }

    /// Appends a Parse of the statement `name` unless the server has it, before a message with this tag that uses it.
    /// Returns the number of answers.
    pub(crate) fn put_parse_before(&mut self, tag: u8, name: &[u8], out: &mut BytesMut) -> u8 {
        if !matches!(tag, BIND | DESCRIBE) || self.current.as_deref() == Some(name) {
            return 0;
        }
        let Some(definition) = self.prepared.get(name) else { return 0 };
        put_message(out, PARSE, &[b"\0", definition]);
        self.current = Some(name.to_vec());
        1
    }

    /// Appends the start of a message, up to and including the name at `name`, before which it puts `prefix`.
    ///
    /// The message has this tag and a body of `length` bytes, of which `body` is the start. A statement that was
    /// prepared before prefixes were used keeps its name.
    pub(crate) fn put_prefixed(
        &mut self,
        tag: u8,
        length: usize,
        body: &[u8],
        name: Range<usize>,
        prefix: &str,
        out: &mut BytesMut,
    ) {
        let text = &body[name.clone()];
        if tag == PARSE && text != b"\0" {
            self.prepared.insert(text.to_vec(), Vec::new());
        }
        let is_known = self.prepared.contains_key(text);
        let prefix = if is_known { prefix.as_bytes() } else { b"" };
        put_header(out, tag, length + prefix.len());
        out.extend_from_slice(&body[..name.start]);
        out.extend_from_slice(prefix);
        out.extend_from_slice(text);
        if tag == CLOSE {
            self.prepared.remove(text);
        }
    }

    /// Appends the start of a message, up to and including the name at `name`, which it replaces with none.
    ///
    /// The message has this tag and a body of `length` bytes, of which `body` is the start.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if the message uses another statement than the one that the server has.
    pub(crate) fn put_unnamed(
        &mut self,
        tag: u8,
        length: usize,
        body: &[u8],
        name: Range<usize>,
        out: &mut BytesMut,
    ) -> io::Result<()> {
        let (prefix, text) = (&body[..name.start], &body[name.clone()]);
        if tag != PARSE && !self.prepared.contains_key(text) {
            // The unnamed statement, or one that was prepared before names were replaced.
            put_header(out, tag, length);
            out.extend_from_slice(&body[..name.end]);
            return Ok(());
        }
        match tag {
            PARSE => {
                self.current = Some(text.to_vec());
                if text != b"\0" {
                    self.prepared.insert(text.to_vec(), body[name.end..].to_vec());
                }
            }
            CLOSE => {
                self.current = None;
                self.prepared.remove(text);
            }
            _ if self.current.as_deref() != Some(text) => {
                return Err(invalid(format!("message {:?} uses a second statement", tag as char)));
            }
            _ => {}
        }
        put_header(out, tag, length + 1 - text.len());
        out.extend_from_slice(prefix);
        out.extend_from_slice(b"\0");
        Ok(())
    }
}

/// Appends the messages that make the transaction of a group read-only, and returns the number of answers.
pub(crate) fn put_read_only(out: &mut BytesMut) -> u8 {
    put_message(out, PARSE, &[b"\0", READ_ONLY, b"\0\0\0"]);
    // No parameters, and the result as text.
    put_message(out, BIND, &[b"\0\0\0\0\0\0\0\0"]);
    // All rows of the unnamed portal.
    put_message(out, EXECUTE, &[b"\0\0\0\0\0"]);
    READ_ONLY_ANSWERS
}

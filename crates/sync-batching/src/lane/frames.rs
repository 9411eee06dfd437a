//! The messages that a pipeline sends.

use std::io;
use std::iter;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::BytesMut;
use postgres_protocol::message::frontend::{self, BindError};
use tokio_postgres::types::{BorrowToSql, Format, IsNull, Type};

/// The size of a message's tag.
const TAG: usize = 1;

/// The size of the length of a message or value.
const LENGTH: usize = 4;

/// The length of a value that is NULL.
const NULL: [u8; LENGTH] = (-1_i32).to_be_bytes();

/// The size of the end of a message that binds values: one format for all columns.
const FORMAT_OF_COLUMNS: usize = 4;

/// Text format, in a message that says it of each value.
const TEXT: i16 = 0;

/// Binary format, as the driver asks for it.
const BINARY: i16 = 1;

/// A statement that was prepared by a [`Pipeline`](crate::Pipeline), for pipelines of the same connection.
///
/// It remains until the end of the connection, or until it is [closed](crate::Pipeline::close).
#[derive(Debug, Clone)]
pub struct LaneStatement {
    /// Unique in this process, so that no other connection has it.
    name: String,
    parameters: Vec<Type>,
    /// The message that binds values to it, up to the first one. Its length and their formats are still to be written.
    before_values: Vec<u8>,
    /// The rest of that message, and the message that executes all rows of the unnamed portal.
    after_values: Vec<u8>,
}

impl LaneStatement {
    /// A statement with a new name, and parameters of these types.
    ///
    /// The messages that execute it are made once, because making all of each again takes a client a twentieth more time.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] when there are more than 65,535 parameters.
    pub(super) fn new(parameters: &[Type]) -> io::Result<LaneStatement> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("lane{}", NEXT.fetch_add(1, Relaxed));
        let mut messages = BytesMut::new();
        let formats = iter::repeat_n(TEXT, parameters.len());
        let null = |_, _: &mut BytesMut| Ok(postgres_protocol::IsNull::Yes);
        frontend::bind("", &name, formats, parameters, null, [BINARY], &mut messages).map_err(|error| {
            match error {
                BindError::Conversion(error) => invalid(error),
                BindError::Serialization(error) => error,
            }
        })?;
        let end_of_values = messages.len() - FORMAT_OF_COLUMNS;
        frontend::execute("", 0, &mut messages)?;
        Ok(LaneStatement {
            name,
            parameters: parameters.to_vec(),
            before_values: messages[..end_of_values - LENGTH * parameters.len()].to_vec(),
            after_values: messages[end_of_values..].to_vec(),
        })
    }

    /// The types of its parameters.
    pub fn parameters(&self) -> &[Type] {
        &self.parameters
    }

    /// Appends the message that prepares it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] when the text contains a NUL; nothing is appended then.
    pub(super) fn put_parse(&self, sql: &str, out: &mut BytesMut) -> io::Result<()> {
        let types = self.parameters.iter().map(Type::oid);
        all_or_nothing(out, |out| frontend::parse(&self.name, sql, types, out))
    }

    /// Appends the message that closes it.
    ///
    /// # Errors
    ///
    /// None: the name contains no NUL.
    pub(super) fn put_close(&self, out: &mut BytesMut) -> io::Result<()> {
        frontend::close(b'S', &self.name, out)
    }

    /// Appends the messages that execute it with these `values`, and ask for a result in binary format.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] when there are more or fewer values than parameters, a value does not fit the type
    /// of its parameter, or they exceed 2 GiB; nothing is appended then.
    pub(super) fn put_execute<P: BorrowToSql>(
        &self,
        values: impl IntoIterator<Item = P>,
        out: &mut BytesMut,
    ) -> io::Result<()> {
        all_or_nothing(out, |out| {
            let start = out.len();
            self.put_values(values, out)?;
            let length = out.len() - start - TAG + FORMAT_OF_COLUMNS;
            put_length(&mut out[start + TAG..], length)?;
            out.extend_from_slice(&self.after_values);
            Ok(())
        })
    }

    /// Appends the message that binds `values` up to the last of them, without its length.
    fn put_values<P: BorrowToSql>(
        &self,
        values: impl IntoIterator<Item = P>,
        out: &mut BytesMut,
    ) -> io::Result<()> {
        out.extend_from_slice(&self.before_values);
        // The formats are followed by the number of values.
        let formats = out.len() - 2 - 2 * self.parameters.len();
        let mut values = values.into_iter();
        for (index, type_) in self.parameters.iter().enumerate() {
            let value = values.next().ok_or_else(|| invalid("there are fewer values than parameters"))?;
            let value = value.borrow_to_sql();
            if let Format::Binary = value.encode_format(type_) {
                out[formats + 2 * index..][..2].copy_from_slice(&BINARY.to_be_bytes());
            }
            let start = out.len();
            out.extend_from_slice(&NULL);
            if let IsNull::No = value.to_sql_checked(type_, out).map_err(invalid)? {
                let length = out.len() - start - LENGTH;
                put_length(&mut out[start..], length)?;
            }
        }
        match values.next() {
            None => Ok(()),
            Some(_) => Err(invalid("there are more values than parameters")),
        }
    }
}

/// Writes the length of a message or value at the start of `out`.
fn put_length(out: &mut [u8], length: usize) -> io::Result<()> {
    let length = i32::try_from(length).map_err(|_| invalid("the values exceed 2 GiB"))?;
    out[..LENGTH].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// Appends what `put` appends, unless it fails.
fn all_or_nothing(out: &mut BytesMut, put: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> io::Result<()> {
    let start = out.len();
    put(out).inspect_err(|_| out.truncate(start))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

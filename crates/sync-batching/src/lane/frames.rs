//! The messages that a pipeline sends.

use std::io;
use std::iter;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::BytesMut;
use postgres_protocol::message::frontend::{self, BindError};
use tokio_postgres::types::{BorrowToSql, Format, IsNull, Type};

use crate::wire::HEADER;

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
}

impl LaneStatement {
    /// A statement with a new name, and parameters of these types.
    pub(super) fn new(parameters: &[Type]) -> LaneStatement {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("lane{}", NEXT.fetch_add(1, Relaxed));
        LaneStatement { name, parameters: parameters.to_vec() }
    }

    /// The types of its parameters.
    pub fn parameters(&self) -> &[Type] {
        &self.parameters
    }

    /// Appends the message that prepares it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] when the text contains a NUL, or there are more than 65,535 parameters; nothing is
    /// appended then.
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

    /// Appends the messages that execute it with these `values`.
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
            self.put_bind(values, out)?;
            // All rows of the unnamed portal.
            frontend::execute("", 0, out)
        })
    }

    /// Appends the message that binds these `values`, and asks for a result in binary format.
    fn put_bind<P: BorrowToSql>(
        &self,
        values: impl IntoIterator<Item = P>,
        out: &mut BytesMut,
    ) -> io::Result<()> {
        // Behind the names of the portal, which has none, and of the statement, and the number of formats. A value tells
        // its format only when it is its turn.
        let formats = out.len() + HEADER + 1 + self.name.len() + 1 + 2;
        let mut values = values.into_iter();
        let bound = frontend::bind(
            "",
            &self.name,
            iter::repeat_n(TEXT, self.parameters.len()),
            self.parameters.iter().enumerate(),
            |(index, type_), out| {
                let value = values.next().ok_or("there are fewer values than parameters")?;
                let value = value.borrow_to_sql();
                if let Format::Binary = value.encode_format(type_) {
                    out[formats + 2 * index..][..2].copy_from_slice(&BINARY.to_be_bytes());
                }
                Ok(match value.to_sql_checked(type_, out)? {
                    IsNull::Yes => postgres_protocol::IsNull::Yes,
                    IsNull::No => postgres_protocol::IsNull::No,
                })
            },
            [BINARY],
            out,
        );
        match bound {
            Ok(()) if values.next().is_some() => Err(invalid("there are more values than parameters")),
            Ok(()) => Ok(()),
            Err(BindError::Conversion(error)) => Err(invalid(error)),
            Err(BindError::Serialization(error)) => Err(error),
        }
    }
}

/// Appends what `put` appends, unless it fails.
fn all_or_nothing(out: &mut BytesMut, put: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> io::Result<()> {
    let start = out.len();
    put(out).inspect_err(|_| out.truncate(start))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

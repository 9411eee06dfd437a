//! The messages that a pipeline sends.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{BorrowToSql, Format, IsNull, Type};

use crate::wire::frontend_tag::{CLOSE, PARSE};
use crate::wire::put_message;

/// The end of a Bind message, which asks for one format for all columns: binary, as the driver does.
const END_OF_BIND: &[u8] = b"\0\x01\0\x01";

/// The end of a Bind message, and the message that executes all rows of the unnamed portal.
const EXECUTE: &[u8] = b"\0\x01\0\x01E\0\0\0\x09\0\0\0\0\0";

/// A statement that was prepared by a [`Pipeline`](crate::Pipeline), for pipelines of the same connection.
///
/// It remains until the end of the connection, or until it is [closed](crate::Pipeline::close).
#[derive(Debug, Clone)]
pub struct LaneStatement {
    /// Unique in this process, so that no other connection has it.
    name: String,
    parameters: Vec<Type>,
    /// A Bind message up to the values, whose length is still to be written, with all values in text format.
    bind: Vec<u8>,
    /// Where in it the formats of the values are.
    formats: usize,
}

impl LaneStatement {
    /// A statement with a new name, and parameters of these types.
    pub(super) fn new(parameters: &[Type]) -> LaneStatement {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("lane{}", NEXT.fetch_add(1, Relaxed));
        // Preparing it refuses more parameters than that.
        let count = (parameters.len() as u16).to_be_bytes();
        // The portal has no name.
        let mut bind = [b"B\0\0\0\0\0", name.as_bytes(), b"\0", &count].concat();
        let formats = bind.len();
        bind.resize(formats + 2 * parameters.len(), 0);
        bind.extend_from_slice(&count);
        LaneStatement { name, parameters: parameters.to_vec(), bind, formats }
    }

    /// The types of its parameters.
    pub fn parameters(&self) -> &[Type] {
        &self.parameters
    }

    /// Appends the message that prepares it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] when the text contains a NUL, or there are more than 65,535 parameters.
    pub(super) fn put_parse(&self, sql: &str, out: &mut BytesMut) -> io::Result<()> {
        let count = u16::try_from(self.parameters.len()).map_err(|_| invalid("too many parameters"))?;
        if sql.contains('\0') {
            return Err(invalid("the statement contains a NUL"));
        }
        let oids: Vec<u8> = self.parameters.iter().flat_map(|type_| type_.oid().to_be_bytes()).collect();
        put_message(
            out,
            PARSE,
            &[self.name.as_bytes(), b"\0", sql.as_bytes(), b"\0", &count.to_be_bytes(), &oids],
        );
        Ok(())
    }

    /// Appends the message that closes it.
    pub(super) fn put_close(&self, out: &mut BytesMut) {
        put_message(out, CLOSE, &[b"S", self.name.as_bytes(), b"\0"]);
    }

    /// Appends the messages that execute it with these `values`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] when there are more or fewer values than parameters, or a value does not fit the
    /// type of its parameter; nothing is appended then.
    pub(super) fn put_execute<P: BorrowToSql>(
        &self,
        values: impl IntoIterator<Item = P>,
        out: &mut BytesMut,
    ) -> io::Result<()> {
        let start = out.len();
        let put = self.put_bind(values, out);
        if put.is_err() {
            out.truncate(start);
            return put;
        }
        let length = out.len() - start - 1 + END_OF_BIND.len();
        if i32::try_from(length).is_err() {
            out.truncate(start);
            return Err(invalid("the values exceed 2 GiB"));
        }
        out[start + 1..start + 5].copy_from_slice(&(length as u32).to_be_bytes());
        out.extend_from_slice(EXECUTE);
        Ok(())
    }

    /// Appends a Bind message up to its end, without its length.
    fn put_bind<P: BorrowToSql>(
        &self,
        values: impl IntoIterator<Item = P>,
        out: &mut BytesMut,
    ) -> io::Result<()> {
        let formats = out.len() + self.formats;
        out.extend_from_slice(&self.bind);
        let mut values = values.into_iter();
        for (index, type_) in self.parameters.iter().enumerate() {
            let value = values.next().ok_or_else(|| invalid("there are fewer values than parameters"))?;
            let value = value.borrow_to_sql();
            if let Format::Binary = value.encode_format(type_) {
                out[formats + 2 * index + 1] = 1;
            }
            put_value(out, |out| value.to_sql_checked(type_, out))?;
        }
        if values.next().is_some() {
            return Err(invalid("there are more values than parameters"));
        }
        Ok(())
    }
}

/// Appends the length of a value, -1 for NULL, and what `write` appends.
fn put_value(
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>>,
) -> io::Result<()> {
    let start = out.len();
    out.put_i32(-1);
    let is_null = write(out).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    if let IsNull::No = is_null {
        let length = i32::try_from(out.len() - start - 4).map_err(|_| invalid("a value exceeds 2 GiB"))?;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

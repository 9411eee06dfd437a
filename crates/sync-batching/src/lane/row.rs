//! A row, read where it arrived.

use std::io;

/// A row of a result, in the binary format, as it lies in the buffer.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    columns: usize,
    /// For each column its length, -1 for NULL, and its bytes; checked.
    body: &'a [u8],
}

/// The values of a [`Row`]: the bytes of each, or `None` for NULL.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    left: usize,
    body: &'a [u8],
}

impl<'a> Row<'a> {
    /// The row in the body of a `DataRow` message.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] when the lengths in it do not add up.
    pub(crate) fn new(message: &'a [u8]) -> io::Result<Row<'a>> {
        let (columns, body) = message.split_first_chunk().ok_or_else(ill_sized)?;
        let columns = usize::from(u16::from_be_bytes(*columns));
        let mut values = Values { left: columns, body };
        while values.left > 0 {
            values.next_value()?;
        }
        if values.body.is_empty() { Ok(Row { columns, body }) } else { Err(ill_sized()) }
    }

    /// The number of columns.
    pub fn len(&self) -> usize {
        self.columns
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.columns == 0
    }

    /// The values, from the first column on.
    pub fn values(&self) -> Values<'a> {
        Values { left: self.columns, body: self.body }
    }
}

impl<'a> Values<'a> {
    /// Takes the next value.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if the body ends before it.
    fn next_value(&mut self) -> io::Result<Option<&'a [u8]>> {
        let (length, rest) = self.body.split_first_chunk().ok_or_else(ill_sized)?;
        self.left -= 1;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            self.body = rest;
            return Ok(None);
        };
        let (value, rest) = rest.split_at_checked(length).ok_or_else(ill_sized)?;
        self.body = rest;
        Ok(Some(value))
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        if self.left == 0 { None } else { self.next_value().ok() }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Values<'_> {}

fn ill_sized() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the values of a row do not fill it")
}

//! Arrays in PostgreSQL's binary format, built from encoded values.

use bytes::{BufMut as _, Bytes, BytesMut};
use postgres_types::Type;

/// A type that the driver need not know more of than its OID.
pub(crate) fn array_of(oid: u32, name: &str) -> Type {
    Type::from_oid(oid).unwrap_or_else(|| {
        Type::new(format!("_{name}"), oid, tokio_postgres::types::Kind::Simple, String::new())
    })
}

/// One column's elements, behind room for the array's header.
pub(crate) struct Elements {
    pub(crate) bytes: BytesMut,
    pub(crate) any_null: bool,
}

/// A one-dimensional array's header: dimensions, whether it has NULLs, element type, length, lower bound.
const HEADER: usize = 20;

impl Elements {
    pub(crate) fn new() -> Self {
        Elements { bytes: BytesMut::zeroed(HEADER), any_null: false }
    }

    pub(crate) fn push(&mut self, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.bytes.put_i32(value.len() as i32);
            self.bytes.put_slice(value);
        } else {
            self.bytes.put_i32(-1);
            self.any_null = true;
        }
    }

    pub(crate) fn into_array(self, element: u32, rows: i32) -> Bytes {
        let Elements { mut bytes, any_null } = self;
        let mut header = &mut bytes[..HEADER];
        header.put_i32(1);
        header.put_i32(any_null.into());
        header.put_u32(element);
        header.put_i32(rows);
        header.put_i32(1);
        bytes.freeze()
    }
}

/// `values` as a one-dimensional binary array of elements of type `element`.
pub(crate) fn array<'a>(element: u32, values: impl Iterator<Item = Option<&'a [u8]>>) -> Bytes {
    let mut elements = Elements::new();
    let mut rows = 0;
    for value in values {
        elements.push(value);
        rows += 1;
    }
    elements.into_array(element, rows)
}

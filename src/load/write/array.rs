//! Arrays in PostgreSQL's binary format, built from encoded elements, and in its text format.

use bytes::{BufMut as _, Bytes, BytesMut};
use postgres_types::Type;

/// The array type `oid`, whose elements are of type `name`. The driver needs to know only the OID.
pub(crate) fn array_type(oid: u32, name: &str) -> Type {
    Type::from_oid(oid).unwrap_or_else(|| {
        Type::new(format!("_{name}"), oid, tokio_postgres::types::Kind::Simple, String::new())
    })
}

/// Builds a one-dimensional array, element by element.
pub(crate) struct ArrayBuilder {
    /// Space for the header, then the elements.
    pub(crate) bytes: BytesMut,
    pub(crate) has_null: bool,
}

/// Length of the header in bytes: number of dimensions, whether there are NULLs, element type, length, lower bound.
const HEADER_BYTES: usize = 20;

impl ArrayBuilder {
    pub(crate) fn new() -> Self {
        ArrayBuilder { bytes: BytesMut::zeroed(HEADER_BYTES), has_null: false }
    }

    /// Append an element; `None` for NULL.
    pub(crate) fn push(&mut self, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.bytes.put_i32(value.len() as i32);
            self.bytes.put_slice(value);
        } else {
            self.bytes.put_i32(-1);
            self.has_null = true;
        }
    }

    /// The array of `length` elements of the type with OID `element_oid`.
    pub(crate) fn finish(self, element_oid: u32, length: i32) -> Bytes {
        let ArrayBuilder { mut bytes, has_null } = self;
        let mut header = &mut bytes[..HEADER_BYTES];
        header.put_i32(1);
        header.put_i32(has_null.into());
        header.put_u32(element_oid);
        header.put_i32(length);
        header.put_i32(1);
        bytes.freeze()
    }
}

/// Builds a one-dimensional array in text format: `{"a",NULL,"b"}`.
pub(crate) struct TextArrayBuilder {
    pub(crate) bytes: BytesMut,
    delimiter: u8,
}

impl TextArrayBuilder {
    /// An empty array, whose elements `delimiter` will separate.
    pub(crate) fn new(delimiter: u8) -> Self {
        TextArrayBuilder { bytes: BytesMut::new(), delimiter }
    }

    /// Append an element; `None` for NULL.
    pub(crate) fn push(&mut self, value: Option<&[u8]>) {
        self.bytes.put_u8(if self.bytes.is_empty() { b'{' } else { self.delimiter });
        let Some(value) = value else {
            self.bytes.put_slice(b"NULL");
            return;
        };
        self.bytes.put_u8(b'"');
        for piece in value.split_inclusive(|byte| matches!(byte, b'"' | b'\\')) {
            // A piece ends with the byte to escape, except the last.
            match piece.split_last() {
                Some((&special @ (b'"' | b'\\'), before)) => {
                    self.bytes.put_slice(before);
                    self.bytes.put_slice(&[b'\\', special]);
                }
                _ => self.bytes.put_slice(piece),
            }
        }
        self.bytes.put_u8(b'"');
    }

    /// The complete array, of at least one element.
    pub(crate) fn finish(mut self) -> Bytes {
        self.bytes.put_u8(b'}');
        self.bytes.freeze()
    }
}

/// Build a one-dimensional array of `values`, which are of the type with OID `element_oid`.
pub(crate) fn encode_array<'a>(element_oid: u32, values: impl Iterator<Item = Option<&'a [u8]>>) -> Bytes {
    let mut array = ArrayBuilder::new();
    let mut length = 0;
    for value in values {
        array.push(value);
        length += 1;
    }
    array.finish(element_oid, length)
}

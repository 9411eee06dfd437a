//! Bind parameters from encoded tuples.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use postgres_types::{Format as WireFormat, IsNull, ToSql, Type, to_sql_checked};

use crate::load::chunk::Tuple;
use crate::load::mapping::ValueFormat;

/// An encoded value for a parameter of any type.
#[derive(Debug)]
pub(crate) struct EncodedParam<B = Bytes> {
    /// Its bytes; `None` for NULL.
    pub value: Option<B>,
    /// The format of the bytes.
    pub format: ValueFormat,
}

/// The fields of `tuple` as parameters.
pub(crate) fn parameters(
    tuple: Tuple,
    formats: Arc<[ValueFormat]>,
) -> impl ExactSizeIterator<Item = EncodedParam> {
    tuple.enumerate().map(move |(index, value)| EncodedParam { value, format: formats[index] })
}

impl<B: AsRef<[u8]> + std::fmt::Debug> ToSql for EncodedParam<B> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match &self.value {
            Some(bytes) => {
                out.put_slice(bytes.as_ref());
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> WireFormat {
        match self.format {
            ValueFormat::Binary => WireFormat::Binary,
            ValueFormat::Text => WireFormat::Text,
        }
    }

    to_sql_checked!();
}

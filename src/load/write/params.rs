//! Parameters that are encoded already, or that the server reads.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use postgres_types::{Format as WireFormat, IsNull, ToSql, Type, to_sql_checked};

use crate::load::chunk::Tuple;
use crate::load::mapping::ValueFormat;

/// A value of whatever type the parameter has, or NULL.
#[derive(Debug)]
pub(crate) struct Raw {
    /// Its bytes.
    pub value: Option<Bytes>,
    /// In which format they are.
    pub format: ValueFormat,
}

/// The fields of `tuple` as parameters.
pub(crate) fn parameters(tuple: Tuple, formats: Arc<[ValueFormat]>) -> impl ExactSizeIterator<Item = Raw> {
    tuple.enumerate().map(move |(index, value)| Raw { value, format: formats[index] })
}

impl ToSql for Raw {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match &self.value {
            Some(bytes) => {
                out.put_slice(bytes);
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

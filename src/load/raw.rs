//! Parameters that are encoded already.

use bytes::{BufMut, Bytes, BytesMut};
use postgres_types::{IsNull, ToSql, Type, to_sql_checked};

/// A value in the binary format of whatever type the parameter has, or NULL.
#[derive(Debug)]
pub struct Raw(pub Option<Bytes>);

impl ToSql for Raw {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match &self.0 {
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

    to_sql_checked!();
}

//! A result reduced to what is compared of it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use postgres_types::{FromSql, Type};

/// A result, as far as it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ResultDigest {
    /// The number of rows.
    pub rows: u64,
    /// The sum of the rows' hashes: rows may come in any order.
    pub digest: u64,
    /// The hash of the first value of the first row; `None` for NULL or no row.
    pub first: Option<u64>,
}

impl ResultDigest {
    /// Add a row of `values`.
    pub(crate) fn add_row<'a>(&mut self, mut values: impl Iterator<Item = Option<&'a [u8]>>) {
        let mut row = DefaultHasher::new();
        let first = values.next().flatten();
        if self.rows == 0 {
            self.first = first.map(hash);
        }
        first.hash(&mut row);
        values.for_each(|value| value.hash(&mut row));
        self.rows += 1;
        self.digest = self.digest.wrapping_add(row.finish());
    }

    /// Whether both results have the same rows, in any order.
    pub(crate) fn is_same(&self, other: &ResultDigest) -> bool {
        (self.rows, self.digest) == (other.rows, other.digest)
    }

    /// The digest of two statements of a transaction, of which `other` is the later one.
    pub(crate) fn and(self, other: ResultDigest) -> ResultDigest {
        let mut both = DefaultHasher::new();
        (self.digest, self.rows, other.digest, other.rows).hash(&mut both);
        ResultDigest {
            rows: self.rows + other.rows,
            digest: both.finish(),
            first: self.first.or(other.first),
        }
    }
}

/// The hash of `value`, as in [`ResultDigest::first`].
pub(crate) fn hash(value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A value of any type, as the server sent it.
pub(crate) struct Bytes<'a>(pub &'a [u8]);

impl<'a> FromSql<'a> for Bytes<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Bytes(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(rows: &[[Option<&str>; 2]]) -> ResultDigest {
        let mut digest = ResultDigest::default();
        for row in rows {
            digest.add_row(row.iter().map(|value| value.map(str::as_bytes)));
        }
        digest
    }

    #[test]
    fn results_differ_by_any_value_but_not_by_the_order_of_rows() {
        let rows = [[Some("1"), Some("a")], [Some("2"), None]];
        let [first, second] = rows;
        assert!(digest(&rows).is_same(&digest(&[second, first])));
        assert_ne!(digest(&rows).digest, digest(&[first, [Some("2"), Some("")]]).digest);
        assert_ne!(digest(&rows).digest, digest(&[first]).digest);
        assert_eq!(digest(&rows).first, Some(hash(b"1")));
    }
}

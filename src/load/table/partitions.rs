//! The partitions to which rows can be sent directly, and the one to which a row belongs.

use tokio_postgres::Client;

use crate::catalog::partition_hash::{HashedAs, hash_key};
use crate::catalog::{Table, TableName};
use crate::load::chunk::Chunk;
use crate::load::mapping::{ColumnMapping, ValueFormat};
use crate::load::options::Mode;
use crate::load::table::indexes::TREE;
use crate::{Error, Result};

/// With more than this number of partitions, the rows that wait for them would take too much memory.
const MANY: usize = 256;

/// Limit of the modulus of a partition.
const MAX_MODULUS: usize = 1 << 16;

/// Why the rows of the table `$1` cannot be sent to its partitions directly, or would not be treated as those sent to the
/// table. No row if the table is not partitioned, NULL if there is no reason. Further partitions of a partition do not
/// matter: the server finds them.
const OBSTACLE: &str = "
    SELECT CASE
        WHEN p.partstrat <> 'h' THEN 'it is not partitioned by hash'
        WHEN p.partexprs IS NOT NULL THEN 'its partition key has an expression'
        WHEN EXISTS (SELECT FROM unnest(p.partclass::pg_catalog.oid[], p.partcollation::pg_catalog.oid[]) k (class, own_collation)
                                 JOIN pg_catalog.pg_opclass o ON o.oid = class
                                 LEFT JOIN pg_catalog.pg_collation c ON c.oid = own_collation
                     WHERE NOT o.opcdefault OR NOT COALESCE(c.collisdeterministic, true))
            THEN 'its partition key has its own operator class, or a collation for which different texts are equal'
        WHEN pg_catalog.current_setting('server_encoding') <> 'UTF8' THEN 'the encoding of the database is not UTF-8'
        WHEN EXISTS (SELECT FROM tree JOIN pg_catalog.pg_trigger ON tgrelid = relid WHERE NOT tgisinternal)
            THEN 'it or a partition has triggers'
        WHEN EXISTS (SELECT FROM tree JOIN pg_catalog.pg_class c ON c.oid = relid WHERE c.relkind NOT IN ('r', 'p'))
            THEN 'a partition is a foreign table'
        WHEN EXISTS (SELECT FROM tree JOIN pg_catalog.pg_class c ON c.oid = relid
                     WHERE c.relrowsecurity OR NOT pg_catalog.has_table_privilege(c.oid, 'INSERT')
                           OR NOT pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'))
            THEN 'the session''s role may not insert all rows into each of its partitions'
        END
    FROM pg_catalog.pg_partitioned_table p WHERE p.partrelid = $1";

/// The columns of the partition key, and their types.
const KEY: &str = "
    SELECT attname, atttypid
    FROM pg_catalog.pg_partitioned_table p, unnest(p.partattrs::pg_catalog.int2[]) WITH ORDINALITY k (number, position)
         JOIN pg_catalog.pg_attribute ON attrelid = $1 AND attnum = number
    WHERE p.partrelid = $1 ORDER BY position";

/// The partitions of a table that is partitioned by hash. One that is being detached, which only PostgreSQL 14 and later
/// know, takes no more rows.
const PARTS: &str = "
    SELECT nspname, relname, bound[1]::pg_catalog.int4, bound[2]::pg_catalog.int4
    FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = inhrelid
         JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace,
         regexp_match(pg_catalog.pg_get_expr(relpartbound, c.oid), '(\\d+), \\w+ (\\d+)') bound
    WHERE inhparent = $1 AND COALESCE(pg_catalog.to_jsonb(i) ->> 'inhdetachpending', 'false') = 'false'
    ORDER BY c.oid";

/// The partitions of a table, each of which can be sent its rows.
#[derive(Debug)]
pub(crate) struct Partitions {
    /// Their names.
    pub(crate) names: Vec<TableName>,
    /// For each remainder of a hash, the index of the partition that takes the row; `None` if none does.
    by_remainder: Vec<Option<usize>>,
    /// The columns of the partition key: their indexes in a tuple, and how they are hashed.
    key: Vec<(usize, HashedAs)>,
}

/// How a load reaches the partitions of its table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PartitionsWritten {
    /// Number of partitions that rows were sent to directly; `None` if all rows were sent to the table.
    pub(crate) directly: Option<usize>,
    /// Why they were sent to the table; `None` if it is not partitioned, or the options demand it.
    pub(crate) not_because: Option<String>,
}

impl Partitions {
    /// The partitions of `table`; or the reason for which rows have to be sent to the table itself, which is empty if it is not
    /// partitioned. To be asked for while the table is locked.
    ///
    /// # Errors
    /// When the server does not tell.
    pub(crate) async fn find(
        client: &Client,
        table: &Table,
        mapping: &ColumnMapping,
    ) -> Result<Result<Partitions, String>> {
        let failed = |error| Error::database(&format!("look up the partitions of {}", table.name), error);
        let because = |reason: &str| Ok(Err(reason.to_owned()));
        let obstacle = client.query_opt(&format!("{TREE}{OBSTACLE}"), &[&table.oid]).await.map_err(failed)?;
        let Some(obstacle) = obstacle else { return because("") };
        if let Some(reason) = obstacle.get(0) {
            return because(reason);
        }
        // A partition may have other defaults than the table.
        if mapping.columns.len() < table.columns.len() {
            return because("the files do not fill all columns");
        }
        if mapping.formats(Mode::Copy).contains(&ValueFormat::Text) {
            return because("the server reads the values of a column");
        }
        let mut key = Vec::new();
        for column in client.query(KEY, &[&table.oid]).await.map_err(failed)? {
            let index = mapping.names().position(|name| name == column.get::<_, &str>(0));
            let Some(found) = index.zip(HashedAs::from_type(column.get(1))) else {
                return because("the type of its partition key is not one whose hash is known here");
            };
            key.push(found);
        }
        let parts = client.query(PARTS, &[&table.oid]).await.map_err(failed)?;
        let bounds =
            parts.iter().map(|part| (part.get::<_, i32>(2) as usize, part.get::<_, i32>(3) as usize));
        let modulus = bounds.clone().map(|(modulus, _)| modulus).max().unwrap_or_default();
        if parts.len() < 2 {
            return because("it has fewer than two partitions");
        }
        if parts.len() > MANY || modulus > MAX_MODULUS {
            return because("it has too many partitions");
        }
        let mut by_remainder = vec![None; modulus];
        for (index, (modulus, remainder)) in bounds.enumerate() {
            by_remainder.iter_mut().skip(remainder).step_by(modulus).for_each(|part| *part = Some(index));
        }
        let names = parts.iter().map(|part| TableName { schema: Some(part.get(0)), table: part.get(1) });
        Ok(Ok(Partitions { names: names.collect(), by_remainder, key }))
    }

    /// The index of the partition that takes tuple `row` of `chunk`; `None` if only the server can tell, or none does.
    pub(crate) fn of(&self, chunk: &Chunk, row: usize) -> Option<usize> {
        let value = |&(index, kind): &(usize, HashedAs)| Some((kind, chunk.fields(row).nth(index)?));
        let hash = hash_key(self.key.iter().filter_map(value))?;
        self.by_remainder[(hash % self.by_remainder.len() as u64) as usize]
    }
}

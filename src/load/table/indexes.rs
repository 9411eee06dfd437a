//! `--defer-indexes`: drops a table's indexes before loading, and rebuilds them afterwards.
//!
//! Sorting all keys once is cheaper than inserting each into the index. So a load into an empty table drops its
//! indexes, primary key and unique constraints, and recreates them at the end from the definitions that
//! `pg_get_indexdef` returns. This happens inside the load's transaction: no other session ever sees the table without
//! its indexes, and after an error they are unchanged. If one index cannot be restored exactly, all stay in place.
//!
//! An import does it in two transactions: the one that begins it drops them, and the one that finishes it rebuilds them from
//! what the ledger has kept. So the statements mean the same in a session with other settings.
//!
//! An index of a partitioned table holds nothing itself: each partition has one of its own that is attached to it. Dropping
//! the former drops the latter. They are rebuilt from the leaves upwards, as `pg_dump` restores them: first those of the
//! partitions, then that of the partitioned table, without descending, to which they are attached. It becomes valid with the
//! last one.

use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, Error as PgError, GenericClient, Row};

use crate::catalog::{Table, TableName};
use crate::csv::Inputs;
use crate::load::options::DeferIndexes;
use crate::load::table::{execute_each, index_progress};
use crate::postgres::server::SessionPool;
use crate::progress::{Phase, Progress};
use crate::sql::{literal, quote};
use crate::{Error, Result};

/// The indexes that a load dropped, and how to restore them.
#[expect(clippy::unsafe_derive_deserialize, reason = "the only unsafe code is that of tokio::select!")]
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct DeferredIndexes {
    /// Names of the indexes that were dropped. That of a partitioned table stands for those attached to it.
    #[serde(rename = "names")]
    pub deferred: Vec<String>,
    /// Why they stayed in place; `None` if they did not, or were expected to.
    #[serde(skip)]
    pub kept_because: Option<String>,
    /// Their table, as SQL.
    table: String,
    /// For each index, the statements that restore it, in order.
    restore: Vec<Vec<String>>,
}

/// What has become of a table whose indexes are dropped.
#[derive(Debug)]
pub(crate) enum IndexedTable {
    /// It has its name.
    Unchanged,
    /// It has another name, or is in another schema.
    Renamed { from: String, to: String },
    /// It was dropped, and its indexes with it.
    Gone,
}

/// Up to this number of indexes, it takes no noticeable time to drop and to rebuild them when there are no rows: about a
/// millisecond each.
const FEW: usize = 64;

/// With more than this number, they stay in place by default: each one that is dropped or built is locked until the commit,
/// and the server has room for a few thousand locks.
const MANY: usize = 1000;

/// Size of the files, for each index, from which it takes longer to insert all keys than to rebuild. Measured: 2 µs for each
/// row and index of its partition; assumed: 40 bytes for a row, and three indexes for a partition.
const BYTES_PER_INDEX: u64 = 8 * 1024;

/// The table `$1` and, if it is partitioned, all its partitions, with their distance from it. Unlike `pg_partition_tree()`,
/// this locks none of them.
pub(super) const TREE: &str = "
    WITH RECURSIVE tree (relid, level) AS (
        SELECT $1::pg_catalog.oid, 0
        UNION ALL
        SELECT inhrelid, level + 1
        FROM tree JOIN pg_catalog.pg_class c ON c.oid = relid AND c.relkind = 'p'
             JOIN pg_catalog.pg_inherits ON inhparent = relid
    )";

/// The reason for which all indexes of a table have to stay in place; no row if there is none. Triggers and policies may
/// query the table itself, for which they need its indexes. An index that cannot be attached to one on a foreign table
/// would stay invalid.
const TABLE_REASON: &str = "
    SELECT CASE WHEN level > 0 THEN 'partition ' || relname || ': ' ELSE '' END || reason
    FROM (
        SELECT level, c.oid, c.relname, CASE
            WHEN c.relkind NOT IN ('r', 'p') THEN 'it is a foreign table'
            WHEN NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')
                THEN 'only the owner of the table may drop them'
            WHEN NOT pg_catalog.has_schema_privilege(c.relnamespace, 'CREATE')
                THEN 'the session''s role may not create indexes in the table''s schema'
            WHEN EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal)
                THEN 'the table has triggers, which may need them'
            WHEN c.relrowsecurity THEN 'the table has row security policies, which may need them'
            END AS reason
        FROM tree JOIN pg_catalog.pg_class c ON c.oid = relid) c
    WHERE reason IS NOT NULL ORDER BY level, oid LIMIT 1";

/// The indexes of a table and of its partitions, with everything that has to be restored, and the reason for which an index
/// cannot be. Those of partitions come before those to which they are attached, otherwise they are in the order of their
/// creation. Dependent objects include views that group by the primary key.
const INDEXES: &str = "
    SELECT c.oid, c.relname, pg_catalog.pg_get_indexdef(c.oid) AS definition, n.conname, n.contype,
           n.condeferrable, n.condeferred, COALESCE(s.spcname, '') AS tablespace,
           i.indisclustered, i.indisreplident,
           pg_catalog.obj_description(c.oid, 'pg_class') AS comment,
           pg_catalog.obj_description(n.oid, 'pg_constraint') AS constraint_comment,
           t.relname AS table_name, t.relnamespace::pg_catalog.regnamespace::pg_catalog.text AS schema,
           c.relkind = 'I' AS is_partitioned, h.inhparent AS parent,
           pg_catalog.pg_get_constraintdef(n.oid) AS key,
           (SELECT string_agg(pg_catalog.quote_ident(option_name) || '=' || pg_catalog.quote_literal(option_value), ', ')
            FROM pg_catalog.pg_options_to_table(c.reloptions)) AS options,
           CASE
               WHEN NOT i.indisvalid THEN 'it is not valid'
               WHEN i.indisexclusion THEN 'it belongs to an exclusion constraint'
               WHEN level = 0 AND h.inhparent IS NOT NULL
                   THEN 'it is part of the index of a partitioned table'
               WHEN h.inhparent IS NOT NULL AND n.conparentid = 0
                   THEN 'its constraint is not part of that of the partitioned table'
               WHEN s.oid IS NOT NULL AND NOT pg_catalog.has_tablespace_privilege(s.oid, 'CREATE')
                   THEN 'the session''s role may not create indexes in its tablespace'
               WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute a
                            WHERE a.attrelid = c.oid
                              AND (COALESCE(a.attstattarget, -1) <> -1 OR a.attoptions IS NOT NULL))
                   THEN 'its columns have their own settings'
               WHEN EXISTS (SELECT FROM pg_catalog.pg_depend
                            WHERE classid = 'pg_catalog.pg_class'::regclass AND objid = c.oid
                              AND deptype IN ('e', 'x'))
                   THEN 'it belongs to an extension'
               ELSE (SELECT pg_catalog.pg_describe_object(classid, objid, objsubid) || ' depends on it'
                     FROM pg_catalog.pg_depend
                     WHERE (refclassid, refobjid) IN (('pg_catalog.pg_class'::regclass, c.oid),
                                                      ('pg_catalog.pg_constraint'::regclass, n.oid))
                       -- Neither the index of the constraint nor those of partitions.
                       AND deptype NOT IN ('i', 'P', 'S')
                     LIMIT 1)
           END AS reason
    FROM tree JOIN pg_catalog.pg_index i ON i.indrelid = relid
         JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
         JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
         LEFT JOIN pg_catalog.pg_inherits h ON h.inhrelid = c.oid
         LEFT JOIN pg_catalog.pg_constraint n
              ON n.conindid = c.oid AND n.conrelid = i.indrelid AND n.contype IN ('p', 'u', 'x')
         LEFT JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace
    ORDER BY level DESC, t.oid, c.oid";

/// Settings under which the server writes definitions that mean the same in every session: with all names qualified, and with
/// constants that can be read in one way only.
const PORTABLE: &str = "SET LOCAL search_path = ''; SET LOCAL extra_float_digits = 3;
                        SET LOCAL DateStyle = ISO; SET LOCAL IntervalStyle = postgres";

/// Settings under which such constants are read.
const READ_PORTABLE: [&str; 2] = ["SET LOCAL DateStyle = ISO", "SET LOCAL IntervalStyle = postgres"];

impl DeferredIndexes {
    /// Drop the indexes of `table` before `inputs` are loaded, unless they cannot be restored, or there is another reason not
    /// to drop them, which [`DeferIndexes::Always`] overrides.
    ///
    /// # Errors
    /// When `defer` is [`DeferIndexes::Always`] and they cannot be restored exactly, or the server refuses.
    pub(crate) async fn defer(
        client: &impl GenericClient,
        table: &Table,
        defer: DeferIndexes,
        inputs: &Inputs,
    ) -> Result<DeferredIndexes> {
        let name = &table.name;
        let failed = |error| Error::database(&format!("look up the indexes of {name}"), error);
        let (of_table, of_indexes) = (format!("{TREE}{TABLE_REASON}"), format!("{TREE}{INDEXES}"));
        let indexes = client.query(&of_indexes, &[&table.oid]).await.map_err(failed)?;
        if indexes.is_empty() {
            return Ok(DeferredIndexes::default());
        }
        let table_reason = client.query_opt(&of_table, &[&table.oid]).await.map_err(failed)?;
        let obstacle = table_reason.map(|reason| reason.get(0));
        // Those of the table itself first.
        let obstacle: Option<String> = obstacle.or_else(|| indexes.iter().rev().find_map(index_reason));
        let kept_because = match (obstacle, defer) {
            (Some(obstacle), DeferIndexes::Always) => {
                return Err(Error::usage(format!(
                    "--defer-indexes always: the indexes of {name} have to stay in place: {obstacle}"
                ))
                .with_help("use --defer-indexes auto, or never"));
            }
            (None, DeferIndexes::Always) => None,
            (Some(obstacle), _) => Some(obstacle),
            (None, _) if !inputs.can_be_read_again() => {
                Some("the input cannot be read again to find a row that violates them".to_owned())
            }
            (None, _) => too_many(indexes.len(), inputs.size()),
        };
        if kept_because.is_some() {
            return Ok(DeferredIndexes { kept_because, ..DeferredIndexes::default() });
        }
        // Another session may have changed them in the meantime: lock them, then look them up again.
        execute_each(client, &lock_statements(&indexes, name)).await.map_err(failed)?;
        let locked = look_up_portable(client, &of_indexes, table.oid).await.map_err(failed)?;
        let oids = |indexes: &[Row]| indexes.iter().map(|index| index.get("oid")).collect::<Vec<u32>>();
        if oids(&locked) != oids(&indexes) || locked.iter().any(|index| index_reason(index).is_some()) {
            let kept_because = Some("another session changed them at the same time".to_owned());
            return Ok(DeferredIndexes { kept_because, ..DeferredIndexes::default() });
        }
        let indexes = locked;
        // What is attached to an index goes with it.
        let whole = || indexes.iter().filter(|index| parent(index).is_none());
        let dropped = execute_each(client, &whole().map(drop_statement).collect::<Vec<_>>()).await;
        dropped.map_err(|error| Error::database(&format!("defer the indexes of {name}"), error))?;
        Ok(DeferredIndexes {
            deferred: whole().map(|index| index.get("relname")).collect(),
            kept_because: None,
            table: name.sql(),
            restore: (0..indexes.len()).map(|number| restore_statements(&indexes, number)).collect(),
        })
    }

    /// Whether none was dropped.
    pub(crate) fn is_empty(&self) -> bool {
        self.restore.is_empty()
    }

    /// The statements that restore them, in order, for one transaction.
    pub(crate) fn statements(&self) -> Vec<String> {
        self.restore.concat()
    }

    /// Where their table is now, which has this `oid`: the statements that restore them have its old name.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn find_table(&self, client: &Client, oid: u32) -> Result<IndexedTable, PgError> {
        let sql = "SELECT c.oid::pg_catalog.regclass::pg_catalog.text,
                          COALESCE(pg_catalog.to_regclass($1)::pg_catalog.oid = c.oid, false)
                   FROM pg_catalog.pg_class AS c WHERE c.oid = $2";
        Ok(match client.query_opt(sql, &[&self.table, &oid]).await? {
            None => IndexedTable::Gone,
            Some(row) if row.get(1) => IndexedTable::Unchanged,
            Some(row) => IndexedTable::Renamed { from: self.table.clone(), to: row.get(0) },
        })
    }

    /// Restore them without showing any progress; otherwise as [`DeferredIndexes::rebuild`].
    ///
    /// # Errors
    /// As [`DeferredIndexes::rebuild`].
    pub(crate) async fn restore(&self, client: &Client) -> Result<(), PgError> {
        execute_each(client, &self.statements()).await
    }

    /// Rebuild the indexes, and show in `progress` which one. This sets `default_tablespace`, `DateStyle` and `IntervalStyle` for
    /// the rest of the transaction.
    ///
    /// # Errors
    /// When the server refuses because a key is a duplicate or too long. It does not tell which rows are at fault.
    pub(crate) async fn rebuild(
        &self,
        client: &Client,
        pool: &SessionPool,
        progress: &Progress,
    ) -> Result<(), PgError> {
        if self.is_empty() {
            return Ok(());
        }
        let pid = index_progress::backend(client, pool).await;
        let of = self.restore.len();
        for (statements, number) in self.restore.iter().zip(1..) {
            progress.begin(Phase::BuildingIndex { number, of }, None);
            tokio::select! {
                built = execute_each(client, statements) => built?,
                () = index_progress::watch(pid, pool, progress) => unreachable!("it never ends"),
            }
        }
        Ok(())
    }
}

/// Whether `table`, or one of its partitions, has an index.
///
/// # Errors
/// When the server does not answer.
pub(crate) async fn has_indexes(client: &Client, table: &Table) -> Result<bool> {
    let sql = format!(
        "{TREE} SELECT EXISTS (SELECT FROM tree JOIN pg_catalog.pg_index ON indrelid = relid) AS has_indexes"
    );
    let row = client.query_one(&sql, &[&table.oid]).await;
    let row =
        row.map_err(|error| Error::database(&format!("look up the indexes of {}", table.name), error))?;
    Ok(row.get(0))
}

/// The rows of [`INDEXES`] for the table `oid`, with definitions that mean the same in every session.
async fn look_up_portable(client: &impl GenericClient, sql: &str, oid: u32) -> Result<Vec<Row>, PgError> {
    // Undone below, for the rows are to be read with the settings of the session.
    client.batch_execute(&format!("SAVEPOINT look_up; {PORTABLE}")).await?;
    let rows = client.query(sql, &[&oid]).await?;
    client.batch_execute("ROLLBACK TO look_up; RELEASE look_up").await?;
    Ok(rows)
}

/// Why `count` indexes should stay in place while files of this size, in `bytes`, are loaded; `None` if there is no reason.
fn too_many(count: usize, bytes: Option<u64>) -> Option<String> {
    if count > MANY {
        return Some(format!("there are {count}, each of which the server would have to lock"));
    }
    let is_small = bytes.is_some_and(|bytes| bytes < count as u64 * BYTES_PER_INDEX);
    (count > FEW && is_small)
        .then(|| format!("there are {count}, which would take longer to rebuild than the files to load"))
}

/// Why `index` cannot be restored; `None` if it can.
fn index_reason(index: &Row) -> Option<String> {
    let reason: Option<&str> = index.get("reason");
    reason.map(|reason| format!("{}: {reason}", index.get::<_, &str>("relname")))
}

/// The OID of the index to which `index` is attached.
fn parent(index: &Row) -> Option<u32> {
    index.get("parent")
}

/// The name in SQL of an index or, by another `column` of its row, of its table, which is in the same schema.
fn sql_name(index: &Row, column: &str) -> String {
    format!("{}.{}", index.get::<_, &str>("schema"), quote(index.get(column)))
}

/// The statement that attaches `index` to the index of which it is a part; `None` if there is no such index.
fn attach_statement(indexes: &[Row], index: &Row) -> Option<String> {
    let parent = parent(index)?;
    let whole = indexes.iter().find(|whole| whole.get::<_, u32>("oid") == parent)?;
    let [whole, part] = [whole, index].map(|index| sql_name(index, "relname"));
    Some(format!("ALTER INDEX {whole} ATTACH PARTITION {part}"))
}

/// Statements that lock `table` and its `indexes`, without an effect of their own.
fn lock_statements(indexes: &[Row], table: &TableName) -> Vec<String> {
    let lock_index = |index: &Row| {
        // No index has this parameter, and one of a partitioned table has none to reset.
        let reset = || format!("ALTER INDEX {} RESET (user_catalog_table)", sql_name(index, "relname"));
        let reset = (!index.get::<_, bool>("is_partitioned")).then(reset);
        // This locks both. They are attached to each other already.
        reset.into_iter().chain(attach_statement(indexes, index))
    };
    let lock_table = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", table.sql());
    std::iter::once(lock_table).chain(indexes.iter().flat_map(lock_index)).collect()
}

fn drop_statement(index: &Row) -> String {
    match index.get::<_, Option<&str>>("conname") {
        Some(constraint) => {
            format!("ALTER TABLE {} DROP CONSTRAINT {}", sql_name(index, "table_name"), quote(constraint))
        }
        None => format!("DROP INDEX {}", sql_name(index, "relname")),
    }
}

/// The statements that create `index` and its constraint, if it has one.
fn create_statements(index: &Row) -> Vec<String> {
    let definition: String = index.get("definition");
    let Some(constraint) = index.get::<_, Option<&str>>("conname") else { return vec![definition] };
    let deferrable = match (index.get("condeferrable"), index.get("condeferred")) {
        (true, true) => " DEFERRABLE INITIALLY DEFERRED",
        (true, false) => " DEFERRABLE",
        (false, _) => "",
    };
    let (table, constraint) = (sql_name(index, "table_name"), quote(constraint));
    if index.get("is_partitioned") {
        // A partitioned table takes no existing index for a constraint.
        let key: &str = index.get("key");
        let key = key.strip_suffix(deferrable).unwrap_or(key);
        let options: Option<&str> = index.get("options");
        let with = options.map(|options| format!(" WITH ({options})")).unwrap_or_default();
        return vec![format!("ALTER TABLE ONLY {table} ADD CONSTRAINT {constraint} {key}{with}{deferrable}")];
    }
    let kind = if index.get::<_, i8>("contype").cast_unsigned() == b'p' { "PRIMARY KEY" } else { "UNIQUE" };
    let name = quote(index.get("relname"));
    vec![
        definition,
        format!("ALTER TABLE {table} ADD CONSTRAINT {constraint} {kind} USING INDEX {name}{deferrable}"),
    ]
}

/// The statements that restore one of `indexes`, after those before it.
fn restore_statements(indexes: &[Row], number: usize) -> Vec<String> {
    let index = &indexes[number];
    let (table, name) = (sql_name(index, "table_name"), quote(index.get("relname")));
    let first = if number == 0 { &READ_PORTABLE[..] } else { &[] };
    let mut statements: Vec<String> = first.iter().map(|&set| set.to_owned()).collect();
    // The server's definition does not name the tablespace.
    let tablespace: &str = index.get("tablespace");
    if number == 0 || indexes[number - 1].get::<_, &str>("tablespace") != tablespace {
        statements.push(format!("SET LOCAL default_tablespace = {}", literal(tablespace)));
    }
    statements.extend(create_statements(index));
    if index.get("is_partitioned") {
        let parts = indexes.iter().filter(|part| parent(part) == Some(index.get("oid")));
        statements.extend(parts.filter_map(|part| attach_statement(indexes, part)));
    }
    let constraint: Option<&str> = index.get("conname");
    let constraint_comment: Option<&str> = index.get("constraint_comment");
    if let (Some(constraint), Some(comment)) = (constraint, constraint_comment) {
        let (constraint, comment) = (quote(constraint), literal(comment));
        statements.push(format!("COMMENT ON CONSTRAINT {constraint} ON {table} IS {comment}"));
    }
    if let Some(comment) = index.get::<_, Option<&str>>("comment") {
        let sql = sql_name(index, "relname");
        statements.push(format!("COMMENT ON INDEX {sql} IS {}", literal(comment)));
    }
    if index.get("indisclustered") {
        statements.push(format!("ALTER TABLE {table} CLUSTER ON {name}"));
    }
    if index.get("indisreplident") {
        statements.push(format!("ALTER TABLE {table} REPLICA IDENTITY USING INDEX {name}"));
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_indexes_stay_in_place_where_that_is_faster() {
        for (count, bytes, is_kept) in [
            (3, Some(1), false),
            (300, Some(1_000_000), true),
            (300, Some(10_000_000), false),
            (300, None, false),
            (1001, Some(u64::MAX), true),
        ] {
            assert_eq!(too_many(count, bytes).is_some(), is_kept, "{count} indexes, {bytes:?} bytes");
        }
    }
}

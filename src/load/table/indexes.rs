//! `--defer-indexes`: drops a table's indexes before loading, and rebuilds them afterwards.
//!
//! Sorting all keys once is cheaper than inserting each into the index. So a load into an empty table drops its
//! indexes, primary key and unique constraints, and recreates them at the end from the definitions that
//! `pg_get_indexdef` returns. This happens inside the load's transaction: no other session ever sees the table without
//! its indexes, and after an error they are unchanged. If one index cannot be restored exactly, all stay in place.

use tokio_postgres::{Client, GenericClient, Row};

use crate::catalog::{Table, TableName};
use crate::load::options::DeferIndexes;
use crate::load::table::index_progress;
use crate::postgres::server::SessionPool;
use crate::progress::{Phase, Progress};
use crate::sql::{literal, quote};
use crate::{Error, Result};

/// The indexes that a load dropped, and how to restore them.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeferredIndexes {
    /// Names of the indexes that were dropped.
    pub deferred: Vec<String>,
    /// Why they stayed in place; `None` if they did not, or were expected to.
    pub kept_because: Option<String>,
    /// For each index, the statements that restore it, in order.
    restore: Vec<Vec<String>>,
}

/// The reason for which all indexes of a table have to stay in place; NULL if there is none. Triggers and policies may
/// query the table itself, for which they need its indexes.
const TABLE_REASON: &str = "
    SELECT CASE
        WHEN c.relkind <> 'r' THEN 'the table is partitioned'
        WHEN NOT pg_catalog.pg_has_role(c.relowner, 'USAGE') THEN 'only the owner of the table may drop them'
        WHEN NOT pg_catalog.has_schema_privilege(c.relnamespace, 'CREATE')
            THEN 'the session''s role may not create indexes in the table''s schema'
        WHEN EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal)
            THEN 'the table has triggers, which may need them'
        WHEN c.relrowsecurity THEN 'the table has row security policies, which may need them'
        END
    FROM pg_catalog.pg_class c WHERE c.oid = $1";

/// The indexes of a table in the order of their creation, with everything that has to be restored, and the reason for
/// which an index cannot be. Dependent objects include views that group by the primary key.
const INDEXES: &str = "
    SELECT c.oid, c.relname, pg_catalog.pg_get_indexdef(c.oid) AS definition, n.conname, n.contype,
           n.condeferrable, n.condeferred, COALESCE(s.spcname, '') AS tablespace,
           i.indisclustered, i.indisreplident,
           pg_catalog.obj_description(c.oid, 'pg_class') AS comment,
           pg_catalog.obj_description(n.oid, 'pg_constraint') AS constraint_comment,
           CASE
               WHEN NOT i.indisvalid THEN 'it is not valid'
               WHEN i.indisexclusion THEN 'it belongs to an exclusion constraint'
               WHEN EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = c.oid)
                   THEN 'it is part of the index of a partitioned table'
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
                       AND deptype <> 'i'
                     LIMIT 1)
           END AS reason
    FROM pg_catalog.pg_index i
         JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
         LEFT JOIN pg_catalog.pg_constraint n
              ON n.conindid = c.oid AND n.conrelid = i.indrelid AND n.contype IN ('p', 'u', 'x')
         LEFT JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace
    WHERE i.indrelid = $1 ORDER BY c.oid";

impl DeferredIndexes {
    /// Drop the indexes of `table`, unless they cannot be restored, or there is a `reason` not to drop them, which
    /// [`DeferIndexes::Always`] overrides.
    ///
    /// # Errors
    /// When `defer` is [`DeferIndexes::Always`] and they cannot be restored exactly, or the server refuses.
    pub(crate) async fn defer(
        client: &impl GenericClient,
        table: &Table,
        defer: DeferIndexes,
        reason: Option<&str>,
    ) -> Result<DeferredIndexes> {
        let name = &table.name;
        let failed = |error| Error::database(&format!("look up the indexes of {name}"), error);
        let indexes = client.query(INDEXES, &[&table.oid]).await.map_err(failed)?;
        if indexes.is_empty() {
            return Ok(DeferredIndexes::default());
        }
        let table_reason = client.query_one(TABLE_REASON, &[&table.oid]).await.map_err(failed)?;
        let index_reason = |index: &Row| {
            let reason: Option<&str> = index.get("reason");
            reason.map(|reason| format!("{}: {reason}", index.get::<_, &str>("relname")))
        };
        let table_reason = table_reason.get::<_, Option<String>>(0);
        let obstacle = table_reason.or_else(|| indexes.iter().find_map(index_reason));
        let kept_because = match (obstacle, defer) {
            (Some(obstacle), DeferIndexes::Always) => {
                return Err(Error::usage(format!(
                    "--defer-indexes always: the indexes of {name} have to stay in place: {obstacle}"
                ))
                .with_help("use --defer-indexes auto, or never"));
            }
            (None, DeferIndexes::Always) => None,
            (obstacle, _) => obstacle.or(reason.map(str::to_owned)),
        };
        if kept_because.is_some() {
            return Ok(DeferredIndexes { kept_because, ..DeferredIndexes::default() });
        }
        // Another session may have changed them in the meantime: lock them, then look them up again.
        let lock = lock_statements(&indexes, name);
        client.batch_execute(&lock.join(";")).await.map_err(failed)?;
        let locked = client.query(INDEXES, &[&table.oid]).await.map_err(failed)?;
        let oids = |indexes: &[Row]| indexes.iter().map(|index| index.get("oid")).collect::<Vec<u32>>();
        if oids(&locked) != oids(&indexes) || locked.iter().any(|index| index_reason(index).is_some()) {
            let kept_because = Some("another session changed them at the same time".to_owned());
            return Ok(DeferredIndexes { kept_because, ..DeferredIndexes::default() });
        }
        let indexes = locked;
        let drop: Vec<String> = indexes.iter().map(|index| drop_statement(index, name)).collect();
        let dropped = client.batch_execute(&drop.join(";")).await;
        dropped.map_err(|error| Error::database(&format!("defer the indexes of {name}"), error))?;
        Ok(DeferredIndexes {
            deferred: indexes.iter().map(|index| index.get("relname")).collect(),
            kept_because: None,
            restore: indexes.iter().map(|index| restore_statements(index, name)).collect(),
        })
    }

    /// Rebuild the indexes, and show in `progress` which one. This sets `default_tablespace` for the rest of the transaction.
    ///
    /// # Errors
    /// When the server refuses because a key is a duplicate or too long. It does not tell which rows are at fault.
    pub(crate) async fn rebuild(
        &self,
        client: &Client,
        pool: &SessionPool,
        progress: &Progress,
    ) -> Result<(), tokio_postgres::Error> {
        if self.restore.is_empty() {
            return Ok(());
        }
        let pid = index_progress::backend(client, pool).await;
        let of = self.restore.len();
        for (statements, number) in self.restore.iter().zip(1..) {
            progress.begin(Phase::BuildingIndex { number, of }, None);
            let statements = statements.join(";");
            tokio::select! {
                built = client.batch_execute(&statements) => built?,
                () = index_progress::watch(pid, pool, progress) => unreachable!("it never ends"),
            }
        }
        Ok(())
    }
}

/// Statements that lock `table` and its `indexes`.
fn lock_statements(indexes: &[Row], table: &TableName) -> Vec<String> {
    let lock_index = |index: &Row| {
        let index = TableName { table: index.get("relname"), ..table.clone() };
        // Resetting a parameter that no index has takes the lock and does nothing else.
        format!("ALTER INDEX {} RESET (user_catalog_table)", index.sql())
    };
    let lock_table = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", table.sql());
    std::iter::once(lock_table).chain(indexes.iter().map(lock_index)).collect()
}

fn drop_statement(index: &Row, table: &TableName) -> String {
    if let Some(constraint) = index.get::<_, Option<&str>>("conname") {
        return format!("ALTER TABLE {} DROP CONSTRAINT {}", table.sql(), quote(constraint));
    }
    format!("DROP INDEX {}", TableName { table: index.get("relname"), ..table.clone() }.sql())
}

fn restore_statements(index: &Row, table: &TableName) -> Vec<String> {
    let name: &str = index.get("relname");
    let sql = TableName { table: name.to_owned(), ..table.clone() }.sql();
    // The server's definition does not name the tablespace.
    let tablespace = format!("SET LOCAL default_tablespace = {}", literal(index.get("tablespace")));
    let mut statements = vec![tablespace, index.get::<_, String>("definition")];
    if let Some(constraint) = index.get::<_, Option<&str>>("conname") {
        let kind =
            if index.get::<_, i8>("contype").cast_unsigned() == b'p' { "PRIMARY KEY" } else { "UNIQUE" };
        let deferrable = match (index.get("condeferrable"), index.get("condeferred")) {
            (true, true) => " DEFERRABLE INITIALLY DEFERRED",
            (true, false) => " DEFERRABLE",
            (false, _) => "",
        };
        statements.push(format!(
            "ALTER TABLE {} ADD CONSTRAINT {} {kind} USING INDEX {}{deferrable}",
            table.sql(),
            quote(constraint),
            quote(name)
        ));
        if let Some(comment) = index.get::<_, Option<&str>>("constraint_comment") {
            let constraint = quote(constraint);
            statements.push(format!(
                "COMMENT ON CONSTRAINT {constraint} ON {} IS {}",
                table.sql(),
                literal(comment)
            ));
        }
    }
    if let Some(comment) = index.get::<_, Option<&str>>("comment") {
        statements.push(format!("COMMENT ON INDEX {sql} IS {}", literal(comment)));
    }
    if index.get("indisclustered") {
        statements.push(format!("ALTER TABLE {} CLUSTER ON {}", table.sql(), quote(name)));
    }
    if index.get("indisreplident") {
        statements.push(format!("ALTER TABLE {} REPLICA IDENTITY USING INDEX {}", table.sql(), quote(name)));
    }
    statements
}

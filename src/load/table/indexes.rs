//! `--defer-indexes`: a table's indexes, dropped before its rows come and built again behind them.
//!
//! To sort all keys once is cheaper than to find the place of each, so a load that fills an empty table drops
//! its indexes, primary key and unique constraints, and creates them again at the end, from what the server's
//! own `pg_get_indexdef` says of them. All of that happens inside the load's transaction: nobody else ever
//! sees the table without them, and after an error they are as they were. What cannot be put back exactly
//! stays where it is, and so do the others with it.

use tokio_postgres::{GenericClient, Row};

use crate::catalog::{Table, TableName};
use crate::load::options::DeferIndexes;
use crate::sql::quote;
use crate::{Error, Result};

/// What was done about the indexes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Indexes {
    /// Those that were dropped, and are built at the end.
    pub deferred: Vec<String>,
    /// Why they stayed, if they might have been expected not to.
    pub kept_because: Option<String>,
    /// The statements that put them back, in order.
    restore: Vec<String>,
}

/// Why the indexes of a table stay, whatever they are; NULL if they need not. Triggers and policies may look
/// at the table's own rows, which takes its indexes.
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

/// The indexes of a table with all that has to be put back, in the order of their creation; and why one cannot
/// be, if so. Views, too, depend on a primary key that they group by.
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
                   THEN 'its columns have settings of their own'
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

impl Indexes {
    /// Drop the indexes of `table`, unless there is a `reason` not to, which only `defer` may overrule, or they
    /// cannot be put back.
    ///
    /// # Errors
    /// When `defer` says always, and they cannot be put back exactly; or the server refuses.
    pub(crate) async fn defer(
        client: &impl GenericClient,
        table: &Table,
        defer: DeferIndexes,
        reason: Option<&str>,
    ) -> Result<Indexes> {
        let name = &table.name;
        let failed = |error| Error::database(&format!("look up the indexes of {name}"), &error);
        let indexes = client.query(INDEXES, &[&table.oid]).await.map_err(failed)?;
        if indexes.is_empty() {
            return Ok(Indexes::default());
        }
        let of_table = client.query_one(TABLE_REASON, &[&table.oid]).await.map_err(failed)?;
        let of_index = |index: &Row| {
            let reason: Option<&str> = index.get("reason");
            reason.map(|reason| format!("{}: {reason}", index.get::<_, &str>("relname")))
        };
        let needed = of_table.get::<_, Option<String>>(0).or_else(|| indexes.iter().find_map(of_index));
        let kept_because = match (needed, defer) {
            (Some(needed), DeferIndexes::Always) => {
                return Err(Error::usage(format!(
                    "--defer-indexes always: those of {name} have to stay: {needed}"
                ))
                .with_help("use --defer-indexes auto, or never"));
            }
            (None, DeferIndexes::Always) => None,
            (needed, _) => needed.or(reason.map(str::to_owned)),
        };
        if kept_because.is_some() {
            return Ok(Indexes { kept_because, ..Indexes::default() });
        }
        // Somebody may be changing them, and would be done before they are dropped: so first nobody else may, and then
        // they are looked at once more. To reset what no index has takes the lock and does nothing else.
        let lock = |index: &Row| {
            let name: String = index.get("relname");
            let name = TableName { table: name, ..table.name.clone() };
            format!("ALTER INDEX {} RESET (user_catalog_table)", name.sql())
        };
        let mut locks = vec![format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", name.sql())];
        locks.extend(indexes.iter().map(lock));
        client.batch_execute(&locks.join(";")).await.map_err(failed)?;
        let locked = client.query(INDEXES, &[&table.oid]).await.map_err(failed)?;
        let oids = |indexes: &[Row]| indexes.iter().map(|index| index.get("oid")).collect::<Vec<u32>>();
        if oids(&locked) != oids(&indexes) || locked.iter().any(|index| of_index(index).is_some()) {
            let kept_because = Some("somebody else changed them at this moment".to_owned());
            return Ok(Indexes { kept_because, ..Indexes::default() });
        }
        let indexes = locked;
        let drop: Vec<String> = indexes.iter().map(|index| drop_statement(index, name)).collect();
        let dropped = client.batch_execute(&drop.join(";")).await;
        dropped.map_err(|error| Error::database(&format!("defer the indexes of {name}"), &error))?;
        Ok(Indexes {
            deferred: indexes.iter().map(|index| index.get("relname")).collect(),
            kept_because: None,
            restore: indexes.iter().flat_map(|index| restore_statements(index, name)).collect(),
        })
    }

    /// Build the indexes again, as the last thing of their transaction.
    ///
    /// # Errors
    /// When the server refuses: a key is there twice, or is too long. It does not say in which rows.
    pub(crate) async fn build(&self, client: &impl GenericClient) -> Result<(), tokio_postgres::Error> {
        client.batch_execute(&self.restore.join(";")).await
    }
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
    // The definition that the server gives does not name the tablespace.
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

/// `text` as an SQL string; the `E` makes it independent of `standard_conforming_strings`.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_whatever_they_hold() {
        assert_eq!(literal(r"it's \n"), r"E'it''s \\n'");
    }
}

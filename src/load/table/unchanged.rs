//! Whether a table is still what it was when its load was prepared.

use tokio_postgres::GenericClient;
use tokio_postgres::error::SqlState;

use crate::catalog::Table;
use crate::error::ErrorKind;
use crate::load::table::prepare::PreparedTable;
use crate::{Error, Result};

/// What to do about a session that holds or awaits a lock that conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OthersLock {
    /// Wait until it is released.
    Await,
    /// Fail, with the SQLSTATE `lock_not_available`.
    Refuse,
}

/// Lock the table as its rows will lock it, in the open transaction of `client`, and check that its columns are what they
/// were when `prepared` was made. Until then another session could alter them; and what was encoded for an integer is also
/// a binary `real`, of another value.
///
/// # Errors
/// When the table was dropped or altered, and when the server refuses the lock.
pub(crate) async fn lock_unchanged(
    client: &impl GenericClient,
    prepared: &PreparedTable,
    others_lock: OthersLock,
) -> Result<()> {
    let PreparedTable { table, mapping, .. } = prepared;
    let name = &table.name;
    let failed = |error| Error::database(&format!("lock {name}"), error);
    let gone = || changed(&format!("{name} was dropped or renamed"));
    let sql = "SELECT pg_catalog.has_table_privilege(oid, 'INSERT') FROM pg_catalog.pg_class
               WHERE oid = $1 AND oid = pg_catalog.to_regclass($2)";
    let privileged = client.query_opt(sql, &[&table.oid, &name.sql()]).await.map_err(failed)?;
    // NULL if it is dropped meanwhile.
    let privileged: bool = privileged.and_then(|row| row.get(0)).ok_or_else(gone)?;
    // A role with privileges on columns only may not lock it, and a view would be locked together with its tables.
    if table.is_stored && privileged {
        let nowait = if others_lock == OthersLock::Refuse { " NOWAIT" } else { "" };
        let lock = format!("LOCK TABLE {} IN ROW EXCLUSIVE MODE{nowait}", name.sql());
        client.batch_execute(&lock).await.map_err(|error| match error.code() {
            Some(&SqlState::UNDEFINED_TABLE) => gone(),
            _ => failed(error),
        })?;
    }
    let now = Table::find(client, name).await?.filter(|now| now.oid == table.oid);
    let now = now.ok_or_else(gone)?;
    for before in mapping.columns.iter().map(|mapped| &mapped.column) {
        let column = &before.name;
        match now.columns.iter().find(|now| now.name == *column) {
            Some(now) if now.column_type == before.column_type && now.modifier == before.modifier => {}
            Some(now) => {
                let (before, now) = (&before.type_name, &now.type_name);
                return Err(changed(&format!("column {column} of {name} was {before} and is {now} now")));
            }
            None => return Err(changed(&format!("column {column} of {name} was dropped or renamed"))),
        }
    }
    Ok(())
}

fn changed(change: &str) -> Error {
    Error::new(ErrorKind::Database, format!("the table was altered while it was loaded: {change}"))
        .with_help("run the load again when nobody alters the table")
}

//! Foreign tables, whose rows another server stores.

use std::collections::BTreeSet;

use tokio_postgres::{Error as PgError, GenericClient};

/// The foreign tables that the rows of a table go to: the table itself, or partitions of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignTables {
    /// Their names, in SQL.
    pub names: Vec<String>,
    /// The names of their servers, in SQL, each once.
    pub servers: Vec<String>,
    /// How many of them are on a PostgreSQL server, by `postgres_fdw`.
    pub of_postgres: usize,
    /// The names, in SQL, of those of them for which neither they nor their servers set `batch_size`.
    pub without_batch_size: Vec<String>,
}

/// Selects the foreign tables among `$1` and its partitions: their names, whether they belong to `postgres_fdw`, whether
/// they have a `batch_size`, and the names of their servers.
const FOREIGN_TABLES: &str = "
    SELECT f.ftrelid::pg_catalog.regclass::pg_catalog.text,
           EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.oid = w.fdwhandler AND p.proname = 'postgres_fdw_handler'),
           EXISTS (SELECT FROM pg_catalog.pg_options_to_table(f.ftoptions || s.srvoptions)
                   WHERE option_name = 'batch_size'),
           pg_catalog.quote_ident(s.srvname)
    FROM pg_catalog.pg_foreign_table f
         JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver
         JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw
    WHERE f.ftrelid = $1 OR f.ftrelid IN (SELECT relid FROM pg_catalog.pg_partition_tree($1::pg_catalog.oid))
    ORDER BY f.ftrelid";

impl ForeignTables {
    /// The foreign tables among the relation `oid` and its partitions; `None` if there is none.
    pub(super) async fn find(
        client: &impl GenericClient,
        oid: u32,
    ) -> Result<Option<ForeignTables>, PgError> {
        let rows = client.query(FOREIGN_TABLES, &[&oid]).await?;
        let of_postgres: Vec<_> = rows.iter().filter(|row| row.get(1)).collect();
        let without_batch_size =
            of_postgres.iter().filter(|row| !row.get::<_, bool>(2)).map(|row| row.get(0));
        let servers: BTreeSet<String> = rows.iter().map(|row| row.get(3)).collect();
        Ok((!rows.is_empty()).then(|| ForeignTables {
            names: rows.iter().map(|row| row.get(0)).collect(),
            servers: servers.into_iter().collect(),
            of_postgres: of_postgres.len(),
            without_batch_size: without_batch_size.collect(),
        }))
    }
}

//! The tables of pgbench, as `pgbench -i` creates them.

use std::time::Instant;

use serde::Serialize;
use tokio_postgres::Client;

use crate::catalog::{Table, TableName};
use crate::error::ErrorKind;
use crate::postgres::server::{Database, ServerFacts};
use crate::postgres::target_session::HostChoice;
use crate::progress::Progress;
use crate::query::workload::pgbench::{ACCOUNTS, TELLERS};
use crate::{Error, Result};

/// Creates the tables of pgbench.
///
/// ```no_run
/// # use postgres_etl::postgres::Database;
/// # use postgres_etl::query::PgbenchTables;
/// # use postgres_etl::Progress;
/// # async fn example(database: &Database) -> postgres_etl::Result<()> {
/// PgbenchTables { scale: 10, replace: false }.create(database, &Progress::default()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PgbenchTables {
    /// The number of branches, from 1 to [`PgbenchTables::LARGEST_SCALE`]; for each there are 10 tellers and 100,000
    /// accounts.
    pub scale: u32,
    /// Whether other tables with the names of pgbench's are replaced.
    pub replace: bool,
}

/// What was created.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TablesReport {
    /// `query`.
    pub command: &'static str,
    /// `tpcb`: what was created.
    pub init: &'static str,
    /// The number of branches.
    pub scale: u32,
    /// The tables and their rows.
    pub tables: Vec<NewTable>,
    /// Whether tables with these names were replaced.
    pub replaced: bool,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The server.
    pub server: ServerFacts,
}

/// A table that was created.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NewTable {
    /// Its name.
    pub name: &'static str,
    /// Its number of rows.
    pub rows: u64,
}

/// A table of pgbench.
struct Definition {
    name: &'static str,
    /// Its columns and their types; `{aid}` stands for the type of an account's number.
    columns: &'static [(&'static str, &'static str)],
    /// The column that is its primary key, if it has one.
    key: Option<&'static str>,
}

/// The tables, in the order in which pgbench creates them. The fillers make rows at least 100 bytes long.
const TABLES: [Definition; 4] = [
    Definition {
        name: "pgbench_history",
        columns: &[
            ("tid", "integer"),
            ("bid", "integer"),
            ("aid", "{aid}"),
            ("delta", "integer"),
            ("mtime", "timestamp without time zone"),
            ("filler", "character(22)"),
        ],
        key: None,
    },
    Definition {
        name: "pgbench_tellers",
        columns: &[
            ("tid", "integer"),
            ("bid", "integer"),
            ("tbalance", "integer"),
            ("filler", "character(84)"),
        ],
        key: Some("tid"),
    },
    Definition {
        name: "pgbench_accounts",
        columns: &[
            ("aid", "{aid}"),
            ("bid", "integer"),
            ("abalance", "integer"),
            ("filler", "character(84)"),
        ],
        key: Some("aid"),
    },
    Definition {
        name: "pgbench_branches",
        columns: &[("bid", "integer"), ("bbalance", "integer"), ("filler", "character(88)")],
        key: Some("bid"),
    },
];

/// From this scale on, pgbench numbers accounts with eight bytes.
const BIGINT_FROM: u32 = 20_000;

impl PgbenchTables {
    /// The largest scale: 10 billion accounts.
    pub const LARGEST_SCALE: u32 = 100_000;

    /// The number of accounts.
    pub fn accounts(self) -> u64 {
        u64::from(self.scale) * ACCOUNTS.unsigned_abs()
    }

    /// Create the tables in a transaction, and vacuum and analyze them. Tables that are pgbench's already are replaced.
    /// `progress` counts accounts.
    ///
    /// # Errors
    /// When other tables have these names and are not to be replaced, or a statement fails; the database is then
    /// unchanged.
    pub async fn create(&self, database: &Database, progress: &Progress) -> Result<TablesReport> {
        let started = Instant::now();
        if !(1..=PgbenchTables::LARGEST_SCALE).contains(&self.scale) {
            return Err(Error::usage(format!("scale {} is out of range", self.scale))
                .with_help(format!("give a number from 1 to {}", PgbenchTables::LARGEST_SCALE)));
        }
        let mut client = database.connection_to(HostChoice::Primary).await?;
        if let Some(refusal) = database.refusal_to_write(&client).await? {
            return Err(refusal);
        }
        let server = database.server_facts(&client).await?;
        let earlier = self.earlier_tables(&client).await?;
        let transaction =
            client.transaction().await.map_err(|error| Error::database("begin a transaction", error))?;
        let execute = async |doing: &str, sql: &str| {
            transaction.batch_execute(sql).await.map_err(|error| Error::database(doing, error))
        };
        if !earlier.is_empty() {
            // Together, because foreign keys may connect them.
            let names: Vec<String> = earlier.iter().map(|table| table.name.sql()).collect();
            execute("drop the earlier tables", &format!("DROP TABLE {}", names.join(", "))).await?;
        }
        for table in &TABLES {
            execute(&format!("create table {}", table.name), &self.create_statement(table)).await?;
        }
        execute("fill the tables", &self.fill_statements()).await?;
        for branch in 1..=i64::from(self.scale) {
            if progress.is_cancelled() {
                return Err(Error::interrupted());
            }
            execute("fill table pgbench_accounts", &accounts_statement(branch)).await?;
            progress.add(ACCOUNTS.unsigned_abs(), 0);
        }
        for Definition { name, key, .. } in &TABLES {
            if let Some(key) = key {
                let sql = format!("ALTER TABLE {name} ADD PRIMARY KEY ({key})");
                execute(&format!("build the primary key of {name}"), &sql).await?;
            }
        }
        transaction.commit().await.map_err(|error| Error::database("commit the tables", error))?;
        for Definition { name, .. } in &TABLES {
            let vacuumed = client.batch_execute(&format!("VACUUM (ANALYZE) {name}")).await;
            vacuumed.map_err(|error| Error::database(&format!("vacuum {name}"), error))?;
        }
        Ok(TablesReport {
            command: "query",
            init: "tpcb",
            scale: self.scale,
            tables: TABLES
                .iter()
                .map(|table| NewTable { name: table.name, rows: self.rows(table) })
                .collect(),
            replaced: !earlier.is_empty(),
            seconds: started.elapsed().as_secs_f64(),
            server,
        })
    }

    /// The tables with these names that are there already.
    ///
    /// # Errors
    /// When one is not pgbench's and is not to be replaced.
    async fn earlier_tables(&self, client: &Client) -> Result<Vec<Table>> {
        let mut earlier = Vec::new();
        for definition in &TABLES {
            let name = TableName::parse(definition.name)?;
            let Some(table) = Table::find(client, &name).await? else { continue };
            if !self.replace && !definition.is_that_of(&table) {
                let columns: Vec<String> = table
                    .columns
                    .iter()
                    .map(|column| format!("{} {}", column.name, column.type_name))
                    .collect();
                let message = format!(
                    "{} is not a table of pgbench; its columns are {}",
                    table.name,
                    columns.join(", ")
                );
                return Err(Error::new(ErrorKind::Database, message)
                    .with_help("use another database, or add --replace to lose what is in it"));
            }
            earlier.push(table);
        }
        Ok(earlier)
    }

    fn create_statement(self, Definition { name, columns, key }: &Definition) -> String {
        let account = if self.scale < BIGINT_FROM { "integer" } else { "bigint" };
        let column = |(name, sql_type): &(&str, &str)| {
            // The primary keys come after the rows.
            let not_null = if Some(*name) == *key { " NOT NULL" } else { "" };
            format!("{name} {}{not_null}", sql_type.replace("{aid}", account))
        };
        let columns: Vec<String> = columns.iter().map(column).collect();
        let storage = if key.is_some() { " WITH (fillfactor = 100)" } else { "" };
        format!("CREATE TABLE {name} ({}){storage}", columns.join(", "))
    }

    /// The statements that fill all tables but the accounts.
    fn fill_statements(self) -> String {
        let scale = i64::from(self.scale);
        let tellers = scale * TELLERS;
        format!(
            "INSERT INTO pgbench_branches (bid, bbalance) SELECT bid, 0 FROM generate_series(1, {scale}) AS bid;
             INSERT INTO pgbench_tellers (tid, bid, tbalance)
                 SELECT tid, (tid - 1) / {TELLERS} + 1, 0 FROM generate_series(1, {tellers}) AS tid"
        )
    }

    fn rows(self, Definition { name, .. }: &Definition) -> u64 {
        let scale = u64::from(self.scale);
        match *name {
            "pgbench_branches" => scale,
            "pgbench_tellers" => scale * TELLERS.unsigned_abs(),
            "pgbench_accounts" => self.accounts(),
            _ => 0,
        }
    }
}

/// The statement that inserts the accounts of branch number `branch`.
fn accounts_statement(branch: i64) -> String {
    let (first, last) = ((branch - 1) * ACCOUNTS + 1, branch * ACCOUNTS);
    format!(
        "INSERT INTO pgbench_accounts (aid, bid, abalance, filler)
             SELECT aid, {branch}, 0, '' FROM generate_series({first}::bigint, {last}::bigint) AS aid"
    )
}

impl Definition {
    /// Whether `table` is this one, as some version of pgbench or this program created it.
    fn is_that_of(&self, table: &Table) -> bool {
        let is_type = |wanted: &str, found: &str| match wanted {
            "{aid}" => found == "integer" || found == "bigint",
            _ => found == wanted,
        };
        table.is_stored
            && table.columns.len() == self.columns.len()
            && self.columns.iter().zip(&table.columns).all(|((name, sql_type), column)| {
                *name == column.name && is_type(sql_type, &column.type_name)
            })
    }
}

//! Lets Citus distribute a table that the load has created.

use tokio_postgres::GenericClient;

use crate::catalog::{DistributionSpec, Table};
use crate::error::ErrorKind;
use crate::{Error, Result};

/// Whether the database has Citus.
const HAS_CITUS: &str = "SELECT pg_catalog.to_regclass('pg_dist_partition') IS NOT NULL";

/// Distribute `table`, which is empty, as `spec` says.
///
/// # Errors
/// When the database does not have Citus, the table does not have the column, or Citus refuses.
pub(crate) async fn distribute(
    client: &impl GenericClient,
    table: &Table,
    spec: &DistributionSpec,
) -> Result<()> {
    let name = &table.name;
    let failed = |error| Error::database(&format!("make {name} {spec}"), error);
    if !client.query_one(HAS_CITUS, &[]).await.map_err(failed)?.get::<_, bool>(0) {
        let message = format!("{name} is to be {spec}, but this database does not have the extension citus");
        return Err(Error::new(ErrorKind::Database, message).with_help(
            "CREATE EXTENSION citus where it is installed, or leave out --distribute-by, --reference, and their keys \
             under [table]",
        ));
    }
    if let DistributionSpec::ByColumn { column, .. } = spec
        && !table.columns.iter().any(|own| own.name == *column)
    {
        let columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        let message = format!("{name} is to be {spec}, but has no column of that name");
        return Err(Error::usage(message).with_help(format!("its columns are {}", columns.join(", "))));
    }
    client.batch_execute(&spec.statement(&name.sql())).await.map_err(failed)
}

/// Check that `table`, which existed before, is distributed as `spec` says.
///
/// # Errors
/// When it is not.
pub(crate) fn check_distribution(table: &Table, spec: &DistributionSpec) -> Result<()> {
    if table.distribution.as_ref().is_some_and(|distribution| spec.fits(distribution)) {
        return Ok(());
    }
    let name = &table.name;
    let is = table.distribution.as_ref().map_or_else(|| "not distributed".to_owned(), ToString::to_string);
    let help = match table.distribution {
        None => format!(
            "distribute it first: {}; or load it as it is, without the flag or key",
            spec.statement(&name.sql())
        ),
        Some(_) => "load it as it is, without the flag or key".to_owned(),
    };
    let message = format!("{name} is to be {spec}, but exists and is {is}");
    Err(Error::usage(message).with_help(help))
}

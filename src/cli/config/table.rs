//! `[table]` → the table that a load fills.

use postgres_etl::catalog::{DistributionSpec, TableName, TableSpec};
use postgres_etl::sql::{fold, quote, quote_list};
use postgres_etl::{Error, Result};

use crate::cli::config::file;

/// The table that `[table]` describes.
///
/// # Errors
/// [`postgres_etl::ErrorKind::Config`] when a name in it cannot be one.
pub(crate) fn table_spec(table: &file::Table) -> Result<TableSpec> {
    let wrong = |what: &str, name: &str| {
        Error::config(format!("[table]: `{name}` is not the name of a {what}"))
            .with_help("write it as in SQL, in double quotes where it has capitals or dots")
    };
    let name = TableName::parse(&table.name).map_err(|_| wrong("table", &table.name))?;
    let columns = |names: &[String]| -> Result<String> {
        let folded: Result<Vec<String>> =
            names.iter().map(|name| fold(name).ok_or_else(|| wrong("column", name))).collect();
        Ok(quote_list(folded?.iter().map(String::as_str)))
    };
    let mut typed = Vec::new();
    for column in &table.columns {
        let column_name = fold(&column.name).ok_or_else(|| wrong("column", &column.name))?;
        typed.push((column_name, column.sql_type.clone()));
    }
    let (column, other) = (table.distribute_by.as_str(), table.colocate_with.as_str());
    let given = |text| Some(text).filter(|text: &&str| !text.is_empty());
    let shards = Some(table.shards).filter(|shards| *shards > 0);
    if given(column).is_none() && (shards.is_some() || given(other).is_some()) {
        return Err(Error::config("[table] shards and colocate_with are for a table with distribute_by")
            .with_help("set distribute_by, or leave them out"));
    }
    if given(column).is_some() && table.reference || shards.is_some() && given(other).is_some() {
        return Err(Error::config(
            "[table]: distribute_by contradicts reference, and shards contradicts colocate_with",
        )
        .with_help("leave one of them out"));
    }
    let distribution = distribution(given(column), table.reference, shards, given(other))?;
    if typed.is_empty() {
        return Ok(TableSpec { distribution, ..TableSpec::named(name) });
    }
    let mut lines: Vec<String> =
        typed.iter().map(|(name, sql_type)| format!("{} {sql_type}", quote(name))).collect();
    if !table.primary_key.is_empty() {
        lines.push(format!("PRIMARY KEY ({})", columns(&table.primary_key)?));
    }
    let mut create = vec![format!("CREATE TABLE {} ({})", name.sql(), lines.join(", "))];
    for index in &table.indexes {
        create.push(format!("CREATE INDEX ON {} ({})", name.sql(), columns(index)?));
    }
    Ok(TableSpec { name, columns: typed, create, distribution })
}

/// How Citus is to distribute the table, in the words of flags or of `[table]`.
///
/// # Errors
/// [`postgres_etl::ErrorKind::Usage`] when a name cannot be one.
pub(super) fn distribution(
    column: Option<&str>,
    is_reference: bool,
    shards: Option<u32>,
    colocate_with: Option<&str>,
) -> Result<Option<DistributionSpec>> {
    let Some(column) = column else { return Ok(is_reference.then_some(DistributionSpec::Reference)) };
    let column = fold(column).ok_or_else(|| {
        Error::usage(format!("`{column}`, by which to distribute the table, is not the name of a column"))
            .with_help("write it as in SQL, in double quotes where it has capitals")
    })?;
    let colocate_with = colocate_with.map(TableName::parse).transpose()?.map(|name| name.sql());
    Ok(Some(DistributionSpec::ByColumn { column, shards, colocate_with }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tutorials_table_is_created_with_its_types() {
        let spec = table_spec(&file::Table::default()).unwrap();
        assert_eq!(
            spec.create,
            [
                r#"CREATE TABLE "persons" ("id" integer, "name" text, "age" smallint, "ismarried" boolean, "city" text, "state" text, "country" text, PRIMARY KEY ("id"))"#
            ]
        );
    }

    #[test]
    fn indexes_follow_the_table() {
        let table = file::Table { indexes: vec![vec!["age".into(), "City".into()]], ..Default::default() };
        let spec = table_spec(&table).unwrap();
        assert_eq!(spec.create[1], r#"CREATE INDEX ON "persons" ("age", "city")"#);
    }
}

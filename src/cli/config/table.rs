//! `[table]` → the table that a load fills.

use postgres_etl::catalog::{TableName, TableSpec};
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
    if typed.is_empty() {
        return Ok(TableSpec::named(name));
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
    Ok(TableSpec { name, columns: typed, create })
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

//! Tables: their names, how to create one, and how the server's catalog describes one.

pub(crate) mod distribution;
mod foreign;
pub(crate) mod partition_hash;
mod sql_type;
pub(crate) mod unique_key;

use std::collections::HashMap;
use std::fmt;

use tokio_postgres::{GenericClient, Row};

use crate::catalog::sql_type::SqlType;
use crate::encode::{Encoder, SessionParams, Type, TypeKind};
use crate::sql::{fold, is_plain, quote};
use crate::suggest::nearest;
use crate::{Error, Result};

pub use crate::catalog::distribution::{DistributionKind, DistributionSpec, TableDistribution};
pub use crate::catalog::foreign::ForeignTables;

/// The name of a table, folded to lower case as in SQL; displayed in quotes only where SQL requires them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// The schema; `None` to use the search path.
    pub schema: Option<String>,
    /// The name without the schema.
    pub table: String,
}

/// A table as the user describes it, in `config.toml` or by name only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// Its name.
    pub name: TableName,
    /// The names of its columns and their SQL types; empty when the table must already exist.
    pub columns: Vec<(String, String)>,
    /// The statements that create it; empty when it must already exist.
    pub create: Vec<String>,
    /// How Citus is to distribute it when it is created; `None` if it is not.
    pub distribution: Option<DistributionSpec>,
}

/// A table as described by the server's catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its OID; 0 if it was not looked up on a server.
    pub oid: u32,
    /// Its name, with the schema in which the server found it.
    pub name: TableName,
    /// Its kind with an article, such as `a sequence`, if rows cannot be loaded into it; `None` if they can.
    pub other_kind: Option<&'static str>,
    /// Whether the server itself stores its rows; it does not for a foreign table or a view.
    pub is_stored: bool,
    /// Whether it is a view, whose INSTEAD OF trigger decides what becomes of a row.
    pub is_view: bool,
    /// Whether it is partitioned.
    pub is_partitioned: bool,
    /// Whether it is a partition of another table.
    pub is_partition: bool,
    /// How Citus keeps its rows; `None` if it does not.
    pub distribution: Option<TableDistribution>,
    /// The foreign tables that its rows go to; `None` if there is none.
    pub foreign_tables: Option<ForeignTables>,
    /// Whether it has rules for INSERT, which COPY ignores.
    pub has_insert_rules: bool,
    /// Whether it has a foreign key that references the table itself.
    pub references_itself: bool,
    /// The names of its enabled BEFORE INSERT row triggers, which may suppress a row by returning NULL, and of those of its
    /// partitions.
    pub before_insert_triggers: Vec<String>,
    /// Whether row-level security applies to the session's role; COPY FROM does not support it.
    pub has_row_security: bool,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// The parameters of the session that looked it up.
    pub session: SessionParams,
}

/// One column of a [`Table`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub column_type: Type,
    /// Its type as the server prints it: `smallint`, `character varying(20)`.
    pub type_name: String,
    /// Its type without length or precision, for a cast: `character varying`.
    pub base_name: String,
    /// Its type modifier (`atttypmod`), which encodes length, precision or interval fields; -1 if it has none.
    pub modifier: i32,
    /// The OID of the array type over its type; 0 if there is none.
    pub array_oid: u32,
    /// The byte between two values in the text format of that array (`typdelim`); `None` where such an array cannot
    /// carry the column's values.
    ///
    /// It cannot if there is no array type, or if the type is a composite, which `unnest()` splits into its attributes.
    pub text_array_delimiter: Option<u8>,
    /// Whether it is `GENERATED ALWAYS AS (…)`: computed by the server, never written.
    pub generated: bool,
    /// Whether it is `GENERATED ALWAYS AS IDENTITY`: to write it, an INSERT needs `OVERRIDING SYSTEM VALUE`.
    pub identity_always: bool,
    /// Whether the session's role has the INSERT privilege on it.
    pub insertable: bool,
}

impl Column {
    /// An SQL expression that reads `text`, an expression of type text, as COPY would read it into this column; `None`
    /// if a cast is equivalent.
    ///
    /// For a parameter or a cast, the server calls the input function without the type modifier and applies the modifier
    /// to the result. The input functions of these two types use it: `5` is five years in an `interval year`, and
    /// `1e-20000` is zero in a `numeric(10,2)`, but out of range for a plain `numeric`. So do those of their arrays.
    pub fn read_with_modifier(&self, text: &str) -> Option<String> {
        const INTERVAL: u32 = 1186;
        const NUMERIC: u32 = 1700;
        let Column { column_type, type_name, modifier, .. } = self;
        let input = |function: &str, oid: u32| {
            format!("pg_catalog.{function}(CAST({text} AS pg_catalog.cstring), {oid}, {modifier})")
        };
        match &column_type.kind {
            _ if *modifier < 0 => None,
            TypeKind::Base if column_type.oid == INTERVAL => Some(input("interval_in", 0)),
            TypeKind::Base if column_type.oid == NUMERIC => Some(input("numeric_in", 0)),
            // The result is of the pseudo-type `anyarray`, which can be cast to text only.
            TypeKind::Array { element, .. } if matches!(element.oid, INTERVAL | NUMERIC) => {
                Some(format!("CAST({}::pg_catalog.text AS {type_name})", input("array_in", element.oid)))
            }
            _ => None,
        }
    }
}

impl TableName {
    /// Parse `name` or `schema.name`, where each part may be quoted.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Usage`] when it is neither.
    pub fn parse(text: &str) -> Result<Self> {
        let mut in_quotes = false;
        let parts: Vec<&str> = text
            .split(|c| {
                in_quotes ^= c == '"';
                c == '.' && !in_quotes
            })
            .collect();
        let parts: Option<Vec<String>> = parts.into_iter().map(fold).collect();
        match parts.as_deref() {
            Some([table]) => Ok(TableName { schema: None, table: table.clone() }),
            Some([schema, table]) => Ok(TableName { schema: Some(schema.clone()), table: table.clone() }),
            _ => Err(Error::usage(format!("`{text}` is not a valid table name")).with_help(
                "write name or schema.name, with double quotes around a name that contains capitals or dots",
            )),
        }
    }

    /// The name as quoted SQL.
    pub fn sql(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quote(schema), quote(&self.table)),
            None => quote(&self.table),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |name: &str| if is_plain(name) { name.to_owned() } else { quote(name) };
        if let Some(schema) = self.schema.as_deref().filter(|schema| *schema != "public") {
            write!(f, "{}.", show(schema))?;
        }
        f.write_str(&show(&self.table))
    }
}

impl TableSpec {
    /// A table of which only the name is known; it must already exist.
    pub fn named(name: TableName) -> Self {
        TableSpec { name, columns: Vec::new(), create: Vec::new(), distribution: None }
    }
}

/// Selects the tables and views that users made, and whether each is found by its name alone.
const USER_TABLES: &str = "
    SELECT n.nspname, c.relname,
           -- NULL for a table that was dropped meanwhile.
           COALESCE(pg_catalog.pg_table_is_visible(c.oid), false)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f', 'v') AND n.nspname !~ '^(pg_|information_schema$)'";

/// The table that may be meant by `name`, which does not exist: the one with the most similar name where it was looked for,
/// or one of the same name in another schema; `None` if there is none, or the server does not tell.
pub(crate) async fn similar_table(client: &impl GenericClient, name: &TableName) -> Option<TableName> {
    let rows = client.query(USER_TABLES, &[]).await.ok()?;
    let tables = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2)));
    let tables: Vec<(&str, &str, bool)> = tables.collect();
    let is_searched =
        |schema: &str, is_visible| name.schema.as_deref().map_or(is_visible, |own| own == schema);
    let searched = tables.iter().filter(|(schema, _, is_visible)| is_searched(schema, *is_visible));
    if let Some(table) = nearest(&name.table, searched.map(|(_, table, _)| *table)) {
        return Some(TableName { table: table.to_owned(), ..name.clone() });
    }
    let (schema, ..) = tables.iter().find(|(_, table, _)| *table == name.table)?;
    Some(TableName { schema: Some((*schema).to_owned()), ..name.clone() })
}

/// Selects the relation that a name refers to, and the parameters of the session.
const RELATION: &str = "
    SELECT c.oid, n.nspname, c.relname, c.relkind,
           c.relhasrules AND EXISTS (
               SELECT FROM pg_catalog.pg_rewrite WHERE ev_class = c.oid AND ev_type = '3'),
           current_setting('server_version_num')::int, current_setting('server_encoding'),
           current_setting('TimeZone'), current_setting('DateStyle'),
           current_setting('IntervalStyle'), current_setting('array_nulls')::bool,
           pg_catalog.row_security_active(c.oid),
           -- Row trigger (1), BEFORE (2), INSERT (4).
           ARRAY(WITH RECURSIVE tree (relid) AS (
                     SELECT c.oid
                     UNION ALL
                     SELECT inhrelid
                     FROM tree JOIN pg_catalog.pg_class p ON p.oid = relid AND p.relkind = 'p'
                          JOIN pg_catalog.pg_inherits ON inhparent = relid)
                 SELECT DISTINCT tgname
                 FROM tree JOIN pg_catalog.pg_trigger ON tgrelid = relid
                 WHERE tgtype & 7 = 7 AND tgenabled <> 'D' ORDER BY tgname)::text[],
           EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = c.oid AND confrelid = c.oid),
           -- Row trigger (1), INSERT (4), INSTEAD OF (64).
           EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid AND tgtype & 69 = 69),
           c.relispartition, pg_catalog.to_regclass('pg_dist_partition') IS NOT NULL
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = pg_catalog.to_regclass($1)";

/// Selects the columns of a table.
const COLUMNS: &str = "
    SELECT a.attname, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod),
           t.typarray, a.attgenerated <> '',
           COALESCE(pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'INSERT'), false),
           pg_catalog.format_type(a.atttypid, -1), a.attidentity = 'a', a.atttypmod, t.typdelim
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum";

/// Selects the types of a table's columns and, recursively, the base types of domains and the element types of arrays.
/// Other types have a `typelem` too; an array is a type whose input function is `array_in`.
const TYPES: &str = "
    WITH RECURSIVE used (oid) AS (
        SELECT atttypid FROM pg_catalog.pg_attribute
        WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
        UNION
        SELECT CASE typtype WHEN 'd' THEN typbasetype ELSE typelem END
        FROM used JOIN pg_catalog.pg_type t USING (oid)
        WHERE typtype = 'd' OR typinput = 'pg_catalog.array_in'::pg_catalog.regproc
    )
    SELECT t.oid, typtype, typbasetype, typelem, typdelim,
           typinput = 'pg_catalog.array_in'::pg_catalog.regproc,
           ARRAY(SELECT enumlabel::text FROM pg_catalog.pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder)
    FROM used JOIN pg_catalog.pg_type t USING (oid)";

/// Assemble the type `oid` from the rows of [`TYPES`].
fn describe(oid: u32, types: &HashMap<u32, &Row>) -> Type {
    let Some(row) = types.get(&oid) else { return Type { oid, kind: TypeKind::Other } };
    let inner = |column: usize| Box::new(describe(row.get(column), types));
    let kind = match row.get::<_, i8>(1).cast_unsigned() {
        b'd' => TypeKind::Domain(inner(2)),
        b'e' => TypeKind::Enum(row.get(6)),
        b'b' if row.get(5) => {
            let element = inner(3);
            let delimiter = types.get(&element.oid).map_or(b',', |row| row.get::<_, i8>(4).cast_unsigned());
            TypeKind::Array { element, delimiter }
        }
        b'b' => TypeKind::Base,
        _ => TypeKind::Other,
    };
    Type { oid, kind }
}

/// Whether the type `oid` is a composite, or a domain over one.
fn is_composite(oid: u32, types: &HashMap<u32, &Row>) -> bool {
    types.get(&oid).is_some_and(|row| match row.get::<_, i8>(1).cast_unsigned() {
        b'd' => is_composite(row.get(2), types),
        kind => kind == b'c',
    })
}

/// A column from a row of [`COLUMNS`].
fn column(row: &Row, types: &HashMap<u32, &Row>) -> Column {
    let array_oid = row.get(3);
    let has_text_array = array_oid != 0 && !is_composite(row.get(1), types);
    Column {
        name: row.get(0),
        column_type: describe(row.get(1), types),
        type_name: row.get(2),
        array_oid,
        text_array_delimiter: has_text_array.then(|| row.get::<_, i8>(9).cast_unsigned()),
        generated: row.get(4),
        insertable: row.get(5),
        base_name: row.get(6),
        identity_always: row.get(7),
        modifier: row.get(8),
    }
}

impl Table {
    /// Look `name` up in the catalog; `None` if there is no such table.
    ///
    /// # Errors
    /// When a catalog query fails.
    pub async fn find(client: &impl GenericClient, name: &TableName) -> Result<Option<Table>> {
        let failed = |error| Error::database(&format!("look up table {name}"), error);
        let relation = client.query_opt(RELATION, &[&name.sql()]).await.map_err(failed)?;
        let Some(relation) = relation else { return Ok(None) };
        let oid: u32 = relation.get(0);
        let columns = client.query(COLUMNS, &[&oid]).await.map_err(failed)?;
        let types = client.query(TYPES, &[&oid]).await.map_err(failed)?;
        let has_citus: bool = relation.get(16);
        let distribution =
            if has_citus { TableDistribution::find(client, oid).await.map_err(failed)? } else { None };
        let kind = relation.get::<_, i8>(3).cast_unsigned();
        let may_be_foreign = matches!(kind, b'p' | b'f');
        let foreign_tables =
            if may_be_foreign { ForeignTables::find(client, oid).await.map_err(failed)? } else { None };
        let other_kind = match kind {
            b'r' | b'p' | b'f' => None,
            b'v' if relation.get(14) => None,
            b'v' => Some("a view without an INSTEAD OF INSERT trigger"),
            b'm' => Some("a materialized view"),
            b'S' => Some("a sequence"),
            _ => Some("not a table"),
        };
        let session = SessionParams {
            version_num: relation.get(5),
            server_encoding: relation.get(6),
            time_zone: relation.get(7),
            date_style: relation.get(8),
            interval_style: relation.get(9),
            array_nulls: relation.get(10),
        };
        let types = types.iter().map(|row| (row.get(0), row)).collect();
        let columns = columns.iter().map(|row| column(row, &types)).collect();
        Ok(Some(Table {
            oid,
            name: TableName { schema: Some(relation.get(1)), table: relation.get(2) },
            other_kind,
            is_stored: matches!(kind, b'r' | b'p'),
            is_view: kind == b'v',
            is_partitioned: kind == b'p',
            is_partition: relation.get(15),
            distribution,
            foreign_tables,
            has_insert_rules: relation.get(4),
            before_insert_triggers: relation.get(12),
            references_itself: relation.get(13),
            has_row_security: relation.get(11),
            columns,
            session,
        }))
    }

    /// The table that `spec` describes, as far as it is known without a server.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] when the type of a column is not built into PostgreSQL.
    pub fn from_spec(spec: &TableSpec) -> Result<Table> {
        let column = |(name, sql_type): &(String, String)| {
            let Some(found) = sql_type::parse(sql_type) else {
                let message =
                    format!("[table]: the type of column {name}, {sql_type}, is not a built-in type");
                return Err(Error::config(message)
                    .with_help("other types need a server: use --mode copy, rows or batch"));
            };
            let SqlType { column_type, type_name, base_name, array_oid, generated } = found;
            let (name, identity_always, insertable) = (name.clone(), false, true);
            Ok(Column {
                name,
                column_type,
                type_name,
                base_name,
                array_oid,
                // As with the modifier below.
                text_array_delimiter: None,
                // The modifier matters only in statements, of which there are none without a server.
                modifier: -1,
                generated,
                identity_always,
                insertable,
            })
        };
        Ok(Table {
            oid: 0,
            name: spec.name.clone(),
            other_kind: None,
            is_stored: true,
            is_view: false,
            is_partitioned: false,
            is_partition: false,
            distribution: None,
            foreign_tables: None,
            has_insert_rules: false,
            before_insert_triggers: Vec::new(),
            references_itself: false,
            has_row_security: false,
            columns: spec.columns.iter().map(column).collect::<Result<_>>()?,
            session: SessionParams::default(),
        })
    }

    /// The encoder for `column`, one of this table's; `None` if only the server can read its values.
    pub fn encoder(&self, column: &Column) -> Option<Encoder> {
        Encoder::new(&column.column_type, &self.session)
    }

    /// The column to which the SQL identifier `name` refers, which may be quoted.
    pub fn column_by_sql_name(&self, name: &str) -> Option<&Column> {
        let name = fold(name)?;
        self.columns.iter().find(|column| column.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_as_in_sql() {
        for (text, sql, shown) in [
            ("Persons", r#""persons""#, "persons"),
            (r#""Persons""#, r#""Persons""#, r#""Persons""#),
            ("public.persons", r#""public"."persons""#, "persons"),
            (r#"s."a.b""#, r#""s"."a.b""#, r#"s."a.b""#),
            (r#""say ""hi""""#, r#""say ""hi""""#, r#""say ""hi""""#),
        ] {
            let name = TableName::parse(text).unwrap();
            assert_eq!((name.sql().as_str(), name.to_string().as_str()), (sql, shown));
        }
        for text in ["", ".", "a.b.c", "a.", r#"a"b"#, r#""a"#] {
            assert!(TableName::parse(text).is_err(), "{text}");
        }
    }
}

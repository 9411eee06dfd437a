//! Tables: their names, how a configured one is created, and what the server's catalog says of one.

mod sql_type;
pub(crate) mod unique_key;

use std::collections::HashMap;
use std::fmt;

use tokio_postgres::{GenericClient, Row};

use crate::catalog::sql_type::SqlType;
use crate::encode::{Encoder, SessionParams, Type, TypeKind};
use crate::sql::{fold, is_plain, quote};
use crate::{Error, Result};

/// The name of a table, folded as SQL folds it; displayed quoted only where SQL needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// The schema, or the search path when none.
    pub schema: Option<String>,
    /// The table itself.
    pub table: String,
}

/// A table as `config.toml` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// Its name.
    pub name: TableName,
    /// Its columns and their types, in SQL; empty when it has to exist.
    pub columns: Vec<(String, String)>,
    /// The statements that create it; empty when it has to exist.
    pub create: Vec<String>,
}

/// A table as the server's catalog describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its OID.
    pub oid: u32,
    /// Its name, with the schema that the server found it in.
    pub name: TableName,
    /// What it is, if it is neither an ordinary nor a partitioned table: `view`, `foreign table` …
    pub other_kind: Option<&'static str>,
    /// Whether its rows are those of partitions.
    pub is_partitioned: bool,
    /// Whether rules change what an INSERT does; COPY knows none.
    pub has_insert_rules: bool,
    /// Whether a foreign key of it refers to itself.
    pub refers_to_itself: bool,
    /// Triggers that may leave a row out, by returning nothing before it is inserted.
    pub before_insert_triggers: Vec<String>,
    /// Whether row security policies apply to the session's role; COPY refuses to obey them.
    pub has_row_security: bool,
    /// Its columns, in their order.
    pub columns: Vec<Column>,
    /// The parameters of the session that found it.
    pub session: SessionParams,
}

/// One column of a [`Table`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub column_type: Type,
    /// Its type as the server writes it: `smallint`, `character varying(20)`.
    pub type_name: String,
    /// Its type without a length or precision, for a cast: `character varying`.
    pub base_name: String,
    /// Its length, precision or fields, as the server keeps them; -1 if there are none.
    pub modifier: i32,
    /// The OID of the array over its type; 0 if there is none.
    pub array_oid: u32,
    /// `GENERATED ALWAYS AS (…) STORED`: computed by the server, never written.
    pub generated: bool,
    /// `GENERATED ALWAYS AS IDENTITY`: an INSERT that gives a value has to say that it means to.
    pub identity_always: bool,
    /// Whether the session's role may insert into it.
    pub insertable: bool,
}

impl Column {
    /// `text`, an expression of type text, as COPY would read it into this column; `None` if a cast does.
    ///
    /// Of a parameter and of a cast, the input function is not told the modifier, which is then applied to what
    /// it has made. These two look at it before: `5` is five years in an `interval year`, and `1e-20000` is
    /// zero in a `numeric(10,2)`, while a `numeric` has no such value.
    pub fn read_with_modifier(&self, text: &str) -> Option<String> {
        let input = match (&self.column_type.kind, self.column_type.oid) {
            _ if self.modifier < 0 => return None,
            (TypeKind::Base, 1186) => "interval_in",
            (TypeKind::Base, 1700) => "numeric_in",
            _ => return None,
        };
        let modifier = self.modifier;
        Some(format!("pg_catalog.{input}(CAST({text} AS pg_catalog.cstring), 0, {modifier})"))
    }

    /// Arrays like `interval year[]`, whose input function SQL cannot call: see
    /// [`read_with_modifier`](Column::read_with_modifier).
    pub(crate) fn is_array_of_intervals_with_fields(&self) -> bool {
        self.type_name.starts_with("interval ") && self.type_name.ends_with("[]")
    }
}

impl TableName {
    /// Read `name` or `schema.name`, each part quoted or not.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Usage`] when it is neither.
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
            _ => Err(Error::usage(format!("`{text}` is not the name of a table"))
                .with_help("write name or schema.name, in double quotes where it has capitals or dots")),
        }
    }

    /// The name for a statement, quoted.
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
    /// A table of which only the name is known: it has to exist.
    pub fn named(name: TableName) -> Self {
        TableSpec { name, columns: Vec::new(), create: Vec::new() }
    }
}

/// The types of a table's columns, those that they are made of, and so on: what domains are over, and what
/// arrays are of. Other types too have a `typelem`; an array is what `array_in` reads.
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

/// Put the type `oid` together from what [`TYPES`] found.
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

impl Table {
    /// Look `name` up in the catalog; `None` when there is no such table.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn find(client: &impl GenericClient, name: &TableName) -> Result<Option<Table>> {
        let failed = |error| Error::database(&format!("look up table {name}"), &error);
        let relation = client
            .query_opt(
                "SELECT c.oid, n.nspname, c.relname, c.relkind,
                        c.relhasrules AND EXISTS (
                            SELECT FROM pg_catalog.pg_rewrite WHERE ev_class = c.oid AND ev_type = '3'),
                        current_setting('server_version_num')::int, current_setting('server_encoding'),
                        current_setting('TimeZone'), current_setting('DateStyle'),
                        current_setting('IntervalStyle'), current_setting('array_nulls')::bool,
                        pg_catalog.row_security_active(c.oid),
                        -- A row trigger (1), before (2) an INSERT (4).
                        ARRAY(SELECT tgname::text FROM pg_catalog.pg_trigger
                              WHERE tgrelid = c.oid AND tgtype & 7 = 7 AND tgenabled <> 'D' ORDER BY tgname),
                        EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = c.oid AND confrelid = c.oid)
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.oid = pg_catalog.to_regclass($1)",
                &[&name.sql()],
            )
            .await
            .map_err(failed)?;
        let Some(relation) = relation else { return Ok(None) };
        let oid: u32 = relation.get(0);
        let other_kind = match relation.get::<_, i8>(3).cast_unsigned() {
            b'r' | b'p' => None,
            b'v' => Some("a view"),
            b'm' => Some("a materialized view"),
            b'f' => Some("a foreign table"),
            b'S' => Some("a sequence"),
            _ => Some("no table"),
        };
        let rows = client
            .query(
                "SELECT a.attname, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod),
                        t.typarray, a.attgenerated <> '',
                        pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'INSERT'),
                        pg_catalog.format_type(a.atttypid, -1), a.attidentity = 'a', a.atttypmod
                 FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
                 WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
                 ORDER BY a.attnum",
                &[&oid],
            )
            .await
            .map_err(failed)?;
        let types = client.query(TYPES, &[&oid]).await.map_err(failed)?;
        let types = types.iter().map(|row| (row.get(0), row)).collect();
        let columns = rows
            .iter()
            .map(|row| Column {
                name: row.get(0),
                column_type: describe(row.get(1), &types),
                type_name: row.get(2),
                array_oid: row.get(3),
                generated: row.get(4),
                insertable: row.get(5),
                base_name: row.get(6),
                identity_always: row.get(7),
                modifier: row.get(8),
            })
            .collect();
        let session = SessionParams {
            version_num: relation.get(5),
            server_encoding: relation.get(6),
            time_zone: relation.get(7),
            date_style: relation.get(8),
            interval_style: relation.get(9),
            array_nulls: relation.get(10),
        };
        let name = TableName { schema: Some(relation.get(1)), table: relation.get(2) };
        Ok(Some(Table {
            oid,
            name,
            other_kind,
            is_partitioned: relation.get::<_, i8>(3).cast_unsigned() == b'p',
            has_insert_rules: relation.get(4),
            before_insert_triggers: relation.get(12),
            refers_to_itself: relation.get(13),
            has_row_security: relation.get(11),
            columns,
            session,
        }))
    }

    /// The table that `spec` describes, as far as that shows without a server that has it.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Config`] when a column has a type that is none of PostgreSQL's own.
    pub fn described(spec: &TableSpec) -> Result<Table> {
        let column = |(name, sql_type): &(String, String)| {
            let Some(found) = sql_type::read(sql_type) else {
                let message = format!("[table]: the type of {name}, {sql_type}, is none of PostgreSQL's own");
                return Err(Error::config(message)
                    .with_help("only a server knows other types: use --mode copy, rows or batch"));
            };
            let SqlType { column_type, type_name, base_name, array_oid, generated } = found;
            let (name, identity_always, insertable) = (name.clone(), false, true);
            Ok(Column {
                name,
                column_type,
                type_name,
                base_name,
                array_oid,
                // No statement is made for it.
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
            is_partitioned: false,
            has_insert_rules: false,
            before_insert_triggers: Vec::new(),
            refers_to_itself: false,
            has_row_security: false,
            columns: spec.columns.iter().map(column).collect::<Result<_>>()?,
            session: SessionParams::default(),
        })
    }

    /// What writes the values of `column`, which is one of this table's; `None` if only the server can.
    pub fn encoder(&self, column: &Column) -> Option<Encoder> {
        Encoder::new(&column.column_type, &self.session)
    }

    /// The columns that a CSV header may mean by `header`: as PostgreSQL folds it, then exactly.
    pub fn columns_called(&self, header: &str) -> impl Iterator<Item = &Column> {
        let named = |name: &str| self.columns.iter().find(|column| column.name == name);
        let folded = named(&header.trim().to_ascii_lowercase());
        let exact = named(header.trim()).or_else(|| named(header));
        folded.into_iter().chain(exact)
    }

    /// The column that SQL means by `name`, which may be quoted.
    pub fn column_in_sql(&self, name: &str) -> Option<&Column> {
        let name = fold(name)?;
        self.columns.iter().find(|column| column.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_sql_reads_them() {
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

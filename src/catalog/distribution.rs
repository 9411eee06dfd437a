//! How Citus distributes a table over the nodes of a cluster.

use std::fmt;

use serde::Serialize;
use tokio_postgres::{Error as PgError, GenericClient};

use crate::sql::literal;

/// How Citus keeps the rows of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TableDistribution {
    /// What decides where a row is.
    pub kind: DistributionKind,
    /// The column by whose value Citus chooses the shard of a row; `None` if there is no such column.
    pub column: Option<String>,
    /// Number of shards.
    pub shards: u64,
    /// Number of nodes that hold shards.
    pub nodes: u64,
}

/// What decides where Citus keeps a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DistributionKind {
    /// `by-column`: the value of a column.
    ByColumn,
    /// `reference`: every node has all rows.
    Reference,
    /// `single-shard`: one shard has all rows.
    SingleShard,
    /// `local`: the coordinator has all rows.
    Local,
}

/// How Citus is to distribute a table that a load creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DistributionSpec {
    /// By the value of a column.
    ByColumn {
        /// Its name.
        column: String,
        /// Number of shards; `None` for Citus's own default, or as many as the other table has.
        shards: Option<u32>,
        /// A table, named as in SQL, whose rows with the same value are to be on the same node.
        colocate_with: Option<String>,
    },
    /// As a reference table, of which every node has all rows.
    Reference,
}

/// Describes the distribution of a table.
const DISTRIBUTION: &str = "
    SELECT p.partmethod::pg_catalog.text, p.repmodel::pg_catalog.text, p.colocationid > 0,
           CASE WHEN p.partkey IS NOT NULL
                THEN column_to_column_name(p.logicalrelid, p.partkey::pg_catalog.text) END,
           (SELECT count(*) FROM pg_dist_shard s WHERE s.logicalrelid = p.logicalrelid),
           (SELECT count(DISTINCT l.groupid)
            FROM pg_dist_shard s JOIN pg_dist_placement l ON l.shardid = s.shardid
            WHERE s.logicalrelid = p.logicalrelid)
    FROM pg_dist_partition p WHERE p.logicalrelid = $1::pg_catalog.oid";

impl TableDistribution {
    /// The distribution of the relation `oid` in a database that has Citus; `None` if Citus does not know it.
    pub(super) async fn find(
        client: &impl GenericClient,
        oid: u32,
    ) -> Result<Option<TableDistribution>, PgError> {
        let Some(row) = client.query_opt(DISTRIBUTION, &[&oid]).await? else { return Ok(None) };
        let kind = match (row.get(0), row.get(1), row.get(2)) {
            ("n", "t", _) => DistributionKind::Reference,
            ("n", _, true) => DistributionKind::SingleShard,
            ("n", _, false) => DistributionKind::Local,
            _ => DistributionKind::ByColumn,
        };
        let number = |index| row.get::<_, i64>(index).unsigned_abs();
        Ok(Some(TableDistribution { kind, column: row.get(3), shards: number(4), nodes: number(5) }))
    }

    /// Whether the node that is connected to passes rows on to others.
    pub(crate) fn is_remote(&self) -> bool {
        self.kind != DistributionKind::Local
    }
}

impl fmt::Display for TableDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TableDistribution { kind, column, shards, nodes } = self;
        let plural = |number: u64, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
        let (shards, on) = (plural(*shards, "shard"), plural(*nodes, "node"));
        match (kind, column) {
            (DistributionKind::ByColumn, Some(column)) => {
                write!(f, "distributed by {column}, {shards} on {on}")
            }
            (DistributionKind::ByColumn, None) => write!(f, "distributed, {shards} on {on}"),
            (DistributionKind::Reference, _) => write!(f, "a reference table on {on}"),
            (DistributionKind::SingleShard, _) => f.write_str("distributed as a single shard"),
            (DistributionKind::Local, _) => f.write_str("local to the coordinator of Citus"),
        }
    }
}

impl DistributionSpec {
    /// The statement that distributes the table `name`, which is quoted SQL.
    pub(crate) fn statement(&self, name: &str) -> String {
        let table = literal(name);
        match self {
            DistributionSpec::Reference => format!("SELECT create_reference_table({table})"),
            DistributionSpec::ByColumn { column, shards, colocate_with } => {
                let shards = shards.iter().map(|shards| format!(", shard_count => {shards}"));
                let with = colocate_with.iter().map(|other| format!(", colocate_with => {}", literal(other)));
                let options: String = shards.chain(with).collect();
                format!("SELECT create_distributed_table({table}, {}{options})", literal(column))
            }
        }
    }

    /// Whether a table with this `distribution` is distributed as described, as far as the kind and the column go.
    pub(crate) fn fits(&self, distribution: &TableDistribution) -> bool {
        match self {
            DistributionSpec::Reference => distribution.kind == DistributionKind::Reference,
            DistributionSpec::ByColumn { column, .. } => distribution.column.as_ref() == Some(column),
        }
    }
}

impl fmt::Display for DistributionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DistributionSpec::Reference => f.write_str("a reference table"),
            DistributionSpec::ByColumn { column, .. } => write!(f, "distributed by {column}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_name_what_is_wanted_only() {
        let by =
            |shards, colocate_with| DistributionSpec::ByColumn { column: "id".into(), shards, colocate_with };
        for (spec, expected) in [
            (DistributionSpec::Reference, r#"SELECT create_reference_table('"s"."It''s"')"#),
            (by(None, None), r#"SELECT create_distributed_table('"s"."It''s"', 'id')"#),
            (by(Some(8), None), r#"SELECT create_distributed_table('"s"."It''s"', 'id', shard_count => 8)"#),
            (
                by(None, Some(r#""other""#.into())),
                r#"SELECT create_distributed_table('"s"."It''s"', 'id', colocate_with => '"other"')"#,
            ),
        ] {
            assert_eq!(spec.statement(r#""s"."It's""#), expected);
        }
    }
}

//! The plans of the slowest arguments.

use postgres_types::Type;
use serde::Serialize;
use tokio_postgres::Client;

use super::ask::Connection;
use super::workload::{Mix, literal};
use crate::table::quote;
use crate::{Error, Result};

/// How the server ran one statement with the arguments that took longest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SlowPlan {
    /// The workload.
    pub workload: String,
    /// The statement.
    pub sql: String,
    /// The arguments.
    pub arguments: String,
    /// What the whole run of the workload took then, in microseconds.
    pub took_us: f64,
    /// What EXPLAIN (ANALYZE, BUFFERS) says, line by line; the statement was run once more for it, and rolled back.
    pub plan: Vec<String>,
    /// How often it was planned for its arguments, and how often one plan served for all; null before
    /// PostgreSQL 14, and where it was not prepared.
    pub planned: Option<Planned>,
}

/// How often a prepared statement was planned in which way, over all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// For the arguments at hand.
    pub custom: u64,
    /// For any arguments.
    pub generic: u64,
}

/// How the statements on `connections` were planned, by their text.
///
/// # Errors
/// When the server does not answer; one before PostgreSQL 14 knows nothing.
pub async fn planned(connections: &[Connection], sql: &str) -> Result<Option<Planned>> {
    let mut all = Planned { custom: 0, generic: 0 };
    for connection in connections {
        let found = connection
            .client
            .query_opt(
                "SELECT sum(custom_plans)::bigint, sum(generic_plans)::bigint
                 FROM pg_catalog.pg_prepared_statements WHERE statement = $1",
                &[&sql],
            )
            .await;
        match found {
            Ok(Some(row)) => {
                all.custom += row.get::<_, Option<i64>>(0).unwrap_or(0) as u64;
                all.generic += row.get::<_, Option<i64>>(1).unwrap_or(0) as u64;
            }
            Ok(None) => {}
            Err(error) if error.code() == Some(&tokio_postgres::error::SqlState::UNDEFINED_COLUMN) => {
                return Ok(None);
            }
            Err(error) => return Err(Error::database("ask how statements were planned", &error)),
        }
    }
    Ok((all.custom + all.generic > 0).then_some(all))
}

/// Have the server run statement `number` of `script` again with the arguments of run `time`, and say how.
///
/// `planned` tells whether a plan for any arguments had come into use.
///
/// # Errors
/// When the server refuses it.
pub async fn explain(
    client: &Client,
    mix: &Mix,
    (script, number, time): (usize, usize, u64),
    types: &[Type],
    planned: Option<Planned>,
) -> Result<Vec<String>> {
    let sql = mix.scripts[script].statements[number].sql.trim_end().trim_end_matches(';');
    let failed = |error| Error::database(&format!("explain {}", mix.scripts[script].name), &error);
    let names: Vec<String> =
        types.iter().map(|type_| format!("{}.{}", quote(type_.schema()), quote(type_.name()))).collect();
    let literals: Vec<String> = mix
        .arguments(script, number, time)
        .zip(types)
        .map(|(argument, type_)| literal(argument, type_))
        .collect();
    let list =
        |items: &[String]| if items.is_empty() { String::new() } else { format!("({})", items.join(", ")) };
    let mode = match planned {
        Some(Planned { generic: 1.., .. }) => "force_generic_plan",
        _ => "force_custom_plan",
    };
    let prepare = format!(
        "BEGIN; SET LOCAL plan_cache_mode = {mode}; PREPARE postgres_etl_slowest{} AS {sql}",
        list(&names)
    );
    client.batch_execute(&prepare).await.map_err(failed)?;
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS) EXECUTE postgres_etl_slowest{}", list(&literals));
    let rows = client.simple_query(&explain).await;
    client.batch_execute("ROLLBACK; DEALLOCATE postgres_etl_slowest").await.map_err(failed)?;
    let lines = rows.map_err(failed)?.into_iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(lines.collect())
}

//! The plans of the slowest arguments.

use std::time::Duration;

use serde::Serialize;
use tokio_postgres::SimpleQueryMessage;

use crate::postgres::server::SessionPool;
use crate::query::drive::sender::{Connection, QuerySender};
use crate::query::drive::worker;
use crate::query::workload::{Mix, literal};
use crate::sql::quote;
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
    /// What the server took for the whole run of the workload then, in microseconds.
    pub took_us: f64,
    /// What EXPLAIN (ANALYZE, BUFFERS) says, line by line; the statement was run once more for it, and rolled back.
    pub plan: Vec<String>,
    /// Why there is no plan.
    pub not_explained: Option<String>,
    /// How often it was planned for its arguments, and how often one plan served for all; null before
    /// PostgreSQL 14, and where it was not prepared.
    pub planned: Option<Planned>,
}

/// How often a prepared statement was planned in which way since it was prepared, so with the warm-up, over all
/// connections that were not lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// For the arguments at hand.
    pub custom: u64,
    /// For any arguments.
    pub generic: u64,
}

/// How the statements on `connections` were planned, by their text.
async fn planned(connections: &[Connection], sql: &str) -> Result<Option<Planned>> {
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

/// The run of a workload that took longest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slowest {
    /// Which workload.
    pub workload: usize,
    /// Which run of it.
    pub time: u64,
    /// What it took.
    pub took: Duration,
}

/// Have the server run the statements of `slowest` again, in one transaction that is rolled back, and say how.
///
/// `connections` are those on which they were prepared.
pub(super) async fn explain(
    pool: &SessionPool,
    sender: &QuerySender,
    slowest: &Slowest,
    connections: &[Connection],
) -> Vec<SlowPlan> {
    let Slowest { workload, time, took } = *slowest;
    let mix = &sender.mix;
    let mut plans = Vec::new();
    let connection = worker::connect(pool, sender).await;
    let mut is_broken = false;
    for (number, text) in mix.workloads[workload].statements.iter().enumerate() {
        let planned = planned(connections, &text.sql).await.ok().flatten();
        let arguments = mix.arguments(workload, number, time);
        let mut slow = SlowPlan {
            workload: mix.workloads[workload].name.clone(),
            sql: text.sql.clone(),
            arguments: arguments.map(|argument| argument.to_string()).collect::<Vec<_>>().join(", "),
            took_us: took.as_secs_f64() * 1e6,
            plan: Vec::new(),
            not_explained: None,
            planned,
        };
        let found = match &connection {
            _ if is_broken => {
                Err("an earlier statement of its transaction could not be explained".to_owned())
            }
            Err(error) => Err(error.to_string()),
            Ok(connection) => explain_one(connection, mix, (workload, number, time), planned)
                .await
                .map_err(|error| Error::database("explain it", &error).to_string()),
        };
        match found {
            Ok(plan) => slow.plan = plan,
            Err(why) => {
                is_broken = true;
                slow.not_explained = Some(why);
            }
        }
        plans.push(slow);
    }
    if let Ok(connection) = connection {
        let _ = connection.client.batch_execute("ROLLBACK").await;
        // It holds statements that are prepared under our names.
        connection.close();
    }
    plans
}

async fn explain_one(
    connection: &Connection,
    mix: &Mix,
    (workload, number, time): (usize, usize, u64),
    planned: Option<Planned>,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let client = &connection.client;
    let types = connection.prepared[workload][number].params();
    let sql = mix.workloads[workload].statements[number].sql.trim_end().trim_end_matches(';');
    let names: Vec<String> =
        types.iter().map(|type_| format!("{}.{}", quote(type_.schema()), quote(type_.name()))).collect();
    let literals: Vec<String> = mix
        .arguments(workload, number, time)
        .zip(types)
        .map(|(argument, type_)| literal(argument, type_))
        .collect();
    let list =
        |items: &[String]| if items.is_empty() { String::new() } else { format!("({})", items.join(", ")) };
    let mode = match planned {
        Some(Planned { generic: 1.., .. }) => "force_generic_plan",
        _ => "force_custom_plan",
    };
    let begin = match (number, &mix.workloads[workload].begin) {
        (0, Some(begin)) => begin,
        (0, None) => "BEGIN",
        _ => "",
    };
    let name = format!("postgres_etl_slowest_{number}");
    let prepare =
        format!("{begin}; SET LOCAL plan_cache_mode = {mode}; PREPARE {name}{} AS {sql}", list(&names));
    client.batch_execute(&prepare).await?;
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS) EXECUTE {name}{}", list(&literals));
    let lines = client.simple_query(&explain).await?.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(lines.collect())
}

//! The plans of the slowest arguments.

use std::time::Duration;

use serde::Serialize;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use crate::postgres::server::SessionPool;
use crate::query::drive::connection::Connection;
use crate::query::drive::sender::QuerySender;
use crate::query::workload::literal::literal;
use crate::query::workload::mix::Mix;
use crate::sql::quote;
use crate::{Error, Result};

/// The plan of a statement, with the arguments of the slowest iteration of its workload.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SlowPlan {
    /// The name of the workload.
    pub workload: String,
    /// The statement.
    pub sql: String,
    /// Its arguments, separated by commas.
    pub arguments: String,
    /// How long the server took for the whole iteration of the workload, in microseconds.
    pub took_us: f64,
    /// The lines of EXPLAIN (ANALYZE, BUFFERS), which executed the statement once more, in a transaction that was
    /// rolled back; empty if it could not be explained.
    pub plan: Vec<String>,
    /// Why the statement could not be explained; `None` if it was.
    pub not_explained: Option<String>,
    /// How the prepared statement was planned during the run; `None` before PostgreSQL 14, and where it was not
    /// prepared.
    pub planned: Option<PlanCounts>,
}

/// How many times a prepared statement was executed with each kind of plan, over all connections that were not lost,
/// including the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlanCounts {
    /// With a custom plan, made for the arguments at hand.
    pub custom: u64,
    /// With the generic plan, made for any arguments.
    pub generic: u64,
}

/// The slowest iteration of a workload.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlowestIteration {
    /// The index of the workload.
    pub workload: usize,
    /// The number of the iteration.
    pub iteration: u64,
    /// How long the server took for it.
    pub took: Duration,
}

/// How the statement `sql`, prepared on `connections`, was planned; `None` if the server does not count it.
async fn plan_counts(connections: &[Connection], sql: &str) -> Result<Option<PlanCounts>> {
    let mut all = PlanCounts { custom: 0, generic: 0 };
    for connection in connections {
        let counted = connection
            .client
            .query_opt(
                "SELECT sum(custom_plans)::bigint, sum(generic_plans)::bigint
                 FROM pg_catalog.pg_prepared_statements WHERE statement = $1",
                &[&sql],
            )
            .await;
        match counted {
            Ok(Some(row)) => {
                all.custom += row.get::<_, Option<i64>>(0).unwrap_or(0) as u64;
                all.generic += row.get::<_, Option<i64>>(1).unwrap_or(0) as u64;
            }
            Ok(None) => {}
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_COLUMN) => return Ok(None),
            Err(error) => return Err(Error::database("read how statements were planned", error)),
        }
    }
    Ok((all.custom + all.generic > 0).then_some(all))
}

/// Have the server execute the statements of the `slowest` iteration again, in one transaction that is rolled back, and
/// return their plans.
///
/// The statements were prepared on `connections` during the run.
pub(super) async fn explain(
    pool: &SessionPool,
    sender: &QuerySender,
    slowest: &SlowestIteration,
    connections: &[Connection],
) -> Vec<SlowPlan> {
    let SlowestIteration { workload, iteration, took } = *slowest;
    let mix = &sender.mix;
    let mut plans = Vec::new();
    let connection = Connection::open((pool, 0), &mix.workloads, false).await;
    let mut is_broken = false;
    for (number, text) in mix.workloads[workload].statements.iter().enumerate() {
        let planned = plan_counts(connections, &text.sql).await.ok().flatten();
        let arguments = mix.arguments(workload, number, iteration);
        let mut slow = SlowPlan {
            workload: mix.workloads[workload].name.clone(),
            sql: text.sql.clone(),
            arguments: arguments.map(|argument| argument.to_string()).collect::<Vec<_>>().join(", "),
            took_us: took.as_secs_f64() * 1e6,
            plan: Vec::new(),
            not_explained: None,
            planned,
        };
        let explained = match &connection {
            _ if is_broken => {
                Err("an earlier statement of the transaction could not be explained".to_owned())
            }
            Err(error) => Err(error.to_string()),
            Ok(connection) => explain_one(connection, mix, (workload, number, iteration), planned)
                .await
                .map_err(|error| Error::database("explain the statement", error).to_string()),
        };
        match explained {
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
        // It has statements prepared that the pool's other users do not expect.
        connection.close();
    }
    plans
}

/// The plan of statement `number` of `workload`, which begins the transaction if it is the first.
async fn explain_one(
    connection: &Connection,
    mix: &Mix,
    (workload, number, iteration): (usize, usize, u64),
    planned: Option<PlanCounts>,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let client = &connection.client;
    let types = connection.prepared[workload][number].params();
    let sql = mix.workloads[workload].statements[number].sql.trim_end().trim_end_matches(';');
    let names: Vec<String> =
        types.iter().map(|type_| format!("{}.{}", quote(type_.schema()), quote(type_.name()))).collect();
    let literals: Vec<String> = mix
        .arguments(workload, number, iteration)
        .zip(types)
        .map(|(argument, type_)| literal(argument, type_))
        .collect();
    let list =
        |items: &[String]| if items.is_empty() { String::new() } else { format!("({})", items.join(", ")) };
    let mode = match planned {
        Some(PlanCounts { generic: 1.., .. }) => "force_generic_plan",
        _ => "force_custom_plan",
    };
    let begin = match (number, &mix.workloads[workload].begin) {
        (0, Some(begin)) => begin,
        (0, None) => "BEGIN",
        _ => "",
    };
    let name = format!("postgres_etl_slowest_{number}");
    let prepare = format!(
        "{begin}; SET LOCAL plan_cache_mode = {mode}; PREPARE {name}{} AS {sql}; SAVEPOINT {name}",
        list(&names)
    );
    client.batch_execute(&prepare).await?;
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS) EXECUTE {name}{}", list(&literals));
    let explained = client.simple_query(&explain).await;
    // A rollback of the transaction would leave the prepared statement behind, in a session that may be shared.
    let undo = if explained.is_ok() { String::new() } else { format!("ROLLBACK TO {name};") };
    client.batch_execute(&format!("{undo} DEALLOCATE {name}")).await?;
    let lines = explained?.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(lines.collect())
}

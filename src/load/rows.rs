//! Mode rows: one prepared INSERT a row, pipelined.

use tokio_postgres::{Client, Error as PgError, Statement};

use super::raw::Raw;
use super::tuples::{Target, Tuple};
use super::{Feed, place_of, refused};
use crate::postgres::window::Window;
use crate::table::{self, TableName};
use crate::{Error, Result};

/// `INSERT INTO table (columns) VALUES ($1, …)`, prepared with the columns' own types.
async fn prepare(client: &Client, table: &TableName, targets: &[Target]) -> Result<Statement> {
    let columns = table::quote_list(targets.iter().map(|target| target.column.name.as_str()));
    let parameters: Vec<String> = (1..=targets.len()).map(|number| format!("${number}")).collect();
    let sql = format!("INSERT INTO {} ({columns}) VALUES ({})", table.sql(), parameters.join(", "));
    client
        .prepare(&sql)
        .await
        .map_err(|error| Error::database(&format!("prepare the INSERT into {table}"), &error))
}

/// Insert what `feed` gives, with up to `depth` rows on the way; returns how many the server counted.
///
/// # Errors
/// The first row that the server refuses, with its line. Rows behind it may be on the way: inside a
/// transaction they fail too, and with autocommit they count, so all of them are awaited.
pub async fn insert(
    client: &Client,
    table: &TableName,
    targets: &[Target],
    feed: &Feed,
    depth: usize,
) -> (u64, Result<()>) {
    let statement = match prepare(client, table, targets).await {
        Ok(statement) => statement,
        Err(error) => return (0, Err(error)),
    };
    let mut window = Window::new(depth);
    let mut inserted = 0;
    let mut outcome = Ok(());
    loop {
        let chunk = match feed.next().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => {
                // A row before it may have been refused, which is then the first error.
                while let Some(answer) = window.pop().await {
                    take(Some(answer), &mut inserted, &mut outcome, feed, table);
                }
                return (inserted, outcome.and(Err(error)));
            }
        };
        for (tuple, &line) in chunk.iter().zip(&chunk.lines) {
            while window.is_full() && outcome.is_ok() {
                take(window.pop().await, &mut inserted, &mut outcome, feed, table);
            }
            if outcome.is_err() {
                break;
            }
            window.push(insert_one(client, &statement, tuple, line)).await;
        }
        if outcome.is_err() {
            break;
        }
    }
    loop {
        let answer = window.pop().await;
        if answer.is_none() {
            return (inserted, outcome);
        }
        take(answer, &mut inserted, &mut outcome, feed, table);
    }
}

async fn insert_one(
    client: &Client,
    statement: &Statement,
    tuple: Tuple,
    line: u64,
) -> Result<u64, (u64, PgError)> {
    client.execute_raw(statement, tuple.map(Raw)).await.map_err(|error| (line, error))
}

/// Count one answer; of the errors the first is kept, since those behind it only say so.
fn take(
    answer: Option<Result<u64, (u64, PgError)>>,
    inserted: &mut u64,
    outcome: &mut Result<()>,
    feed: &Feed,
    table: &TableName,
) {
    match answer {
        Some(Ok(rows)) => *inserted += rows,
        Some(Err((line, error))) if outcome.is_ok() => {
            let doing = format!("insert {} into {table}", place_of(feed.name(), line));
            *outcome = Err(refused(&doing, &error));
        }
        _ => {}
    }
}

//! The tutorial's queries: a pool of connections, and for each a future that asks again when it has the answer.
//!
//!   sqlx-query URL SQL LOW HIGH CONNECTIONS SECONDS SEED
//!
//! $1 in SQL is a number from LOW to HIGH. With SECONDS 0 it prints the answers to the first numbers, one a line.

use std::error::Error;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use peers::{ANSWERS, figures};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::postgres::{PgPool, PgPoolOptions, PgRow};
use sqlx::Row as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, sql, low, high, connections, seconds, seed] = &arguments[..] else {
        return Err("usage: sqlx-query URL SQL LOW HIGH CONNECTIONS SECONDS SEED".into());
    };
    let (low, high, connections) = (low.parse()?, high.parse()?, connections.parse()?);
    let (seconds, seed): (u64, u64) = (seconds.parse()?, seed.parse()?);
    let pool = PgPoolOptions::new().min_connections(connections).max_connections(connections).connect(url).await?;
    if seconds == 0 {
        for number in low..low + ANSWERS {
            println!("{}", answer(&ask(&pool, sql, low, number).await?));
        }
        return Ok(());
    }
    let began = Instant::now();
    let end = began + Duration::from_secs(seconds);
    let work = (0..connections).map(|number| {
        let (pool, mut draw) = (&pool, StdRng::seed_from_u64(seed + u64::from(number)));
        async move {
            let mut latencies = Vec::new();
            loop {
                let asked = Instant::now();
                if asked >= end {
                    return Ok::<_, sqlx::Error>(latencies);
                }
                let number = draw.random_range(low..=high);
                ask(pool, sql, low, number).await?;
                latencies.push(asked.elapsed());
            }
        }
    });
    let latencies = try_join_all(work).await?.concat();
    println!("{}", figures(latencies, began.elapsed().as_secs_f64()));
    Ok(())
}

/// Ages are small integers in the table, and IDs are not.
async fn ask(pool: &PgPool, sql: &str, low: i32, number: i32) -> Result<PgRow, sqlx::Error> {
    let query = sqlx::query(sql);
    // The smallest age is 22, and the smallest ID 1.
    if low == 22 { query.bind(number as i16) } else { query.bind(number) }.fetch_one(pool).await
}

/// A name, or a count.
fn answer(row: &PgRow) -> String {
    row.try_get::<String, _>(0).unwrap_or_else(|_| row.get::<i64, _>(0).to_string())
}

//! The tutorial's load: a pool of connections, a future for each row, one INSERT in its own transaction for each.
//!
//!   sqlx-load URL TABLE FILE
//!
//! At most as many futures as connections are in flight, and the file is read as they finish: the most favourable reading
//! of the method. (A task spawned for every row at once takes hundreds of megabytes more.) The pool is as sqlx makes
//! it unless told otherwise.

use std::error::Error;

use futures::stream::{self, StreamExt, TryStreamExt};
use peers::Person;
use sqlx::postgres::PgPoolOptions;

const CONNECTIONS: u32 = 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, table, file] = &arguments[..] else { return Err("usage: sqlx-load URL TABLE FILE".into()) };
    let columns = "id, name, age, ismarried, city, state, country";
    let insert = &format!("INSERT INTO {table} ({columns}) VALUES ($1, $2, $3, $4, $5, $6, $7)");
    let pool = &PgPoolOptions::new().max_connections(CONNECTIONS).connect(url).await?;
    stream::iter(csv::Reader::from_path(file)?.into_deserialize::<Person>())
        .map(|person| async move {
            let person = person?;
            sqlx::query(insert)
                .bind(person.id)
                .bind(person.name)
                .bind(person.age)
                .bind(person.is_married)
                .bind(person.city)
                .bind(person.state)
                .bind(person.country)
                .execute(pool)
                .await?;
            Ok::<_, Box<dyn Error>>(())
        })
        .buffer_unordered(CONNECTIONS as usize)
        .try_collect()
        .await
}

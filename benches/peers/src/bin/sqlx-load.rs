//! The tutorial's load: a pool of connections, a future for each row, one INSERT in its own transaction for each.
//!
//!   sqlx-load URL FILE
//!
//! At most as many futures as connections are in flight, and the file is read as they finish: the most favourable reading
//! of the method. (A task spawned for every row at once takes hundreds of megabytes more.) The pool is as sqlx makes
//! it unless told otherwise.

use std::error::Error;

use futures::stream::{self, StreamExt, TryStreamExt};
use peers::Person;
use sqlx::postgres::PgPoolOptions;

const CONNECTIONS: u32 = 20;

const INSERT: &str = "INSERT INTO persons (id, name, age, ismarried, city, state, country) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7)";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(file)) = (args.next(), args.next()) else {
        return Err("usage: sqlx-load URL FILE".into());
    };
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&url).await?;
    sqlx::query("TRUNCATE persons").execute(&pool).await?;

    let pool = &pool;
    let inserted = stream::iter(csv::Reader::from_path(file)?.into_deserialize::<Person>())
        .map(|person| async move {
            let person = person?;
            sqlx::query(INSERT)
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
        .try_fold(0_u64, async |inserted, ()| Ok(inserted + 1))
        .await?;
    println!("{inserted}");
    Ok(())
}

//! A thread for each connection, which asks again when it has the answer, or the answers to a pipeline of questions.
//!
//!   zero-query URL SQL LOW HIGH CONNECTIONS SECONDS SEED [DEPTH]
//!
//! $1 in SQL is a number from LOW to HIGH. With DEPTH that many are asked in a pipeline with one Sync. With SECONDS 0 it
//! prints the answers to the first numbers, one a line.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use peers::{ANSWERS, figures};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use url::Url;
use zero_postgres::{Opts, PreparedStatement};
use zero_postgres::sync::Conn;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, sql, low, high, connections, seconds, seed, rest @ ..] = &arguments[..] else {
        return Err("usage: zero-query URL SQL LOW HIGH CONNECTIONS SECONDS SEED [DEPTH]".into());
    };
    let (low, high, connections): (i32, i32, u64) = (low.parse()?, high.parse()?, connections.parse()?);
    let (seconds, seed): (u64, u64) = (seconds.parse()?, seed.parse()?);
    let depth = rest.first().map_or(Ok(None), |depth| depth.parse().map(Some))?;
    let open = || -> Outcome<Asking> { Asking::new(&options(url)?, sql, low, depth) };
    if seconds == 0 {
        let numbers: Vec<i32> = (low..low + ANSWERS).collect();
        open()?.ask(&numbers, |answer| println!("{answer}"))?;
        return Ok(());
    }
    let asking = (0..connections).map(|_| open()).collect::<Outcome<Vec<_>>>()?;
    let began = Instant::now();
    let end = began + Duration::from_secs(seconds);
    let work = |mut asking: Asking, seed: u64| -> Outcome<Vec<Duration>> {
        let (mut draw, mut latencies) = (StdRng::seed_from_u64(seed), Vec::new());
        let mut numbers = vec![0; depth.unwrap_or(1)];
        loop {
            let asked = Instant::now();
            if asked >= end {
                return Ok(latencies);
            }
            numbers.iter_mut().for_each(|number| *number = draw.random_range(low..=high));
            asking.ask(&numbers, |_| latencies.push(asked.elapsed()))?;
        }
    };
    let latencies = thread::scope(|scope| {
        let numbered = asking.into_iter().zip(seed..);
        let threads: Vec<_> = numbered.map(|(asking, seed)| scope.spawn(move || work(asking, seed))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect::<Outcome<Vec<_>>>()
    })?;
    println!("{}", figures(latencies.concat(), began.elapsed().as_secs_f64()));
    Ok(())
}

/// The options in `url`, of which the library does not read the directory of a socket.
fn options(url: &str) -> Outcome<Opts> {
    let url = Url::parse(url)?;
    let mut options = Opts::try_from(&url)?;
    options.params.clear();
    for (key, value) in url.query_pairs() {
        match &*key {
            "host" => options.host = value.into_owned(),
            "port" => options.port = value.parse()?,
            "user" => options.user = value.into_owned(),
            "dbname" => options.database = Some(value.into_owned()),
            "password" => options.password = Some(value.into_owned()),
            _ => {}
        }
    }
    if options.host.starts_with('/') {
        options.socket = Some(format!("{}/.s.PGSQL.{}", options.host, options.port));
    }
    Ok(options)
}

/// A connection with the statement.
struct Asking {
    connection: Conn,
    statement: PreparedStatement,
    /// Ages are small integers in the table, and IDs are not.
    is_about_age: bool,
    is_pipelined: bool,
}

impl Asking {
    fn new(options: &Opts, sql: &str, low: i32, depth: Option<usize>) -> Outcome<Asking> {
        let mut connection = Conn::new(options.clone())?;
        let statement = connection.prepare(sql)?;
        // The smallest age is 22, and the smallest ID 1.
        Ok(Asking { connection, statement, is_about_age: low == 22, is_pipelined: depth.is_some() })
    }

    /// Ask about `numbers`, and hand each answer to `answered` as it comes: a name, or a count.
    fn ask(&mut self, numbers: &[i32], mut answered: impl FnMut(String)) -> Outcome<()> {
        let Asking { connection, statement, is_about_age, is_pipelined } = self;
        if *is_pipelined {
            connection.pipeline(|pipeline| {
                let mut asked = Vec::with_capacity(numbers.len());
                for number in numbers {
                    asked.push(pipeline.exec(&*statement, (*number,))?);
                }
                pipeline.sync()?;
                for ticket in asked {
                    let answer: Option<(String,)> = pipeline.claim_one(ticket)?;
                    answered(answer.unwrap_or_default().0);
                }
                Ok(())
            })?;
            return Ok(());
        }
        for number in numbers {
            if *is_about_age {
                let answer: Option<(i64,)> = connection.exec_first(&*statement, (*number as i16,))?;
                answered(answer.unwrap_or_default().0.to_string());
            } else {
                let answer: Option<(String,)> = connection.exec_first(&*statement, (*number,))?;
                answered(answer.unwrap_or_default().0);
            }
        }
        Ok(())
    }
}

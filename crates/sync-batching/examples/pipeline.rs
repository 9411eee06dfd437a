//! Measures pipelined look-ups over one connection: stock driver against up to 256 statements per Sync.
//!
//! ```sh
//! cargo run --release --example pipeline -- postgresql://postgres@localhost/postgres
//! ```
//!
//! The server is named by the first argument or `DATABASE_URL`. A host that is a path is the directory of a Unix
//! socket. Connections are not encrypted.

use std::error::Error;
use std::io;
use std::num::NonZero;
use std::process::ExitCode;
use std::time::Instant;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls, Statement};
use tokio_postgres_sync_batching::SyncBatching;

/// Look-ups per round, unless the second argument says otherwise.
const LOOK_UPS: i64 = 100_000;

/// Look-ups in flight at once.
const IN_FLIGHT: usize = 512;

/// Rounds of each kind. The two kinds alternate.
const ROUNDS: usize = 9;

/// Statements per Sync, at most.
const SYNC_EVERY: NonZero<usize> = NonZero::new(256).unwrap();

type Result<T> = std::result::Result<T, Box<dyn Error>>;

// One thread for the client: on two cores, the server then has one to itself.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match measure().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<()> {
    let url = std::env::args().nth(1).or_else(|| std::env::var("DATABASE_URL").ok());
    let url = url.ok_or(
        "no server given: set DATABASE_URL or pass a connection string, \
         such as postgresql://postgres@localhost/postgres",
    )?;
    let config: Config = url.parse().map_err(|error| explain("the connection string is invalid", &error))?;

    let look_ups = std::env::args().nth(2).map_or(Ok(LOOK_UPS), |count| count.parse())?;

    let stock = Session::open(&config, None, look_ups).await?;
    let batching = Session::open(&config, Some(SYNC_EVERY), look_ups).await?;
    stock.round().await?;
    batching.round().await?;

    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(stock.round().await?);
        with.push(batching.round().await?);
    }
    let (without, with) = (median(without), median(with));
    println!("{look_ups} look-ups, {IN_FLIGHT} in flight on one connection, median of {ROUNDS} rounds");
    println!("  stock driver     {without:>9.0}/s");
    println!("  {SYNC_EVERY} per Sync     {with:>9.0}/s");
    println!("  ratio            {:>9.2}", with / without);
    Ok(())
}

/// A connection and its prepared statement.
struct Session {
    client: Client,
    statement: Statement,
    look_ups: i64,
}

impl Session {
    /// Connects to the first host of `config` that accepts, without Sync batching if `sync_every` is `None`.
    async fn open(config: &Config, sync_every: Option<NonZero<usize>>, look_ups: i64) -> Result<Session> {
        let client = connect(config, sync_every).await?;
        let statement = client
            .prepare("SELECT $1::int8 + 1")
            .await
            .map_err(|error| explain("cannot prepare the look-up", &error))?;
        Ok(Session { client, statement, look_ups })
    }

    /// Runs one round, checks every answer, and returns the rate in look-ups per second.
    async fn round(&self) -> Result<f64> {
        let start = Instant::now();
        stream::iter(0..self.look_ups)
            .map(|i| async move {
                let row = self.client.query_one(&self.statement, &[&i]).await;
                let answer: i64 =
                    row.and_then(|row| row.try_get(0)).map_err(|e| explain("look-up failed", &e))?;
                if answer == i + 1 { Ok(()) } else { Err(format!("{i} + 1 = {answer}")) }
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<()>()
            .await?;
        Ok(self.look_ups as f64 / start.elapsed().as_secs_f64())
    }
}

async fn connect(config: &Config, sync_every: Option<NonZero<usize>>) -> Result<Client> {
    let mut failure = "the connection string names no host".to_owned();
    for (at, host) in config.get_hosts().iter().enumerate() {
        let port = match *config.get_ports() {
            [] => 5432,
            [port] => port,
            ref ports => *ports.get(at).ok_or("the connection string has fewer ports than hosts")?,
        };
        let connected = match host {
            Host::Tcp(name) => match connect_tcp(name, port).await {
                Ok(socket) => log_in(config, socket, sync_every).await,
                Err(error) => Err(format!("cannot reach {name}:{port}: {error}")),
            },
            #[cfg(unix)]
            Host::Unix(directory) => {
                let path = directory.join(format!(".s.PGSQL.{port}"));
                match UnixStream::connect(&path).await {
                    Ok(socket) => log_in(config, socket, sync_every).await,
                    Err(error) => Err(format!("cannot reach {}: {error}", path.display())),
                }
            }
        };
        match connected {
            Ok(client) => return Ok(client),
            Err(error) => failure = error,
        }
    }
    Err(failure.into())
}

async fn connect_tcp(name: &str, port: u16) -> io::Result<TcpStream> {
    let socket = TcpStream::connect((name, port)).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

async fn log_in<S>(
    config: &Config,
    socket: S,
    sync_every: Option<NonZero<usize>>,
) -> std::result::Result<Client, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let refused = |error| explain("cannot log in", &error);
    if let Some(every) = sync_every {
        let stream = SyncBatching::new(socket, every);
        let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(refused)?;
        tokio::spawn(connection);
        Ok(client)
    } else {
        let (client, connection) = config.connect_raw(socket, NoTls).await.map_err(refused)?;
        tokio::spawn(connection);
        Ok(client)
    }
}

/// Formats an error together with its cause, which the driver leaves out of the error's own text.
fn explain(what: &str, error: &tokio_postgres::Error) -> String {
    match error.source() {
        Some(cause) => format!("{what}: {error}: {cause}"),
        None => format!("{what}: {error}"),
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

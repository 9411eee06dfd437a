//! A TCP proxy in front of the shared server that loses the answer to a chosen message.

use std::io::{self, Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::TestDb;
use super::workplace::Workplace;
use crate::PATIENCE;

/// What becomes of the connection on which the message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is closed when the server has answered, and the answer is lost.
    Cut,
    /// As [`Fate::Cut`], but with a TCP reset.
    Reset,
    /// It is closed before the server receives the message.
    CutBefore,
    /// As [`Fate::CutBefore`], but the server receives a half of the message.
    #[allow(dead_code, reason = "only of the long rounds")]
    CutWithin,
    /// It stays open, and the client receives nothing more.
    Hold,
    /// Before the message, the proxy begins a transaction of its own, of which the client learns nothing.
    #[allow(dead_code, reason = "not of the long rounds")]
    Begin,
}

/// What the proxy waits for, and what it does then.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Whether a message of the client, from its tag on, is of the kind to wait for.
    pub trigger: fn(&[u8]) -> bool,
    /// How many of the kind pass first.
    pub passing: usize,
    /// What becomes of the connection.
    pub fate: Fate,
    /// Whether the proxy then closes every other connection as well, and accepts no new one.
    pub then_closes: bool,
}

/// Whether `message` is a simple query that begins with `sql`.
pub(crate) fn is_query(message: &[u8], sql: &str) -> bool {
    message[0] == b'Q' && message[5..].starts_with(sql.as_bytes())
}

/// A proxy that carries out its plan once.
pub(crate) struct Proxy {
    database: TestDb,
    state: Arc<State>,
}

struct State {
    plan: Plan,
    upstream: std::path::PathBuf,
    seen: AtomicUsize,
    is_closed: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
    struck: Mutex<bool>,
    strikes: Condvar,
}

impl Proxy {
    /// Start a proxy in front of the server of `database`.
    pub(crate) fn start(database: &TestDb, plan: Plan) -> Proxy {
        let server: Config = database.url().parse().unwrap();
        let [Host::Unix(directory)] = server.get_hosts() else { panic!("the test server has one socket") };
        let state = Arc::new(State {
            plan,
            upstream: directory.join(format!(".s.PGSQL.{}", server.get_ports()[0])),
            seen: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            connections: Mutex::default(),
            struck: Mutex::default(),
            strikes: Condvar::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (name, user) = (server.get_dbname().unwrap(), server.get_user().unwrap());
        let url = format!("postgresql://{user}@127.0.0.1:{port}/{name}");
        let accepting = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                // The server's short messages are passed on one by one.
                client.set_nodelay(true).unwrap();
                if !accepting.is_closed.load(SeqCst) {
                    accepting.connections.lock().unwrap().push(client.try_clone().unwrap());
                    State::serve(&accepting, client);
                }
            }
        });
        Proxy { database: TestDb { url }, state }
    }

    /// A workplace whose program is pointed at the proxy, while its own client is connected to `database` directly.
    pub(crate) async fn workplace(&self, database: &TestDb) -> Workplace {
        Workplace::on(database).await.at(self.database.url())
    }

    /// The number of messages so far that are of the kind to wait for.
    pub(crate) fn seen(&self) -> usize {
        self.state.seen.load(SeqCst)
    }

    /// Wait until the plan has been carried out, or `child` has ended.
    #[allow(dead_code, reason = "only the long rounds do not know whether it will be")]
    pub(crate) fn wait_for_strike_or_end(&self, child: &mut Child) {
        let (started, mut struck) = (Instant::now(), self.state.struck.lock().unwrap());
        while !*struck && child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "the program neither sends the message nor ends");
            (struck, _) = self.state.strikes.wait_timeout(struck, Duration::from_millis(5)).unwrap();
        }
    }

    /// Wait until the plan has been carried out.
    pub(crate) fn wait_for_strike(&self) {
        let struck = self.state.struck.lock().unwrap();
        let waited = self.state.strikes.wait_timeout_while(struck, PATIENCE, |struck| !*struck);
        assert!(!waited.unwrap().1.timed_out(), "the program does not send the message");
    }
}

impl State {
    fn serve(state: &Arc<State>, client: TcpStream) {
        // The server may have been stopped.
        let Ok(server) = UnixStream::connect(&state.upstream) else { return };
        let is_next = Arc::new(AtomicBool::new(false));
        let (to_server, from_server) = (Arc::clone(state), Arc::clone(state));
        let (reader, writer) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let sees = Arc::clone(&is_next);
        thread::spawn(move || {
            // A connection that ends, in whatever way, ends the other one.
            let _ = to_server.pass_requests(&reader, &writer, &sees);
            let _ = writer.shutdown(Shutdown::Both);
        });
        thread::spawn(move || {
            let _ = from_server.pass_answers(server, &client, &is_next);
        });
    }

    /// Pass the client's messages one by one, and look for the chosen one.
    fn pass_requests(
        &self,
        client: &TcpStream,
        mut server: &UnixStream,
        is_next: &AtomicBool,
    ) -> io::Result<()> {
        let mut is_tagged = false;
        loop {
            let mut message = Vec::new();
            Read::take(client, 4 + u64::from(is_tagged)).read_to_end(&mut message)?;
            let Some(&length) = message.last_chunk::<4>() else { return Ok(()) };
            let body = u64::from(u32::from_be_bytes(length)) - 4;
            Read::take(client, body).read_to_end(&mut message)?;
            // A request for encryption is followed by another untagged message.
            is_tagged |= message.get(4..8) != Some(&80_877_103_u32.to_be_bytes());
            if is_tagged
                && (self.plan.trigger)(&message)
                && self.seen.fetch_add(1, SeqCst) == self.plan.passing
            {
                if matches!(self.plan.fate, Fate::CutBefore | Fate::CutWithin) {
                    if self.plan.fate == Fate::CutWithin {
                        server.write_all(&message[..message.len() / 2])?;
                    }
                    self.strike(client);
                    return Ok(());
                }
                is_next.store(true, SeqCst);
                if self.plan.fate == Fate::Begin {
                    server.write_all(b"Q\0\0\0\x0aBEGIN\0")?;
                }
            }
            server.write_all(&message)?;
        }
    }

    /// Pass what the server sends, until it is the answer to the chosen message.
    fn pass_answers(
        &self,
        mut server: UnixStream,
        mut client: &TcpStream,
        is_next: &AtomicBool,
    ) -> io::Result<()> {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let read = server.read(&mut bytes)?;
            if is_next.load(SeqCst) && self.plan.fate == Fate::Begin {
                let answer = b"C\0\0\0\x0aBEGIN\0Z\0\0\0\x05T";
                let Some(at) = bytes[..read].windows(answer.len()).position(|part| part == answer) else {
                    client.write_all(&bytes[..read])?;
                    continue;
                };
                is_next.store(false, SeqCst);
                client.write_all(&bytes[..at])?;
                client.write_all(&bytes[at + answer.len()..read])?;
                continue;
            }
            if is_next.load(SeqCst) {
                self.strike(client);
                return Ok(());
            }
            if read == 0 {
                return client.shutdown(Shutdown::Both);
            }
            client.write_all(&bytes[..read])?;
        }
    }

    /// Do what is planned to the connection of `client`.
    fn strike(&self, client: &TcpStream) {
        if self.plan.then_closes {
            self.is_closed.store(true, SeqCst);
            for other in self.connections.lock().unwrap().iter() {
                let _ = other.shutdown(Shutdown::Both);
            }
        }
        match self.plan.fate {
            Fate::Cut | Fate::CutBefore | Fate::CutWithin => drop(client.shutdown(Shutdown::Both)),
            Fate::Reset => {
                // Linux resets a connection when its socket is disconnected, whatever copies of it there are.
                rustix::net::connect_unspec(client).unwrap();
            }
            Fate::Hold | Fate::Begin => {}
        }
        *self.struck.lock().unwrap() = true;
        self.strikes.notify_all();
    }
}

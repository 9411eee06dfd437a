//! A TCP proxy that records what passes, cuts a connection after a number of bytes, and is as bad a network as is wanted.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::support::TestDb;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    Server,
}

/// Where a connection is cut: both of its ends are closed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// Which connection, in the order in which they are opened, from 0.
    pub connection: usize,
    pub sender: Sender,
    /// How many bytes of the sender pass.
    pub passing: usize,
}

/// What has passed over a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Passed {
    pub from_client: Vec<u8>,
    pub from_server: Vec<u8>,
}

impl Passed {
    /// What `sender` has sent.
    pub(crate) fn from(&self, sender: Sender) -> &[u8] {
        match sender {
            Sender::Client => &self.from_client,
            Sender::Server => &self.from_server,
        }
    }
}

/// The proxy. It can be told where to cut as often as is wanted.
pub(crate) struct ByteProxy {
    url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cut: Option<Cut>,
    /// How many bytes pass at once, and how long each of these takes; `None` for no limit.
    pace: Option<(usize, Duration)>,
    connections: Vec<Passed>,
    /// Both ends of each connection.
    sockets: Vec<(TcpStream, UnixStream)>,
}

impl ByteProxy {
    /// Start one in front of the server of `database`.
    pub(crate) fn start(database: &TestDb) -> ByteProxy {
        let server: Config = database.url().parse().unwrap();
        let [Host::Unix(directory)] = server.get_hosts() else { panic!("the test server has one socket") };
        let upstream = directory.join(format!(".s.PGSQL.{}", server.get_ports()[0]));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (name, user) = (server.get_dbname().unwrap(), server.get_user().unwrap());
        let url = format!("postgresql://{user}@127.0.0.1:{port}/{name}?sslmode=disable");
        let state = Arc::<Mutex<State>>::default();
        let accepting = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                client.set_nodelay(true).unwrap();
                serve(&client, &upstream, &accepting);
            }
        });
        ByteProxy { url, state }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From now on count connections from 0 again, and cut one as `cut` says.
    pub(crate) fn plan(&self, cut: Option<Cut>) {
        *self.state.lock().unwrap() = State { cut, ..State::default() };
    }

    /// From now on pass `bytes` at once, and take `duration` for these.
    pub(crate) fn throttle(&self, bytes: usize, duration: Duration) {
        self.state.lock().unwrap().pace = Some((bytes, duration));
    }

    /// Let nothing of what the clients send on the connections there are now arrive, or be acknowledged, as if the network
    /// had been unplugged.
    pub(crate) fn unplug(&self) {
        // The kernel drops each packet for which this program of one instruction returns 0.
        const RETURN: u16 = 0x06;
        for (client, _) in &self.state.lock().unwrap().sockets {
            SockRef::from(client).attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)]).unwrap();
        }
    }

    /// Close the connections there are now to the server, which would otherwise wait for the unplugged ones.
    pub(crate) fn give_up(&self) {
        for (_, server) in &self.state.lock().unwrap().sockets {
            let _ = server.shutdown(Shutdown::Both);
        }
    }

    /// What has passed over each connection since [`ByteProxy::plan`].
    pub(crate) fn passed(&self) -> Vec<Passed> {
        self.state.lock().unwrap().connections.clone()
    }
}

fn serve(client: &TcpStream, upstream: &PathBuf, state: &Arc<Mutex<State>>) {
    let server = UnixStream::connect(upstream).unwrap();
    let (number, cut, pace) = {
        let mut state = state.lock().unwrap();
        state.sockets.push((client.try_clone().unwrap(), server.try_clone().unwrap()));
        state.connections.push(Passed::default());
        let number = state.connections.len() - 1;
        (number, state.cut.filter(|cut| cut.connection == number), state.pace)
    };
    for sender in [Sender::Client, Sender::Server] {
        let limit = cut.filter(|cut| cut.sender == sender).map_or(usize::MAX, |cut| cut.passing);
        let (client, server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let state = Arc::clone(state);
        thread::spawn(move || {
            let record = |bytes: &[u8]| {
                thread::sleep(pace.map_or(Duration::ZERO, |(_, duration)| duration));
                let mut state = state.lock().unwrap();
                // Those of an earlier plan do not count.
                let Some(passed) = state.connections.get_mut(number) else { return };
                let log =
                    if sender == Sender::Client { &mut passed.from_client } else { &mut passed.from_server };
                log.extend_from_slice(bytes);
            };
            // A connection that ends, in whatever way, ends the other one.
            let most = pace.map_or(1 << 16, |(bytes, _)| bytes);
            let _ = pass((&client, &server), sender, (limit, most), record);
            let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
        });
    }
}

/// Pass what `sender` sends, up to `limit` bytes, and up to `most` at once.
fn pass(
    (mut client, mut server): (&TcpStream, &UnixStream),
    sender: Sender,
    (limit, most): (usize, usize),
    record: impl Fn(&[u8]),
) -> io::Result<()> {
    let (mut bytes, mut left) = (vec![0; most], limit);
    while left > 0 {
        let most = left.min(most);
        let read = match sender {
            Sender::Client => client.read(&mut bytes[..most])?,
            Sender::Server => server.read(&mut bytes[..most])?,
        };
        if read == 0 {
            break;
        }
        record(&bytes[..read]);
        match sender {
            Sender::Client => server.write_all(&bytes[..read])?,
            Sender::Server => client.write_all(&bytes[..read])?,
        }
        left -= read;
    }
    Ok(())
}

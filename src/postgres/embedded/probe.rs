//! Finds out whether a server accepts connections, by a complete startup exchange over its socket.
//!
//! A pid file may be stale and a socket file may be left over, but only a running server sends `ReadyForQuery`.

use std::io::{self, BufReader, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::postgres::embedded::options::{DATABASE, USER};

/// How long to wait for each write and each read of the exchange.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest message accepted from the server, in bytes.
const MAX_MESSAGE: usize = 1 << 20;

/// The state of a server, as far as its socket shows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerState {
    /// It accepts connections. The version is `None` if all of them are taken.
    Ready(Option<String>),
    /// It reports that it is starting up, recovering or shutting down.
    NotReady,
    /// The connection was accepted, but the exchange failed or timed out.
    Unresponsive,
    /// No process listens on the socket.
    NotListening,
    /// It refused the login, or is not a PostgreSQL server; with the reason.
    Refused(String),
}

/// Perform a startup exchange with the server at `socket`.
pub(super) fn probe(socket: &Path) -> ServerState {
    match exchange(socket) {
        Ok(state) => state,
        Err(e) => match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ServerState::NotListening,
            io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                ServerState::Refused(e.to_string())
            }
            _ => ServerState::Unresponsive,
        },
    }
}

fn exchange(socket: &Path) -> io::Result<ServerState> {
    let stream = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    // Set before connecting, which would block forever when the listen queue of a suspended server is full.
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.connect(&SockAddr::unix(socket)?)?;
    let mut stream = UnixStream::from(OwnedFd::from(stream));
    stream.write_all(&startup_message())?;
    let state = read_reply(&mut BufReader::new(&stream))?;
    if matches!(state, ServerState::Ready(Some(_))) {
        // Without Terminate, the server logs an unexpected end of file at some log levels.
        let _ = stream.write_all(&[b'X', 0, 0, 0, 4]);
    }
    Ok(state)
}

fn startup_message() -> Vec<u8> {
    let mut message = vec![0, 0, 0, 0, 0, 3, 0, 0];
    for text in ["user", USER, "database", DATABASE, "application_name", "postgres-etl", ""] {
        message.extend_from_slice(text.as_bytes());
        message.push(0);
    }
    let length = u32::try_from(message.len()).expect("a startup message is short");
    message[..4].copy_from_slice(&length.to_be_bytes());
    message
}

fn read_reply(stream: &mut impl Read) -> io::Result<ServerState> {
    let mut version = None;
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if !(4..MAX_MESSAGE).contains(&length) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the process that listens there is not a PostgreSQL server",
            ));
        }
        let mut body = vec![0; length - 4];
        stream.read_exact(&mut body)?;
        match head[0] {
            b'R' if body != [0; 4] => {
                return Ok(ServerState::Refused(
                    "it requires a password, so it was set up by another program".into(),
                ));
            }
            b'S' => {
                let mut parts = body.split(|&b| b == 0);
                if parts.next() == Some(b"server_version") {
                    let text = String::from_utf8_lossy(parts.next().unwrap_or_default());
                    version = text.split_whitespace().next().map(str::to_owned);
                }
            }
            b'E' => return Ok(refusal(&body)),
            b'Z' => return Ok(ServerState::Ready(version)),
            _ => {}
        }
    }
}

fn refusal(body: &[u8]) -> ServerState {
    let field = |code: u8| {
        body.split(|&b| b == 0)
            .find(|field| field.first() == Some(&code))
            .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
            .unwrap_or_default()
    };
    match field(b'C').as_str() {
        // cannot_connect_now: starting up, recovering, shutting down.
        "57P03" => ServerState::NotReady,
        // too_many_connections: it runs, but all its connections are taken.
        "53300" => ServerState::Ready(None),
        _ => ServerState::Refused(field(b'M')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    #[test]
    fn reads_the_version_of_a_ready_server() {
        let bytes = [
            message(b'R', &[0; 4]),
            message(b'S', b"server_version\x0015.18 (Debian 15.18-0+deb12u1)\0"),
            message(b'K', &[0; 8]),
            message(b'Z', b"I"),
        ]
        .concat();
        assert_eq!(read_reply(&mut &bytes[..]).unwrap(), ServerState::Ready(Some("15.18".into())));
    }

    #[test]
    fn distinguishes_starting_full_and_refusing_servers() {
        let error = |code: &str| message(b'E', format!("SFATAL\0C{code}\0Mno\0\0").as_bytes());
        assert_eq!(read_reply(&mut &error("57P03")[..]).unwrap(), ServerState::NotReady);
        assert_eq!(read_reply(&mut &error("53300")[..]).unwrap(), ServerState::Ready(None));
        assert_eq!(read_reply(&mut &error("28000")[..]).unwrap(), ServerState::Refused("no".into()));
        let password = message(b'R', &[0, 0, 0, 10]);
        assert!(matches!(read_reply(&mut &password[..]).unwrap(), ServerState::Refused(_)));
    }

    #[test]
    fn a_full_listen_queue_times_out() {
        let dir = tempfile::tempdir().unwrap();
        let address = dir.path().join("socket");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&address).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let _queued = UnixStream::connect(&address).unwrap();
        // Some systems refuse the connection at once instead.
        assert!(matches!(probe(&address), ServerState::Unresponsive | ServerState::NotListening));
    }

    #[test]
    fn other_protocols_are_rejected() {
        let error = read_reply(&mut &b"HTTP/1.1 400 Bad Request\r\n"[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

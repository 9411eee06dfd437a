//! Asks a server, over its socket, whether it takes connections: a whole startup exchange, no less.
//!
//! A pid file may be stale and a socket file may be left over; a `ReadyForQuery` cannot be.

use std::io::{self, BufReader, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::postgres::embedded::options::{DATABASE, USER};

/// How long a server may take over each step of the exchange.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest reply to a startup message that is believed.
const MAX_MESSAGE: usize = 1 << 20;

/// What answered at the socket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It takes queries; the version is missing when all its connections are taken.
    Ready(Option<String>),
    /// It says that it is starting up, recovering or shutting down.
    NotYet,
    /// Somebody took the connection and said nothing.
    Silent,
    /// Nobody listens.
    Absent,
    /// It will not have us, or is no PostgreSQL server.
    Refused(String),
}

/// One startup exchange with the server behind `socket`.
pub(super) fn probe(socket: &Path) -> Answer {
    match exchange(socket) {
        Ok(answer) => answer,
        Err(e) => match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Answer::Absent,
            io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Answer::Refused(e.to_string())
            }
            _ => Answer::Silent,
        },
    }
}

fn exchange(socket: &Path) -> io::Result<Answer> {
    let stream = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Before connecting, which would wait for ever once the queue of a server that has been stopped is full.
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.connect(&SockAddr::unix(socket)?)?;
    let mut stream = UnixStream::from(OwnedFd::from(stream));
    stream.write_all(&startup_message())?;
    let answer = read_answer(&mut BufReader::new(&stream))?;
    if matches!(answer, Answer::Ready(Some(_))) {
        // A polite Terminate; without it the server logs an unexpected end of file at some log levels.
        let _ = stream.write_all(&[b'X', 0, 0, 0, 4]);
    }
    Ok(answer)
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

fn read_answer(stream: &mut impl Read) -> io::Result<Answer> {
    let mut version = None;
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if !(4..MAX_MESSAGE).contains(&length) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "what listens there is no PostgreSQL server",
            ));
        }
        let mut body = vec![0; length - 4];
        stream.read_exact(&mut body)?;
        match head[0] {
            b'R' if body != [0; 4] => {
                return Ok(Answer::Refused("it asks for a password, so another program set it up".into()));
            }
            b'S' => {
                let mut parts = body.split(|&b| b == 0);
                if parts.next() == Some(b"server_version") {
                    let text = String::from_utf8_lossy(parts.next().unwrap_or_default());
                    version = text.split_whitespace().next().map(str::to_owned);
                }
            }
            b'E' => return Ok(refusal(&body)),
            b'Z' => return Ok(Answer::Ready(version)),
            _ => {}
        }
    }
}

fn refusal(body: &[u8]) -> Answer {
    let field = |code: u8| {
        body.split(|&b| b == 0)
            .find(|field| field.first() == Some(&code))
            .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
            .unwrap_or_default()
    };
    match field(b'C').as_str() {
        // cannot_connect_now: starting up, recovering, shutting down.
        "57P03" => Answer::NotYet,
        // too_many_connections: as alive as can be.
        "53300" => Answer::Ready(None),
        _ => Answer::Refused(field(b'M')),
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
        assert_eq!(read_answer(&mut &bytes[..]).unwrap(), Answer::Ready(Some("15.18".into())));
    }

    #[test]
    fn tells_starting_full_and_refusing_apart() {
        let error = |code: &str| message(b'E', format!("SFATAL\0C{code}\0Mno\0\0").as_bytes());
        assert_eq!(read_answer(&mut &error("57P03")[..]).unwrap(), Answer::NotYet);
        assert_eq!(read_answer(&mut &error("53300")[..]).unwrap(), Answer::Ready(None));
        assert_eq!(read_answer(&mut &error("28000")[..]).unwrap(), Answer::Refused("no".into()));
        let password = message(b'R', &[0, 0, 0, 10]);
        assert!(matches!(read_answer(&mut &password[..]).unwrap(), Answer::Refused(_)));
    }

    #[test]
    fn a_full_queue_ends_the_patience() {
        let dir = tempfile::tempdir().unwrap();
        let address = dir.path().join("socket");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&address).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let _queued = UnixStream::connect(&address).unwrap();
        // Some systems refuse at once instead.
        assert!(matches!(probe(&address), Answer::Silent | Answer::Absent));
    }

    #[test]
    fn other_protocols_are_not_believed() {
        let error = read_answer(&mut &b"HTTP/1.1 400 Bad Request\r\n"[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

//! Listeners that are not a PostgreSQL server that lets anyone in.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};

/// What a listener does with a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fake {
    /// It never answers.
    Silent,
    /// It closes the connection once it has read something.
    Closing,
    /// It refuses the login with this SQLSTATE.
    Refusing(&'static str),
    /// It says something else.
    Garbage,
}

/// Start a listener, which ends with the process; returns its port.
pub(super) fn listen(fake: Fake) -> u16 {
    listen_at(0, fake)
}

/// Start a listener on `port`, or on any if it is 0; returns its port.
pub(super) fn listen_at(port: u16, fake: Fake) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut socket in listener.incoming().flatten() {
            let mut request = [0; 1024];
            match fake {
                Fake::Silent => kept.push(socket),
                Fake::Closing => _ = socket.read(&mut request),
                Fake::Refusing(sqlstate) => {
                    let _ = socket.read(&mut request);
                    let fields = format!("SFATAL\0VFATAL\0C{sqlstate}\0Mnot now\0\0");
                    let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
                    let _ = socket.write_all(&[b"E", &length[..], fields.as_bytes()].concat());
                }
                Fake::Garbage => {
                    let _ = socket.read(&mut request);
                    let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                }
            }
        }
    });
    port
}

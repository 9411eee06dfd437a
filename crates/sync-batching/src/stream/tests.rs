//! Tests without a server: scripts of message tags, cut into pieces of every size.

mod client;
mod lane;
mod properties;
mod scripts;
mod statements;

use std::collections::VecDeque;

use futures::task::noop_waker_ref;

use super::*;
use crate::wire;

/// The stream below. It keeps what is written, and returns prepared replies piece by piece.
#[derive(Debug, Default)]
struct Wire {
    written: Vec<u8>,
    replies: VecDeque<Vec<u8>>,
    ends: bool,
    /// The most bytes that one write accepts.
    room: usize,
    /// Writes fail, as to a peer that has closed the connection.
    is_closed: bool,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.replies.pop_front() {
            Some(piece) => buf.put_slice(&piece),
            None if self.ends => {}
            None => return Poll::Pending,
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let taken = buf.len().min(self.room);
        self.written.extend_from_slice(&buf[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The driver's end of a connection.
struct Driver {
    stream: Link<Wire>,
    /// Size of a piece in bytes, in both directions.
    piece: usize,
}

const STARTUP: &[u8] = b"\0\0\0\x0e\0\x03\0\0user\0\0";

impl Driver {
    /// A connection on which nothing has been sent.
    fn new(every: usize, piece: usize) -> Driver {
        let wire = Wire { room: piece, ..Wire::default() };
        let control = StreamControl::default();
        Driver { stream: Link::new(wire, NonZero::new(every).unwrap(), control), piece }
    }

    /// A connection after authentication.
    fn ready(every: usize, piece: usize) -> Driver {
        let mut driver = Driver::new(every, piece);
        driver.write(STARTUP);
        driver.flush();
        assert_eq!(driver.written(), STARTUP);
        driver.reply(&messages("RSKZ"));
        assert_eq!(tags(&driver.read()), "RSKZ");
        driver
    }

    fn write(&mut self, bytes: &[u8]) {
        for mut piece in bytes.chunks(self.piece) {
            while !piece.is_empty() {
                let written = ready(|cx| Pin::new(&mut self.stream).poll_write(cx, piece)).unwrap();
                piece = &piece[written..];
            }
        }
    }

    fn flush(&mut self) {
        ready(|cx| Pin::new(&mut self.stream).poll_flush(cx)).unwrap();
    }

    /// Sends messages with these tags, flushing at each `|`, and returns the tags that reached the server.
    fn send(&mut self, script: &str) -> String {
        for part in script.split_inclusive('|') {
            self.write(&messages(part.trim_end_matches('|')));
            if part.ends_with('|') {
                self.flush();
            }
        }
        tags(&self.written())
    }

    fn written(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.stream.stream.written)
    }

    fn reply(&mut self, bytes: &[u8]) {
        self.stream.stream.replies.extend(bytes.chunks(self.piece).map(<[u8]>::to_vec));
    }

    /// Reads everything available.
    fn read(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let mut space = vec![0; self.piece];
            let mut buf = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(noop_waker_ref()), &mut buf) {
                Poll::Ready(read) => read.unwrap(),
                Poll::Pending => return all,
            }
            if buf.filled().is_empty() {
                return all;
            }
            all.extend_from_slice(buf.filled());
        }
    }

    /// Sends messages with these tags as the server, and returns the tags that the driver sees.
    fn sees(&mut self, server: &str) -> String {
        self.reply(&messages(server));
        tags(&self.read())
    }
}

fn ready<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    match poll(&mut Context::from_waker(noop_waker_ref())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("nothing in these tests is ever pending"),
    }
}

/// Messages with these tags; `z` stands for `ReadyForQuery` in a transaction.
fn messages(script: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for tag in script.bytes() {
        let (tag, body): (u8, &[u8]) = match tag {
            b'z' => (b'Z', b"T"),
            b'Z' => (b'Z', b"I"),
            b'S' | b'I' | b'2' | b'c' | b's' | b'X' => (tag, b""),
            // A body whose bytes look like messages.
            _ => (tag, b"S\0\0\0\x04Z\0\0\0\x05I"),
        };
        bytes.push(tag);
        bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(body);
    }
    bytes
}

/// The tags of whole messages; `e` stands for a supplied error, `z` for `ReadyForQuery` in a transaction.
fn tags(mut bytes: &[u8]) -> String {
    let mut script = String::new();
    while let Some(&header) = bytes.first_chunk() {
        let (tag, length) = wire::parse(header).unwrap();
        let (body, rest) = bytes[wire::HEADER..].split_at(length);
        script.push(match tag {
            b'E' if body.starts_with(b"SERROR\0VERROR\0C25P02\0Mskipped: ") => 'e',
            b'Z' if body == b"T" => 'z',
            tag => tag as char,
        });
        bytes = rest;
    }
    assert!(bytes.is_empty(), "incomplete message: {bytes:?}");
    script
}

/// Runs `check` with pieces of every size up to a few messages, and with everything in one piece.
fn in_pieces(check: impl Fn(usize)) {
    (1..=40).chain([1 << 20]).for_each(check);
}

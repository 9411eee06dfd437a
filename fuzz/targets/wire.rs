//! The stream below: it swallows what is written, and returns prepared replies piece by piece.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub const STARTUP: &[u8] = b"\0\0\0\x0e\0\x03\0\0user\0\0";

#[derive(Debug, Default)]
struct State {
    replies: VecDeque<u8>,
    has_ended: bool,
    piece: usize,
}

#[derive(Debug, Clone, Default)]
pub struct Wire(Arc<Mutex<State>>);

impl Wire {
    /// A wire that passes at most `piece` bytes at once.
    pub fn new(piece: usize) -> Wire {
        Wire(Arc::new(Mutex::new(State { piece, ..State::default() })))
    }

    /// The server sends `bytes`.
    pub fn reply(&self, bytes: &[u8]) {
        self.0.lock().unwrap().replies.extend(bytes);
    }

    /// The server sends nothing more.
    pub fn end(&self) {
        self.0.lock().unwrap().has_ended = true;
    }
}

/// A message with this tag, and a body that it may have.
pub fn message(tag: u8) -> Vec<u8> {
    let body: &[u8] = match tag {
        b'Z' => b"I",
        b'S' | b'I' | b'2' | b'1' | b'3' | b'c' | b's' | b'X' | b'H' => b"",
        b'E' => b"SERROR\0VERROR\0C22012\0Mdivision by zero\0\0",
        b'C' => b"SELECT 1\0",
        b'B' => b"\0name\0\0\0\0\0\0\0",
        b'D' => b"\0\x02\0\0\0\x05seven\xff\xff\xff\xff",
        b'P' => b"name\0SELECT 1\0\0\0",
        b'R' => b"\0\0\0\0",
        _ => b"S\0\0\0\x04Z\0\0\0\x05I",
    };
    [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock().unwrap();
        if state.replies.is_empty() && !state.has_ended {
            return Poll::Pending;
        }
        let count = state.piece.min(state.replies.len()).min(buf.remaining());
        let bytes: Vec<u8> = state.replies.drain(..count).collect();
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len().min(self.0.lock().unwrap().piece)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

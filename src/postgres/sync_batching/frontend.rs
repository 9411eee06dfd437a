//! From the driver to the server: leaves Syncs out.

use std::io;
use std::num::NonZero;

use bytes::BytesMut;

use super::requests::{HEADER, Phase, Request, Requests, parse};

const SYNC_MESSAGE: &[u8] = b"S\0\0\0\x04";

const BIND: u8 = b'B';
const EXECUTE: u8 = b'E';
const SYNC: u8 = b'S';
const QUERY: u8 = b'Q';
const FUNCTION_CALL: u8 = b'F';
const COPY_DATA: u8 = b'd';
const COPY_DONE: u8 = b'c';
const COPY_FAIL: u8 = b'f';
const PASSWORD: u8 = b'p';
const TERMINATE: u8 = b'X';

/// Length and code, of a message without a tag.
const UNTAGGED_HEADER: usize = 8;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

/// The messages of a request so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Empty,
    Bind,
    BindExecute,
    Other,
}

/// What to do at the header of a message.
struct Verdict {
    /// The Sync held back has to go first.
    sync_first: bool,
    /// The message itself is a Sync, and held back now.
    hold: bool,
}

#[derive(Debug)]
pub(super) struct Frontend {
    sync_every: NonZero<usize>,
    /// The beginning of a header.
    partial: Vec<u8>,
    /// Bytes of the current message that are still to come.
    body: usize,
    shape: Shape,
    /// A Sync came, and has neither been sent nor left out. Nothing of what came behind it is in the output.
    held: bool,
    /// Executes since the last Sync that was sent.
    unsynced: usize,
}

impl Frontend {
    pub(super) fn new(sync_every: NonZero<usize>) -> Self {
        Frontend {
            sync_every,
            partial: Vec::with_capacity(UNTAGGED_HEADER),
            body: 0,
            shape: Shape::Empty,
            held: false,
            unsynced: 0,
        }
    }

    /// Send the Sync that is held back, if one is.
    pub(super) fn release(&mut self, out: &mut BytesMut) {
        if std::mem::take(&mut self.held) {
            self.unsynced = 0;
            out.extend_from_slice(SYNC_MESSAGE);
        }
    }

    /// Take bytes of the driver, cut anywhere, and append to `out` what goes to the server.
    pub(super) fn take(
        &mut self,
        mut bytes: &[u8],
        requests: &mut Requests,
        out: &mut BytesMut,
    ) -> io::Result<()> {
        if requests.phase != Phase::Messages {
            bytes = self.start_up(bytes, requests, out);
            if requests.phase != Phase::Messages {
                return Ok(());
            }
        }
        if !self.partial.is_empty() {
            let missing = (HEADER - self.partial.len()).min(bytes.len());
            self.partial.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            let Some(&header) = self.partial.first_chunk() else { return Ok(()) };
            self.partial.clear();
            self.body = self.message(header, requests, out)?;
        }
        // The bytes before `copied` are dealt with, those before `at` are looked at.
        let mut copied = 0;
        let mut at = self.skip_body(bytes.len());
        while let Some(&header) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
            let (tag, body) = parse(header)?;
            let Verdict { sync_first, hold } = self.see(tag, requests);
            if sync_first || hold {
                out.extend_from_slice(&bytes[copied..at]);
                copied = at;
            }
            if sync_first {
                out.extend_from_slice(SYNC_MESSAGE);
            }
            at += HEADER;
            if hold {
                copied = at;
            }
            self.body = body;
            at += self.skip_body(bytes.len() - at);
        }
        out.extend_from_slice(&bytes[copied..at]);
        self.partial.extend_from_slice(&bytes[at..]);
        Ok(())
    }

    /// Moves on in the current message; returns by how much of `available`.
    fn skip_body(&mut self, available: usize) -> usize {
        let skipped = self.body.min(available);
        self.body -= skipped;
        skipped
    }

    /// A message whose header came in pieces; returns the length of its body.
    fn message(
        &mut self,
        header: [u8; HEADER],
        requests: &mut Requests,
        out: &mut BytesMut,
    ) -> io::Result<usize> {
        let (tag, body) = parse(header)?;
        let Verdict { sync_first, hold } = self.see(tag, requests);
        if sync_first {
            out.extend_from_slice(SYNC_MESSAGE);
        }
        if !hold {
            out.extend_from_slice(&header);
        }
        Ok(body)
    }

    /// Keeps account of a message, and decides about the Sync before it and about itself.
    fn see(&mut self, tag: u8, requests: &mut Requests) -> Verdict {
        let sync_first = std::mem::take(&mut self.held) && !(tag == BIND && requests.leave_out_sync());
        if sync_first {
            self.unsynced = 0;
        }
        // A request is waited for from its first message on: its answer may come before its last one.
        // The data of a COPY belong to the request before.
        if self.shape == Shape::Empty
            && !matches!(tag, PASSWORD | TERMINATE | COPY_DATA | COPY_DONE | COPY_FAIL)
        {
            requests.push(if tag == SYNC { Request::Bare } else { Request::Synced });
        }
        let mut hold = false;
        self.shape = match (self.shape, tag) {
            (shape, PASSWORD | TERMINATE) => shape,
            (Shape::BindExecute, SYNC) => {
                self.unsynced += 1;
                hold = self.unsynced < self.sync_every.get();
                Shape::Empty
            }
            (_, SYNC | QUERY | FUNCTION_CALL) => Shape::Empty,
            (Shape::Empty, BIND) => Shape::Bind,
            (Shape::Bind, EXECUTE) => Shape::BindExecute,
            _ => Shape::Other,
        };
        if tag == SYNC && !hold {
            self.unsynced = 0;
        }
        self.held = hold;
        Verdict { sync_first, hold }
    }

    /// Passes messages without a tag, and returns what is behind them.
    fn start_up<'a>(&mut self, mut bytes: &'a [u8], requests: &mut Requests, out: &mut BytesMut) -> &'a [u8] {
        loop {
            let body = self.skip_body(bytes.len());
            out.extend_from_slice(&bytes[..body]);
            bytes = &bytes[body..];
            if bytes.is_empty() || requests.phase == Phase::Messages {
                return bytes;
            }
            // TLS without asking begins with 22, a length never with anything but 0. And whoever does not wait for
            // the answer to a request for encryption does not speak this protocol.
            if (self.partial.is_empty() && bytes[0] != 0) || requests.phase != Phase::Startup {
                requests.phase = Phase::Opaque;
                out.extend_from_slice(&self.partial);
                self.partial.clear();
                out.extend_from_slice(bytes);
                return &[];
            }
            let missing = (UNTAGGED_HEADER - self.partial.len()).min(bytes.len());
            self.partial.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            let Some(&[a, b, c, d, code @ ..]) = self.partial.first_chunk::<UNTAGGED_HEADER>() else {
                return bytes;
            };
            self.body = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(UNTAGGED_HEADER);
            requests.phase = match u32::from_be_bytes(code) {
                SSL_REQUEST | GSS_REQUEST => Phase::Encryption,
                _ => {
                    // The log-in ends with a ready message too.
                    requests.push(Request::Synced);
                    Phase::Messages
                }
            };
            out.extend_from_slice(&self.partial);
            self.partial.clear();
        }
    }
}

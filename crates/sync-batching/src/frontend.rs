//! From the driver to the server: leaves Syncs out.

use std::io;
use std::num::NonZero;

use bytes::BytesMut;

use crate::requests::{Phase, Request, Requests};
use crate::wire::frontend_tag::{
    BIND, COPY_DATA, COPY_DONE, COPY_FAIL, EXECUTE, FUNCTION_CALL, PASSWORD, QUERY, SYNC, TERMINATE,
};
use crate::wire::{GSS_REQUEST, HEADER, SSL_REQUEST, SYNC_MESSAGE, UNTAGGED_HEADER, parse};

/// The messages of the current request so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Empty,
    Bind,
    BindExecute,
    Other,
}

/// What to do about Syncs at the header of a message.
struct SyncDecision {
    /// Send the Sync that is held back before this message.
    sync_first: bool,
    /// This message is a Sync: hold it back.
    hold: bool,
}

/// Forwards the driver's messages, and leaves out Syncs that a later one replaces.
#[derive(Debug)]
pub(crate) struct Frontend {
    sync_every: NonZero<usize>,
    /// The header of the current message, as far as it has arrived.
    partial: Vec<u8>,
    /// Bytes of the current message yet to arrive.
    body: usize,
    shape: Shape,
    /// The last message is a Sync that has been neither sent nor left out.
    held: bool,
    /// Executes since the last Sync sent.
    unsynced: usize,
}

impl Frontend {
    pub(crate) fn new(sync_every: NonZero<usize>) -> Self {
        Frontend {
            sync_every,
            partial: Vec::with_capacity(UNTAGGED_HEADER),
            body: 0,
            shape: Shape::Empty,
            held: false,
            unsynced: 0,
        }
    }

    /// Appends the Sync held back, if any, to `out`.
    pub(crate) fn release(&mut self, out: &mut BytesMut) {
        if std::mem::take(&mut self.held) {
            self.unsynced = 0;
            out.extend_from_slice(SYNC_MESSAGE);
        }
    }

    /// Consumes `bytes` from the driver, which may begin and end within a message, and appends to `out` what the
    /// server is to receive.
    pub(crate) fn forward(
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
            self.body = self.forward_header(header, requests, out)?;
        }
        // Everything before `copied` has been appended or left out; everything before `at` has been examined.
        let mut copied = 0;
        let mut at = self.skip_body(bytes.len());
        while let Some(&header) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
            let (tag, body) = parse(header)?;
            let SyncDecision { sync_first, hold } = self.decide(tag, requests);
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

    /// Advances within the current message, by at most `available` bytes, and returns by how many.
    fn skip_body(&mut self, available: usize) -> usize {
        let skipped = self.body.min(available);
        self.body -= skipped;
        skipped
    }

    /// Forwards a header that arrived in pieces, and returns the size of the message's body.
    fn forward_header(
        &mut self,
        header: [u8; HEADER],
        requests: &mut Requests,
        out: &mut BytesMut,
    ) -> io::Result<usize> {
        let (tag, body) = parse(header)?;
        let SyncDecision { sync_first, hold } = self.decide(tag, requests);
        if sync_first {
            out.extend_from_slice(SYNC_MESSAGE);
        }
        if !hold {
            out.extend_from_slice(&header);
        }
        Ok(body)
    }

    /// Records a message, and decides about the Sync held back before it and about the message itself.
    fn decide(&mut self, tag: u8, requests: &mut Requests) -> SyncDecision {
        let sync_first = std::mem::take(&mut self.held) && !(tag == BIND && requests.leave_out_sync());
        if sync_first {
            self.unsynced = 0;
        }
        // A request is in flight from its first message on, since the server may answer before the last one.
        // COPY data belongs to the request before it.
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
        SyncDecision { sync_first, hold }
    }

    /// Forwards untagged messages, and returns the bytes that follow them.
    fn start_up<'a>(&mut self, mut bytes: &'a [u8], requests: &mut Requests, out: &mut BytesMut) -> &'a [u8] {
        loop {
            let body = self.skip_body(bytes.len());
            out.extend_from_slice(&bytes[..body]);
            bytes = &bytes[body..];
            if bytes.is_empty() || requests.phase == Phase::Messages {
                return bytes;
            }
            // Direct TLS begins with the byte 22, whereas the first byte of a length here is always 0. A peer that
            // sends more before its request for encryption is answered does not speak this protocol.
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
                    // Authentication also ends with ReadyForQuery.
                    requests.push(Request::Synced);
                    Phase::Messages
                }
            };
            out.extend_from_slice(&self.partial);
            self.partial.clear();
        }
    }
}

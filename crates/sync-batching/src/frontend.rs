//! From the driver to the server: leaves Syncs out.

use std::io;
use std::num::NonZero;

use bytes::BytesMut;

use crate::requests::{Phase, Request, Requests};
use crate::statements::{StatementName, Statements, put_read_only};
use crate::wire::frontend_tag::{
    BIND, COPY_DATA, COPY_DONE, COPY_FAIL, EXECUTE, FUNCTION_CALL, PARSE, PASSWORD, QUERY, SYNC, TERMINATE,
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
    statements: Statements,
    /// The start of the current message, as long as it does not suffice to forward any of it.
    partial: Vec<u8>,
    /// Bytes of the current message yet to arrive.
    body: usize,
    shape: Shape,
    /// The last message is a Sync that has been neither sent nor left out.
    held: bool,
    /// Executes since the last Sync sent.
    unsynced: usize,
    /// Something has been sent since the last Sync or simple Query.
    in_group: bool,
}

impl Frontend {
    pub(crate) fn new(sync_every: NonZero<usize>) -> Self {
        Frontend {
            sync_every,
            statements: Statements::default(),
            partial: Vec::with_capacity(UNTAGGED_HEADER),
            body: 0,
            shape: Shape::Empty,
            held: false,
            unsynced: 0,
            in_group: false,
        }
    }

    /// Whether no request has begun and not ended, and no Sync is held back.
    pub(crate) fn is_idle(&self) -> bool {
        self.partial.is_empty() && self.body == 0 && self.shape == Shape::Empty && !self.held
    }

    /// Appends the Sync held back, if any, to `out`.
    pub(crate) fn release(&mut self, out: &mut BytesMut) {
        if std::mem::take(&mut self.held) {
            self.end_group();
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
        if self.partial.is_empty() {
            return self.forward_messages(bytes, requests, out);
        }
        let mut joined = std::mem::take(&mut self.partial);
        joined.extend_from_slice(bytes);
        self.forward_messages(&joined, requests, out)
    }

    /// Forwards tagged messages, of which `bytes` contains the next part.
    fn forward_messages(
        &mut self,
        bytes: &[u8],
        requests: &mut Requests,
        out: &mut BytesMut,
    ) -> io::Result<()> {
        let (unnames, is_read_only) = (requests.control.unnames(), requests.control.is_read_only());
        let prefix = requests.control.prefix().filter(|_| !unnames).map(str::to_owned);
        // Everything before `copied` has been appended or left out; everything before `at` has been examined.
        let mut copied = 0;
        let mut at = self.skip_body(bytes.len());
        while let Some(&header) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
            let (tag, body) = parse(header)?;
            let available = &bytes[at + HEADER..];
            let name = if unnames || prefix.is_some() {
                StatementName::find(tag, body, available)?
            } else {
                StatementName::Absent
            };
            if name == StatementName::Incomplete {
                break;
            }
            let begins_request = self.shape == Shape::Empty;
            let SyncDecision { sync_first, hold } = self.decide(tag, requests);
            let inserts_read_only = is_read_only && !self.in_group && matches!(tag, PARSE | BIND);
            self.in_group |= !matches!(tag, SYNC | QUERY | PASSWORD);
            if sync_first || hold || inserts_read_only || name != StatementName::Absent {
                out.extend_from_slice(&bytes[copied..at]);
                copied = at;
            }
            if sync_first {
                out.extend_from_slice(SYNC_MESSAGE);
            }
            if inserts_read_only {
                requests.insert(put_read_only(out));
                self.statements.forget_current();
            }
            let mut read = 0;
            if let StatementName::At(name) = name {
                read = name.end;
                let message = &available[..body.min(available.len())];
                if let Some(prefix) = &prefix {
                    self.statements.put_prefixed(tag, body, message, name, prefix, out);
                } else {
                    if begins_request {
                        requests.insert(self.statements.put_parse_before(tag, &message[name.clone()], out));
                    }
                    self.statements.put_unnamed(tag, body, message, name, out)?;
                }
            }
            at += HEADER + read;
            if hold || read > 0 {
                copied = at;
            }
            self.body = body - read;
            at += self.skip_body(bytes.len() - at);
        }
        out.extend_from_slice(&bytes[copied..at]);
        self.partial.extend_from_slice(&bytes[at..]);
        Ok(())
    }

    /// Notes that a message has been sent after which the server may end the transaction.
    fn end_group(&mut self) {
        self.unsynced = 0;
        self.in_group = false;
        self.statements.forget_current();
    }

    /// Advances within the current message, by at most `available` bytes, and returns by how many.
    fn skip_body(&mut self, available: usize) -> usize {
        let skipped = self.body.min(available);
        self.body -= skipped;
        skipped
    }

    /// Records a message, and decides about the Sync held back before it and about the message itself.
    fn decide(&mut self, tag: u8, requests: &mut Requests) -> SyncDecision {
        let sync_first = std::mem::take(&mut self.held) && !(tag == BIND && requests.leave_out_sync());
        if sync_first {
            self.end_group();
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
        if tag == SYNC && !hold || tag == QUERY {
            self.end_group();
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

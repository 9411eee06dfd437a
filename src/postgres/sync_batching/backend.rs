//! From the server to the driver: supplies the ready messages of the Syncs that were left out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::requests::{HEADER, Phase, Request, Requests, parse};
use super::{BUFFER, ROUTINE};

const COMMAND_COMPLETE: u8 = b'C';
const EMPTY_QUERY_RESPONSE: u8 = b'I';
const PORTAL_SUSPENDED: u8 = b's';
const ERROR_RESPONSE: u8 = b'E';
const COPY_IN_RESPONSE: u8 = b'G';
const READY_FOR_QUERY: u8 = b'Z';
const NOTICE_RESPONSE: u8 = b'N';
const NOTIFICATION_RESPONSE: u8 = b'A';
const PARAMETER_STATUS: u8 = b'S';

/// A ready message with its status.
const READY: usize = HEADER + 1;

/// Whether the server has more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    More,
    End,
}

impl Filled {
    pub(super) fn is_end(self) -> bool {
        self == Filled::End
    }
}

#[derive(Debug, Default)]
pub(super) struct Backend {
    /// What the server sent, from `start` to `end`. Up to `passing` it goes to the driver; then `dropping` bytes
    /// do not, and `supplied` does; the rest has not been looked at.
    raw: Vec<u8>,
    start: usize,
    passing: usize,
    end: usize,
    dropping: usize,
    /// Made up, for the driver; up to `given` it has it.
    supplied: Vec<u8>,
    given: usize,
    /// Bytes of the current message that are still to come.
    body: usize,
    /// The current message completes an execute whose Sync was left out.
    completes: bool,
    /// The first one waiting got an error, and the server skips all up to the next Sync.
    failed: bool,
    /// The last message, but for those that may come at any time, was a ready message.
    idle: bool,
    /// The last transaction status the server gave.
    status: u8,
}

impl Backend {
    /// Whether nothing is buffered.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end && self.given == self.supplied.len()
    }

    /// Read more behind what is buffered. At the end of the stream an incomplete header is left to the driver.
    pub(super) fn poll_fill(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Filled>> {
        if self.raw.is_empty() {
            self.raw.resize(BUFFER, 0);
        }
        // Less than a ready message, for nothing else is left without being passed.
        self.raw.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        (self.start, self.passing) = (0, 0);
        let mut buf = ReadBuf::new(&mut self.raw[self.end..]);
        ready!(stream.poll_read(cx, &mut buf))?;
        let read = buf.filled().len();
        if read == 0 {
            self.passing = self.end;
            return Poll::Ready(Ok(if self.end == 0 { Filled::End } else { Filled::More }));
        }
        self.end += read;
        Poll::Ready(Ok(Filled::More))
    }

    /// Give `buf` as much as it takes of what is buffered.
    pub(super) fn give(&mut self, requests: &mut Requests, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        loop {
            let passed = put(&self.raw[self.start..self.passing], buf);
            self.start += passed;
            if self.start < self.passing {
                return Ok(());
            }
            self.start += std::mem::take(&mut self.dropping);
            self.passing = self.start;
            self.given += put(&self.supplied[self.given..], buf);
            if self.given < self.supplied.len() {
                return Ok(());
            }
            self.supplied.clear();
            self.given = 0;
            if !self.scan(requests)? {
                return Ok(());
            }
        }
    }

    /// Look at what is buffered up to the first place where something is dropped or supplied; whether there was
    /// anything to look at.
    fn scan(&mut self, requests: &mut Requests) -> io::Result<bool> {
        if requests.phase != Phase::Messages && !self.start_up(requests) {
            return Ok(self.passing > self.start);
        }
        let mut at = self.start;
        loop {
            let skipped = self.body.min(self.end - at);
            self.body -= skipped;
            at += skipped;
            self.passing = at;
            if self.body == 0 && std::mem::take(&mut self.completes) {
                requests.pop();
                self.supply_ready();
                return Ok(true);
            }
            let Some(&header) = self.raw[at..self.end].first_chunk::<HEADER>() else {
                return Ok(at > self.start);
            };
            let (tag, body) = parse(header)?;
            if tag == READY_FOR_QUERY {
                if body != READY - HEADER {
                    let message = format!("a ready message has {body} bytes");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
                // Whether it may pass depends on what is before it, so it is dealt with at once.
                if self.end - at < READY {
                    return Ok(at > self.start);
                }
                self.status = self.raw[at + HEADER];
                if !self.ready(requests) {
                    self.dropping = READY;
                    return Ok(true);
                }
            } else {
                self.see(tag, requests);
            }
            at += HEADER;
            self.body = body;
        }
    }

    /// Keeps account of a message that is passed on.
    fn see(&mut self, tag: u8, requests: &mut Requests) {
        let unsynced = requests.first() == Some(Request::Unsynced);
        self.idle &= matches!(tag, NOTICE_RESPONSE | NOTIFICATION_RESPONSE | PARAMETER_STATUS);
        match tag {
            COMMAND_COMPLETE | EMPTY_QUERY_RESPONSE | PORTAL_SUSPENDED => {
                self.completes = unsynced;
                requests.answer();
            }
            // The rest of the group is told when the server confirms with its ready message that it has skipped it:
            // when the error ends the connection that message never comes, and a lie would have been told.
            ERROR_RESPONSE => {
                self.failed |= unsynced;
                requests.answer();
            }
            COPY_IN_RESPONSE => requests.answer(),
            _ => {}
        }
    }

    /// The server is ready: account for the requests that are over with it. Whether the driver may see its message.
    fn ready(&mut self, requests: &mut Requests) -> bool {
        // The driver sends a Sync with a COPY, and another behind its data, and waits for one ready message. So does
        // the server, which ignores the first while it takes data; but when it never comes to take any, because the
        // statement fails, it answers both. Every request but one begins its answer with something else.
        if std::mem::replace(&mut self.idle, true) && requests.first() != Some(Request::Bare) {
            return false;
        }
        if !std::mem::take(&mut self.failed) {
            requests.pop();
            return true;
        }
        // The one that failed has its error; all behind it, up to the one whose Sync this is, were skipped.
        requests.pop();
        self.supply_ready();
        while let Some(request) = requests.pop() {
            self.supply_error();
            self.supply_ready();
            if request != Request::Unsynced {
                break;
            }
        }
        false
    }

    fn supply_ready(&mut self) {
        self.supplied.extend_from_slice(&[READY_FOR_QUERY, 0, 0, 0, 5, self.status]);
    }

    fn supply_error(&mut self) {
        self.supplied.extend_from_slice(&[ERROR_RESPONSE, 0, 0, 0, 0]);
        let length = self.supplied.len() - 4;
        let fields = [
            (b'S', "ERROR"),
            (b'V', "ERROR"),
            (b'C', "25P02"),
            (b'M', "skipped: an earlier statement of the same pipeline failed"),
            (b'D', "It did not run: the server skips what is behind an error, up to the next Sync."),
            (b'R', ROUTINE),
        ];
        for (field, value) in fields {
            self.supplied.push(field);
            self.supplied.extend_from_slice(value.as_bytes());
            self.supplied.push(0);
        }
        self.supplied.push(0);
        let bytes = (self.supplied.len() - length) as u32;
        self.supplied[length..length + 4].copy_from_slice(&bytes.to_be_bytes());
    }

    /// Before the first message: whether it is next.
    fn start_up(&mut self, requests: &mut Requests) -> bool {
        let Some(answer) = self.raw[self.start..self.end].first() else { return false };
        match (requests.phase, answer) {
            (Phase::Encryption, b'N') => {
                requests.phase = Phase::Startup;
                self.passing = self.start + 1;
                return false;
            }
            // An error message, of a server that knows of no encryption.
            (Phase::Encryption, b'E') => {
                requests.phase = Phase::Messages;
                return true;
            }
            (Phase::Encryption, _) => requests.phase = Phase::Opaque,
            _ => {}
        }
        self.passing = self.end;
        false
    }
}

/// Put as much of `bytes` into `buf` as there is room for; returns how much.
fn put(bytes: &[u8], buf: &mut ReadBuf<'_>) -> usize {
    let room = bytes.len().min(buf.remaining());
    buf.put_slice(&bytes[..room]);
    room
}

//! From the server to the driver: supplies `ReadyForQuery` for the Syncs that were left out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::auth::Authentication;
use crate::fatal::FatalError;
use crate::requests::{Phase, Request, Requests};
use crate::wire::backend_tag::{
    AUTHENTICATION, BACKEND_KEY_DATA, COMMAND_COMPLETE, COPY_IN_RESPONSE, EMPTY_QUERY_RESPONSE,
    ERROR_RESPONSE, NOTICE_RESPONSE, NOTIFICATION_RESPONSE, PARAMETER_STATUS, PORTAL_SUSPENDED,
    READY_FOR_QUERY,
};
use crate::wire::{BUFFER, HEADER, READY, parse, put_ready, put_skipped};

/// Size in bytes above which a message cannot be an answer to a message of this crate.
const LARGEST_INSERTED: usize = 1024;

/// How many bytes a server may send before the end of the login. A few thousand are usual.
const LARGEST_LOGIN: usize = 1024 * 1024;

/// Size in bytes of the largest `ErrorResponse` that is read.
const LARGEST_ERROR: usize = 16 * 1024;

/// What becomes of a message.
enum Examined {
    /// Not enough of it has arrived to tell.
    Incomplete,
    /// The driver does not receive it.
    Dropped,
    /// The driver receives it.
    Passes,
}

/// Whether there is anything left to pass to the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    More,
    End,
}

impl Filled {
    pub(crate) fn is_end(self) -> bool {
        self == Filled::End
    }
}

/// Forwards the server's messages, and supplies those that the server did not send because a Sync was left out.
#[derive(Debug)]
pub(crate) struct Backend {
    /// Bytes from the server. Those from `start` to `passing` go to the driver, then the contents of `supplied`;
    /// the next `dropping` bytes do not, and the rest, up to `end`, has not been examined.
    raw: Vec<u8>,
    start: usize,
    passing: usize,
    end: usize,
    dropping: usize,
    /// Messages generated for the driver, of which it has received the first `given` bytes.
    supplied: Vec<u8>,
    given: usize,
    /// Bytes of the current message yet to arrive.
    body: usize,
    /// The current message completes a request whose Sync was left out.
    completes: bool,
    /// A request whose Sync was left out has failed, and the server is skipping everything up to the next Sync.
    failed: bool,
    /// The last message was `ReadyForQuery`, apart from messages that may arrive at any time.
    idle: bool,
    /// The last transaction status reported by the server.
    status: u8,
    authentication: Authentication,
    /// How many bytes the server may still send before the first `ReadyForQuery`, which ends the login; `None` after it.
    login_budget: Option<usize>,
}

impl Default for Backend {
    fn default() -> Self {
        Backend {
            raw: Vec::new(),
            start: 0,
            passing: 0,
            end: 0,
            dropping: 0,
            supplied: Vec::new(),
            given: 0,
            body: 0,
            completes: false,
            failed: false,
            idle: false,
            status: 0,
            authentication: Authentication::default(),
            login_budget: Some(LARGEST_LOGIN),
        }
    }
}

impl Backend {
    /// Whether nothing is buffered.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end && self.given == self.supplied.len()
    }

    /// Whether the login is over and nothing of a message is buffered.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_empty() && self.body == 0 && self.dropping == 0 && !self.failed && self.login_budget.is_none()
    }

    /// Puts `bytes` from the server into the empty buffer, and notes the transaction status, if the server has reported
    /// another one.
    pub(crate) fn unread(&mut self, bytes: &[u8], status: Option<u8>) {
        self.status = status.unwrap_or(self.status);
        if !bytes.is_empty() {
            self.raw.resize(BUFFER.max(bytes.len()), 0);
            self.raw[..bytes.len()].copy_from_slice(bytes);
            (self.start, self.passing, self.end) = (0, 0, bytes.len());
        }
    }

    /// Reads from `stream` into the buffer. When the stream ends within a header, the incomplete header is passed
    /// to the driver.
    pub(crate) fn poll_fill(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Filled>> {
        if self.raw.is_empty() {
            self.raw.resize(BUFFER, 0);
        }
        // Moves less than one small message: everything else has been passed.
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

    /// Moves as much of what is buffered into `buf` as fits.
    pub(crate) fn forward(&mut self, requests: &mut Requests, buf: &mut ReadBuf<'_>) -> io::Result<()> {
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

    /// Examines what is buffered, up to the first message to drop or the first place to supply one. Returns
    /// whether that yielded anything for [`forward`](Self::forward) to do.
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
                put_ready(&mut self.supplied, self.status);
                return Ok(true);
            }
            let Some(&header) = self.raw[at..self.end].first_chunk::<HEADER>() else {
                return Ok(at > self.start);
            };
            let (tag, body) = parse(header)?;
            let passes = match self.examine(tag, body, at, requests)? {
                Examined::Incomplete => return Ok(at > self.start),
                Examined::Dropped => false,
                Examined::Passes => true,
            };
            self.check_login(tag, body)?;
            if !passes {
                self.dropping = HEADER + body;
                return Ok(true);
            }
            at += HEADER;
            self.body = body;
        }
    }

    /// Examines the message whose header is at `at` in the buffer.
    fn examine(&mut self, tag: u8, body: usize, at: usize, requests: &mut Requests) -> io::Result<Examined> {
        let available = &self.raw[at + HEADER..self.end];
        match tag {
            READY_FOR_QUERY => {
                if body != READY - HEADER {
                    return Err(invalid(format!("ReadyForQuery has a body of {body} bytes, not 1")));
                }
                // The message passes or is dropped as a whole, so wait for all of it.
                let Some(&status) = available.first() else { return Ok(Examined::Incomplete) };
                self.status = status;
                return Ok(if self.end_requests(requests) { Examined::Passes } else { Examined::Dropped });
            }
            ERROR_RESPONSE if body <= LARGEST_ERROR => {
                let Some(fields) = available.get(..body) else { return Ok(Examined::Incomplete) };
                if let Some(error) = FatalError::parse(fields) {
                    requests.control.set_fatal_error(error);
                }
            }
            // The process ID, or the code of the method, comes first. It is not worth splitting the message to learn it.
            BACKEND_KEY_DATA | AUTHENTICATION => {
                let Some(&number) = available.first_chunk() else { return Ok(Examined::Incomplete) };
                let number = i32::from_be_bytes(number);
                if tag == BACKEND_KEY_DATA {
                    requests.control.set_login_pid(number);
                } else {
                    self.authentication.request(number, requests.control.allowed_auth())?;
                }
            }
            _ if requests.is_next_inserted() && !is_asynchronous(tag) && tag != ERROR_RESPONSE => {
                if body > LARGEST_INSERTED {
                    return Err(invalid(format!(
                        "message {:?} of {body} bytes is not expected",
                        tag as char
                    )));
                }
                if available.len() < body {
                    return Ok(Examined::Incomplete);
                }
                requests.drop_inserted();
                self.idle = false;
                return Ok(Examined::Dropped);
            }
            _ => {}
        }
        self.record(tag, requests);
        Ok(Examined::Passes)
    }

    /// Counts a message before the end of the login, where nobody has vouched for the server.
    fn check_login(&mut self, tag: u8, body: usize) -> io::Result<()> {
        let Some(budget) = self.login_budget else { return Ok(()) };
        if tag == READY_FOR_QUERY {
            self.login_budget = None;
            return Ok(());
        }
        self.login_budget = Some(budget.checked_sub(HEADER + body).ok_or_else(|| {
            invalid(format!("more than {LARGEST_LOGIN} bytes arrived before the end of the login"))
        })?);
        Ok(())
    }

    /// Records a message that passes to the driver.
    fn record(&mut self, tag: u8, requests: &mut Requests) {
        let unsynced = requests.first() == Some(Request::Unsynced);
        self.idle &= is_asynchronous(tag);
        match tag {
            COMMAND_COMPLETE | EMPTY_QUERY_RESPONSE | PORTAL_SUSPENDED => {
                self.completes = unsynced;
                requests.mark_answered();
            }
            // The rest of the group is reported as skipped only when ReadyForQuery confirms that the server has
            // skipped it. An error that ends the connection is never followed by one.
            ERROR_RESPONSE => {
                self.failed |= unsynced;
                requests.mark_refused();
            }
            COPY_IN_RESPONSE => requests.mark_answered(),
            _ => {}
        }
    }

    /// Ends the requests that a `ReadyForQuery` from the server answers, and returns whether that message passes to
    /// the driver.
    fn end_requests(&mut self, requests: &mut Requests) -> bool {
        // For COPY FROM STDIN the driver sends one Sync with the statement and another after the data, and expects
        // one ReadyForQuery. The server ignores the first Sync while it takes data; but if the statement fails
        // before it takes any, it answers both. The second answer directly follows another ReadyForQuery, by which it
        // is recognised and dropped: of all requests, only a bare Sync is answered with nothing before
        // ReadyForQuery.
        if std::mem::replace(&mut self.idle, true) && requests.first() != Some(Request::Bare) {
            return false;
        }
        if !std::mem::take(&mut self.failed) {
            requests.pop();
            return true;
        }
        // The first request has received the error. The server skipped all that follow, up to and including the
        // one whose Sync this message answers.
        requests.pop();
        put_ready(&mut self.supplied, self.status);
        while let Some(request) = requests.pop() {
            put_skipped(&mut self.supplied);
            put_ready(&mut self.supplied, self.status);
            if request != Request::Unsynced {
                break;
            }
        }
        false
    }

    /// Examines what is buffered before the first tagged message, and returns whether that message comes next.
    fn start_up(&mut self, requests: &mut Requests) -> bool {
        let Some(answer) = self.raw[self.start..self.end].first() else { return false };
        match (requests.phase, answer) {
            (Phase::Encryption, b'N') => {
                requests.phase = Phase::Startup;
                self.passing = self.start + 1;
                return false;
            }
            // An ErrorResponse, from a server too old to know requests for encryption.
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

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Whether the server may send a message with this tag at any time, unasked.
fn is_asynchronous(tag: u8) -> bool {
    matches!(tag, NOTICE_RESPONSE | NOTIFICATION_RESPONSE | PARAMETER_STATUS)
}

/// Moves as much of `bytes` into `buf` as fits, and returns how many bytes that was.
fn put(bytes: &[u8], buf: &mut ReadBuf<'_>) -> usize {
    let room = bytes.len().min(buf.remaining());
    buf.put_slice(&bytes[..room]);
    room
}

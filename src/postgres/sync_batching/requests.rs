//! What the two directions share: how far the connection is, and what the driver waits for.

use std::collections::VecDeque;
use std::io;

/// Tag and length, which does not count the tag.
pub(super) const HEADER: usize = 5;

/// How far the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Phase {
    /// The driver's next message is one of the few without a tag.
    #[default]
    Startup,
    /// The server's next byte answers a request for encryption.
    Encryption,
    /// Messages with tags.
    Messages,
    /// Encrypted: nothing to be understood any more.
    Opaque,
}

/// A request that the driver waits for the end of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Ends with the server's own ready message.
    Synced,
    /// One execute whose Sync was left out: ends when it completes, with a ready message of ours.
    Unsynced,
    /// A Sync by itself: nothing comes before its ready message.
    Bare,
}

/// The shared state.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) phase: Phase,
    /// In the order of sending.
    waiting: VecDeque<Request>,
    /// The first one waiting has completed or failed, and only its ready message is missing.
    answered: bool,
}

impl Requests {
    pub(super) fn push(&mut self, request: Request) {
        self.waiting.push_back(request);
    }

    pub(super) fn first(&self) -> Option<Request> {
        self.waiting.front().copied()
    }

    /// The first one is over.
    pub(super) fn pop(&mut self) -> Option<Request> {
        self.answered = false;
        self.waiting.pop_front()
    }

    /// The server has completed or refused the first one.
    pub(super) fn answer(&mut self) {
        self.answered = true;
    }

    /// Make the last one end without the server's ready message; false when it is too late, because the message
    /// that ours would follow has passed.
    pub(super) fn leave_out_sync(&mut self) -> bool {
        let too_late = self.answered && self.waiting.len() == 1;
        match self.waiting.back_mut() {
            Some(request) if !too_late => {
                *request = Request::Unsynced;
                true
            }
            _ => false,
        }
    }
}

/// The tag of a message, and how many bytes follow its header.
pub(super) fn parse(header: [u8; HEADER]) -> io::Result<(u8, usize)> {
    let [tag, a, b, c, d] = header;
    let length = u32::from_be_bytes([a, b, c, d]);
    match length.checked_sub(4) {
        Some(body) if i32::try_from(length).is_ok() => Ok((tag, body as usize)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("message {:?} claims a length of {length}", tag as char),
        )),
    }
}

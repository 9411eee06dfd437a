//! The state shared by both directions: the phase of the connection, and the requests in flight.

use std::collections::VecDeque;

/// The phase of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// The next message from the driver is untagged: a `StartupMessage` or a request for encryption.
    #[default]
    Startup,
    /// The next byte from the server answers a request for encryption.
    Encryption,
    /// Messages are tagged.
    Messages,
    /// The stream is encrypted, and passes unread.
    Opaque,
}

/// A request in flight, by how it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Ends with the server's `ReadyForQuery`.
    Synced,
    /// A Bind and Execute whose Sync was left out. Ends when the Execute completes, with a `ReadyForQuery` supplied
    /// by this crate.
    Unsynced,
    /// A Sync alone. `ReadyForQuery` is its only answer.
    Bare,
}

/// The phase and the requests in flight.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) phase: Phase,
    /// In the order they were sent.
    in_flight: VecDeque<Request>,
    /// The first request has completed or failed; only its `ReadyForQuery` is outstanding.
    answered: bool,
}

impl Requests {
    /// Adds a request that the driver has begun to send.
    pub(crate) fn push(&mut self, request: Request) {
        self.in_flight.push_back(request);
    }

    /// Returns the request that the server answers next.
    pub(crate) fn first(&self) -> Option<Request> {
        self.in_flight.front().copied()
    }

    /// Removes the first request, which has ended.
    pub(crate) fn pop(&mut self) -> Option<Request> {
        self.answered = false;
        self.in_flight.pop_front()
    }

    /// Notes that the server has completed or refused the first request.
    pub(crate) fn mark_answered(&mut self) {
        self.answered = true;
    }

    /// Makes the last request end without the server's `ReadyForQuery`, and returns whether it did.
    ///
    /// It is too late once the message that completes the request has been passed to the driver: the
    /// `ReadyForQuery` supplied by this crate would have had to follow it.
    pub(crate) fn leave_out_sync(&mut self) -> bool {
        let too_late = self.answered && self.in_flight.len() == 1;
        match self.in_flight.back_mut() {
            Some(request) if !too_late => {
                *request = Request::Unsynced;
                true
            }
            _ => false,
        }
    }
}

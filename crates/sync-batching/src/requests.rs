//! The state shared by both directions: the phase of the connection, and the requests in flight.

use std::collections::VecDeque;

use crate::control::StreamControl;

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

/// A request in flight, and what this crate has put before it.
#[derive(Debug)]
struct InFlight {
    request: Request,
    /// The number of answers still to come, before those that the driver expects, to messages of this crate.
    inserted: u8,
}

/// The phase and the requests in flight.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) phase: Phase,
    pub(crate) control: StreamControl,
    /// In the order they were sent.
    in_flight: VecDeque<InFlight>,
    /// The first request has completed or failed; only its `ReadyForQuery` is outstanding.
    answered: bool,
}

impl Requests {
    /// No requests yet, on a stream with this `control`.
    pub(crate) fn new(control: StreamControl) -> Self {
        Requests { control, ..Requests::default() }
    }

    /// Adds a request that the driver has begun to send.
    pub(crate) fn push(&mut self, request: Request) {
        self.in_flight.push_back(InFlight { request, inserted: 0 });
    }

    /// Notes that the last request, of which nothing else has been sent, begins with messages of this crate, to which
    /// the server sends this many answers.
    pub(crate) fn insert(&mut self, answers: u8) {
        if let Some(last) = self.in_flight.back_mut() {
            last.inserted += answers;
        }
    }

    /// Returns whether the next answer is to a message of this crate.
    pub(crate) fn is_next_inserted(&self) -> bool {
        self.in_flight.front().is_some_and(|first| first.inserted > 0)
    }

    /// Notes that one more answer to a message of this crate has arrived.
    pub(crate) fn drop_inserted(&mut self) {
        if let Some(first) = self.in_flight.front_mut() {
            first.inserted -= 1;
        }
    }

    /// Returns the request that the server answers next.
    pub(crate) fn first(&self) -> Option<Request> {
        self.in_flight.front().map(|first| first.request)
    }

    /// Removes the first request, which has ended.
    pub(crate) fn pop(&mut self) -> Option<Request> {
        self.answered = false;
        self.in_flight.pop_front().map(|first| first.request)
    }

    /// Notes that the server has completed the first request.
    pub(crate) fn mark_answered(&mut self) {
        self.answered = true;
    }

    /// Notes that the server has refused the first request, and skips the rest of it.
    pub(crate) fn mark_refused(&mut self) {
        self.answered = true;
        if let Some(first) = self.in_flight.front_mut() {
            first.inserted = 0;
        }
    }

    /// Makes the last request end without the server's `ReadyForQuery`, and returns whether it did.
    ///
    /// It is too late once the message that completes the request has been passed to the driver: the
    /// `ReadyForQuery` supplied by this crate would have had to follow it.
    pub(crate) fn leave_out_sync(&mut self) -> bool {
        let too_late = self.answered && self.in_flight.len() == 1;
        match self.in_flight.back_mut() {
            Some(last) if !too_late => {
                last.request = Request::Unsynced;
                true
            }
            _ => false,
        }
    }
}

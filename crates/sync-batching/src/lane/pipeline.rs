//! Statements in flight beside the driver.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, BytesMut};
use tokio_postgres::Error;
use tokio_postgres::types::{BorrowToSql, Type};

use crate::error;
use crate::fatal::FatalError;
use crate::lane::frames::LaneStatement;
use crate::lane::row::Row;
use crate::lend::Lent;
use crate::wire::backend_tag::{
    BIND_COMPLETE, CLOSE_COMPLETE, COMMAND_COMPLETE, DATA_ROW, EMPTY_QUERY_RESPONSE, ERROR_RESPONSE,
    NOTICE_RESPONSE, NOTIFICATION_RESPONSE, PARAMETER_STATUS, PARSE_COMPLETE, READY_FOR_QUERY,
};
use crate::wire::{BUFFER, HEADER, SYNC_MESSAGE, is_about_peer, parse, put_skipped};

/// Statements in flight on the stream of a [`Lane`](crate::Lane), and their answers in order.
///
/// [`execute`](Self::execute) puts a statement into a buffer, [`next`](Self::next) sends what is there and waits for the
/// answer to the oldest one. Both may be mixed at will; nothing is sent without `next` or
/// [`poll_send`](Self::poll_send).
///
/// # Errors and transactions
///
/// The statements between two Syncs are a group, and what the [crate docs](crate) say of groups holds for them: outside
/// an explicit transaction they are one transaction; the one that fails gets the server's error, and those after it get
/// an error of which [`is_skipped`](crate::is_skipped) is true. The last of a group is answered when the server has ended
/// its transaction.
///
/// When the connection breaks, every statement in flight gets the error, and so does every later one.
///
/// # Dropping
///
/// A pipeline without statements in flight gives the stream back to the driver. With some, it closes the connection,
/// because nobody is left to read their answers: call [`next`](Self::next) until it returns `None` before. The future of
/// `next` itself may be dropped at any time; no answer is lost.
///
/// # Memory
///
/// There are 64 KiB of buffer for reading, more for a longer row; and the statements that are not sent yet, which
/// [`is_full`](Self::is_full) lets the caller bound.
pub struct Pipeline {
    lent: Box<dyn Lent>,
    sync_every: NonZero<usize>,
    /// What is to be sent.
    out: BytesMut,
    /// Something was written that may still have to be flushed.
    unflushed: bool,
    input: Input,
    /// The statements of each group in flight that have no answer yet; the last group may still grow.
    groups: VecDeque<usize>,
    /// Executes since the last Sync.
    unsynced: usize,
    in_flight: usize,
    first: FirstGroup,
    /// The transaction status that the server reported last; `None` if it has not.
    status: Option<u8>,
    /// How the connection broke.
    broken: Option<io::ErrorKind>,
}

/// The state of the oldest group in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstGroup {
    /// Answers arrive.
    Running,
    /// Its last statement is complete, and has this many rows if its transaction ends well.
    Completed(u64),
    /// A statement has failed, and the server skips the others.
    Failed,
    /// It has ended; these statements were skipped.
    Skipped(usize),
}

/// Bytes from the server.
#[derive(Debug)]
struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// The result of a message.
enum Read {
    /// An answer to the oldest statement.
    Answer(Result<u64, Error>),
    /// The end of a group whose statements have their answers, or get them now.
    GroupEnded,
    /// Nothing to return yet.
    Nothing,
}

impl Pipeline {
    pub(super) fn new(lent: Box<dyn Lent>, sync_every: NonZero<usize>) -> Pipeline {
        Pipeline {
            lent,
            sync_every,
            out: BytesMut::new(),
            unflushed: false,
            input: Input { bytes: vec![0; BUFFER], start: 0, end: 0 },
            groups: VecDeque::new(),
            unsynced: 0,
            in_flight: 0,
            first: FirstGroup::Running,
            status: None,
            broken: None,
        }
    }

    /// Prepare the statement `sql`, whose parameters have these `types`, and wait for the answer.
    ///
    /// # Errors
    /// When statements are in flight, or the server refuses it.
    pub async fn prepare(&mut self, sql: &str, types: &[Type]) -> Result<LaneStatement, Error> {
        self.check_empty()?;
        let statement = LaneStatement::new(types).map_err(error::from_io)?;
        statement.put_parse(sql, &mut self.out).map_err(error::from_io)?;
        self.answer_alone().await?;
        Ok(statement)
    }

    /// Close `statement` on the server, and wait for the answer.
    ///
    /// # Errors
    /// When statements are in flight, or the connection breaks.
    pub async fn close(&mut self, statement: LaneStatement) -> Result<(), Error> {
        self.check_empty()?;
        statement.put_close(&mut self.out).map_err(error::from_io)?;
        self.answer_alone().await
    }

    fn check_empty(&self) -> Result<(), Error> {
        match self.in_flight {
            0 => Ok(()),
            _ => Err(error::from_io(io::Error::new(io::ErrorKind::InvalidInput, "statements are in flight"))),
        }
    }

    /// Wait for the answer to the message in the buffer.
    async fn answer_alone(&mut self) -> Result<(), Error> {
        self.add_to_group();
        self.sync();
        let answer = self.next(|_| ()).await;
        // The end of the group, if it was refused: without it, the stream could not be given back.
        while self.next(|_| ()).await.is_some() {}
        match answer {
            Some(answer) => answer.map(drop),
            None => unreachable!("a message is in flight"),
        }
    }

    /// Put an execution of `statement` with a value for each parameter into the buffer, and a Sync if it is due.
    ///
    /// # Errors
    /// When the values do not fit the parameters; nothing is sent then. That the connection is broken is told by
    /// [`next`](Self::next).
    pub fn execute<P: BorrowToSql>(
        &mut self,
        statement: &LaneStatement,
        values: impl IntoIterator<Item = P>,
    ) -> Result<(), Error> {
        statement.put_execute(values, &mut self.out).map_err(error::from_io)?;
        self.add_to_group();
        if self.unsynced >= self.sync_every.get() {
            self.sync();
        }
        Ok(())
    }

    fn add_to_group(&mut self) {
        match self.groups.back_mut() {
            Some(group) if self.unsynced > 0 => *group += 1,
            _ => self.groups.push_back(1),
        }
        self.unsynced += 1;
        self.in_flight += 1;
    }

    /// End the group of the statements executed since the last Sync, if there are any.
    pub fn sync(&mut self) {
        if std::mem::take(&mut self.unsynced) > 0 {
            self.out.extend_from_slice(SYNC_MESSAGE);
        }
    }

    /// The number of statements in flight: executed, and not answered.
    pub fn len(&self) -> usize {
        self.in_flight
    }

    /// Whether no statement is in flight.
    pub fn is_empty(&self) -> bool {
        self.in_flight == 0
    }

    /// Whether 64 KiB or more wait to be sent, so that [`next`](Self::next) should come before the next statement.
    pub fn is_full(&self) -> bool {
        self.out.len() >= BUFFER
    }

    /// Whether the connection is broken.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Send what is in the buffer, and wait for the answer to the oldest statement; `None` if none is in flight.
    ///
    /// `row` is called with each row of the result. The answer is the number of rows that the server reports as returned
    /// or changed.
    ///
    /// # Errors
    /// When the statement failed or was skipped, or the connection is broken.
    pub async fn next(&mut self, mut row: impl FnMut(Row<'_>)) -> Option<Result<u64, Error>> {
        poll_fn(|cx| self.poll_next(cx, &mut row)).await
    }

    /// The answer to the oldest statement if it has arrived; otherwise `None`, at once.
    ///
    /// After [`next`](Self::next), this yields what arrived together with its answer.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_arrived(&mut self, mut row: impl FnMut(Row<'_>)) -> Option<Result<u64, Error>> {
        match self.poll_answer(&mut Context::from_waker(Waker::noop()), &mut row, false) {
            Poll::Ready(answer) => answer,
            Poll::Pending => None,
        }
    }

    /// As [`next`](Self::next).
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        row: &mut impl FnMut(Row<'_>),
    ) -> Poll<Option<Result<u64, Error>>> {
        self.poll_answer(cx, row, true)
    }

    /// The next answer; `Pending` where it has not arrived, unless it `may_read`.
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        row: &mut impl FnMut(Row<'_>),
        may_read: bool,
    ) -> Poll<Option<Result<u64, Error>>> {
        loop {
            match self.first {
                FirstGroup::Skipped(left) => {
                    self.first = if left > 1 { FirstGroup::Skipped(left - 1) } else { FirstGroup::Running };
                    return self.answer(Err(skipped()));
                }
                // The group has grown meanwhile.
                FirstGroup::Completed(rows) if self.groups.front().is_some_and(|left| *left > 0) => {
                    self.first = FirstGroup::Running;
                    return self.answer(Ok(rows));
                }
                _ => {}
            }
            match self.broken {
                Some(kind) if self.in_flight > 0 => return self.answer(Err(error::from_io(kind.into()))),
                None if !self.groups.is_empty() => {}
                _ => return Poll::Ready(None),
            }
            match ready!(self.poll_read_messages(cx, row, may_read)) {
                Ok(Some(answer)) => return self.answer(answer),
                Ok(None) => {}
                Err(error) => {
                    self.broken = Some(error.kind());
                    if self.in_flight > 0 {
                        return self.answer(Err(error::from_io(error)));
                    }
                }
            }
        }
    }

    fn answer(&mut self, answer: Result<u64, Error>) -> Poll<Option<Result<u64, Error>>> {
        self.in_flight -= 1;
        Poll::Ready(Some(answer))
    }

    /// Sends as much of the buffer as the stream takes now, with a Sync at its end.
    ///
    /// [`next`](Self::next) does this, too; call it where statements are to be sent and no answer is awaited yet. An
    /// error is reported by `next`.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) {
        self.sync();
        match self.poll_drain(cx) {
            // What the server said before it closed the connection is still to be read.
            Poll::Ready(Err(error)) if is_about_peer(&error) => self.out.clear(),
            Poll::Ready(Err(error)) => self.broken = Some(error.kind()),
            _ => {}
        }
    }

    /// Writes what is in the buffer.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            match ready!(self.lent.poll_write(cx, &self.out))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.out.advance(written),
            }
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(self.lent.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads messages until one answers the oldest statement, or a group ends without an answer.
    fn poll_read_messages(
        &mut self,
        cx: &mut Context<'_>,
        row: &mut impl FnMut(Row<'_>),
        may_read: bool,
    ) -> Poll<io::Result<Option<Result<u64, Error>>>> {
        loop {
            let Some((tag, whole)) = self.input.message()? else {
                if !may_read {
                    return Poll::Pending;
                }
                ready!(self.poll_fill(cx))?;
                continue;
            };
            let body = &self.input.bytes[whole.start + HEADER..whole.end];
            let is_running = self.first == FirstGroup::Running;
            let read = match tag {
                DATA_ROW if is_running => {
                    row(Row::new(body)?);
                    Read::Nothing
                }
                BIND_COMPLETE if is_running => Read::Nothing,
                COMMAND_COMPLETE if is_running => {
                    let rows = rows_of(body);
                    self.complete(rows)
                }
                EMPTY_QUERY_RESPONSE | PARSE_COMPLETE | CLOSE_COMPLETE if is_running => self.complete(0),
                ERROR_RESPONSE => self.fail(whole.clone()),
                READY_FOR_QUERY if self.groups.len() > 1 || self.unsynced == 0 => {
                    let [status] = *body else { return Poll::Ready(Err(unexpected(tag))) };
                    self.status = Some(status);
                    self.end_group()?
                }
                NOTICE_RESPONSE | NOTIFICATION_RESPONSE | PARAMETER_STATUS => {
                    ready!(self.lent.poll_pass_on(cx, &self.input.bytes[whole.clone()]));
                    Read::Nothing
                }
                _ => return Poll::Ready(Err(unexpected(tag))),
            };
            self.input.start = whole.end;
            match read {
                Read::Answer(answer) => return Poll::Ready(Ok(Some(answer))),
                Read::GroupEnded => return Poll::Ready(Ok(None)),
                Read::Nothing => {}
            }
        }
    }

    /// The oldest statement is complete, with this many rows.
    fn complete(&mut self, rows: u64) -> Read {
        let Some(left) = self.groups.front_mut() else { return Read::Nothing };
        *left -= 1;
        if *left > 0 {
            return Read::Answer(Ok(rows));
        }
        // Its transaction may still fail.
        self.first = FirstGroup::Completed(rows);
        Read::Nothing
    }

    /// The message at `at` tells that a statement, or the end of its transaction, has failed.
    fn fail(&mut self, at: Range<usize>) -> Read {
        let response = &self.input.bytes[at];
        if let Some(fatal) = FatalError::parse(&response[HEADER..]) {
            self.lent.note_fatal_error(fatal);
        }
        match std::mem::replace(&mut self.first, FirstGroup::Failed) {
            FirstGroup::Running => {
                if let Some(left) = self.groups.front_mut() {
                    *left -= 1;
                }
            }
            FirstGroup::Completed(_) => {}
            // What ends the session, after the error of the statement.
            FirstGroup::Failed | FirstGroup::Skipped(_) => return Read::Nothing,
        }
        Read::Answer(Err(error::from_response(response)))
    }

    /// The server has ended the oldest group.
    fn end_group(&mut self) -> io::Result<Read> {
        let left = self.groups.pop_front().unwrap_or_default();
        match std::mem::replace(&mut self.first, FirstGroup::Running) {
            FirstGroup::Completed(rows) => Ok(Read::Answer(Ok(rows))),
            FirstGroup::Failed => {
                if left > 0 {
                    self.first = FirstGroup::Skipped(left);
                }
                Ok(Read::GroupEnded)
            }
            FirstGroup::Running | FirstGroup::Skipped(_) => Err(unexpected(READY_FOR_QUERY)),
        }
    }

    /// Sends what is in the buffer, and reads.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sync();
        match self.poll_drain(cx) {
            // What the server said before it closed the connection is still to be read.
            Poll::Ready(Err(error)) if is_about_peer(&error) => self.out.clear(),
            Poll::Ready(drained) => drained?,
            // Reading may be what makes the server read.
            Poll::Pending => {}
        }
        let room = self.input.make_room();
        match ready!(self.lent.poll_read(cx, room))? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            read => {
                self.input.end += read;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let is_clean =
            self.groups.is_empty() && self.out.is_empty() && !self.unflushed && self.broken.is_none();
        if is_clean {
            self.lent.give_back(&self.input.bytes[self.input.start..self.input.end], self.status);
        }
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("in_flight", &self.in_flight)
            .field("sync_every", &self.sync_every)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl Input {
    /// The tag of the next message, and where all of it is; `None` if it has not arrived completely.
    fn message(&self) -> io::Result<Option<(u8, Range<usize>)>> {
        let Some(&header) = self.bytes[self.start..self.end].first_chunk() else { return Ok(None) };
        let (tag, body) = parse(header)?;
        let end = self.start + HEADER + body;
        Ok((end <= self.end).then_some((tag, self.start..end)))
    }

    /// The room behind what has arrived; there is some.
    fn make_room(&mut self) -> &mut [u8] {
        // Moves less than one message.
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.bytes.len() {
            // It grows with what arrives, not with what a header announces.
            self.bytes.resize(2 * self.end, 0);
        } else if self.end < BUFFER && self.bytes.len() > BUFFER {
            self.bytes.truncate(BUFFER);
            self.bytes.shrink_to_fit();
        }
        &mut self.bytes[self.end..]
    }
}

/// The number of rows at the end of a command tag: "INSERT 0 5".
fn rows_of(tag: &[u8]) -> u64 {
    let digits = tag.strip_suffix(b"\0").unwrap_or(tag);
    let start = digits.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1);
    digits[start..]
        .iter()
        .fold(0_u64, |rows, digit| rows.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
}

/// The error of a statement that the server skipped.
fn skipped() -> Error {
    let mut response = Vec::new();
    put_skipped(&mut response);
    error::from_response(&response)
}

fn unexpected(tag: u8) -> io::Error {
    let message = format!(
        "message {:?} of the server is not expected in a pipeline, where COPY is not possible",
        tag as char
    );
    io::Error::new(io::ErrorKind::InvalidData, message)
}

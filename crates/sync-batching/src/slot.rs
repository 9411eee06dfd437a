//! Where the stream is while the driver does not have it: lent to a pipeline, or gone.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::fatal::FatalError;
use crate::lend::{Lender, Lent};
use crate::link::Link;
use crate::wire::BUFFER;

/// A stream that the driver and pipelines use in turn.
pub(crate) struct Slot<S>(Mutex<State<S>>);

struct State<S> {
    place: Place<S>,
    /// Whole messages for the driver that arrived while the stream was lent.
    for_driver: Vec<u8>,
    /// How much of these the driver has received.
    given: usize,
    /// Wake the driver: to read, to write.
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Wakes whoever waits for the driver to be idle, or to take what is for it.
    waiting: Vec<Waker>,
}

/// Where the stream is.
enum Place<S> {
    Home(Box<Link<S>>),
    Lent,
    /// A pipeline was dropped with statements in flight, whose answers nobody could tell apart.
    Closed,
}

impl<S> Slot<S> {
    pub(crate) fn new(link: Link<S>) -> Slot<S> {
        Slot(Mutex::new(State {
            place: Place::Home(Box::new(link)),
            for_driver: Vec::new(),
            given: 0,
            reader: None,
            writer: None,
            waiting: Vec::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `look` with the stream below; `None` while it is lent.
    pub(crate) fn inspect<T>(&self, look: impl FnOnce(&S) -> T) -> Option<T> {
        match &self.lock().place {
            Place::Home(link) => Some(look(&link.stream)),
            Place::Lent | Place::Closed => None,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Slot<S> {
    /// The driver reads.
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if state.given < state.for_driver.len() {
            let passed = (state.for_driver.len() - state.given).min(buf.remaining());
            buf.put_slice(&state.for_driver[state.given..state.given + passed]);
            state.given += passed;
            if state.given == state.for_driver.len() {
                state.for_driver.clear();
                state.given = 0;
                state.wake_waiting();
            }
            return Poll::Ready(Ok(()));
        }
        let polled = match &mut state.place {
            Place::Home(link) => Pin::new(&mut **link).poll_read(cx, buf),
            Place::Lent => Poll::Pending,
            Place::Closed => Poll::Ready(Ok(())),
        };
        if polled.is_pending() {
            remember(&mut state.reader, cx);
        }
        state.wake_if_idle();
        polled
    }

    /// The driver does something else with the stream: `act`, unless the stream is closed, whose result is then `closed`.
    pub(crate) fn poll_with<T>(
        &self,
        cx: &mut Context<'_>,
        closed: T,
        act: impl FnOnce(Pin<&mut Link<S>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut state = self.lock();
        let polled = match &mut state.place {
            Place::Home(link) => act(Pin::new(link), cx),
            Place::Lent => Poll::Pending,
            Place::Closed => Poll::Ready(Ok(closed)),
        };
        if polled.is_pending() {
            remember(&mut state.writer, cx);
        }
        state.wake_if_idle();
        polled
    }
}

/// Keeps the waker of `cx` in `place`.
fn remember(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

impl<S> State<S> {
    /// Wakes whoever waits for an idle driver, if it is, or if the driver goes on with the stream inside an encryption.
    fn wake_if_idle(&mut self) {
        if !self.waiting.is_empty()
            && !matches!(&self.place, Place::Home(link) if !link.is_idle() && !link.is_opaque())
        {
            self.wake_waiting();
        }
    }

    fn wait(&mut self, cx: &Context<'_>) {
        if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
    }

    fn wake_waiting(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Ends a loan.
    fn end_loan(&mut self, place: Place<S>) {
        self.place = place;
        [self.reader.take(), self.writer.take()].into_iter().flatten().for_each(Waker::wake);
        self.wake_waiting();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Lender for Slot<S> {
    fn poll_borrow(self: Arc<Self>, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Lent>>> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.place, Place::Lent) {
            Place::Closed => {
                state.place = Place::Closed;
                Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
            }
            Place::Home(link) if link.is_idle() && state.for_driver.is_empty() => {
                Poll::Ready(match link.refuses_loans() {
                    None => Ok(Box::new(Loan { link: Some(link), slot: Arc::downgrade(&self) })),
                    Some(reason) => {
                        state.place = Place::Home(link);
                        Err(io::Error::new(io::ErrorKind::Unsupported, reason))
                    }
                })
            }
            place => {
                state.place = place;
                state.wait(cx);
                Poll::Pending
            }
        }
    }
}

/// A stream out of its slot.
struct Loan<S> {
    /// `None` once it is given back.
    link: Option<Box<Link<S>>>,
    /// Gone when the driver has dropped its end.
    slot: Weak<Slot<S>>,
}

impl<S> Loan<S> {
    fn stream(&mut self) -> io::Result<&mut S> {
        self.link.as_mut().map(|link| &mut link.stream).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Lent for Loan<S> {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.stream()?).poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream()?).poll_flush(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(self.stream()?).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_pass_on(&mut self, cx: &mut Context<'_>, message: &[u8]) -> Poll<()> {
        let Some(slot) = self.slot.upgrade() else { return Poll::Ready(()) };
        let mut state = slot.lock();
        // A driver that is not driven would let them pile up.
        if state.for_driver.len() >= BUFFER {
            state.wait(cx);
            return Poll::Pending;
        }
        state.for_driver.extend_from_slice(message);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
        Poll::Ready(())
    }

    fn note_fatal_error(&mut self, error: FatalError) {
        if let Some(link) = &self.link {
            link.requests.control.set_fatal_error(error);
        }
    }

    fn give_back(&mut self, unread: &[u8], status: Option<u8>) {
        let (Some(mut link), Some(slot)) = (self.link.take(), self.slot.upgrade()) else { return };
        link.take_back(unread, status);
        slot.lock().end_loan(Place::Home(link));
    }
}

impl<S> Drop for Loan<S> {
    fn drop(&mut self) {
        if self.link.take().is_some()
            && let Some(slot) = self.slot.upgrade()
        {
            slot.lock().end_loan(Place::Closed);
        }
    }
}

impl<S> Drop for Slot<S> {
    fn drop(&mut self) {
        // The driver has ended: nobody waits for it any more.
        self.lock().wake_waiting();
    }
}

impl<S: fmt::Debug> fmt::Debug for Slot<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let mut shown = f.debug_struct("Slot");
        match &state.place {
            Place::Home(link) => shown.field("stream", link),
            Place::Lent => shown.field("stream", &"lent"),
            Place::Closed => shown.field("stream", &"closed"),
        };
        shown.finish_non_exhaustive()
    }
}

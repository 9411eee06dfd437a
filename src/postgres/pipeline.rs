//! Statements on the way: sent one after the other, answered in the same order.
//!
//! tokio-postgres sends a statement when its future is first polled, and pipelines whatever is polled
//! together. Since PostgreSQL answers in order, the answers need no set of futures: a queue will do, and it
//! costs less. The queue is bounded because the driver's own is not.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures::future::MaybeDone;

/// However many statements may be on the way, no more than this many of their bytes are: 4 MiB.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Up to `depth` futures, each polled once when it came in; the front one is awaited first.
pub struct Pipeline<F: Future> {
    /// With the bytes of each.
    waiting: VecDeque<(Place<F>, usize)>,
    /// Places of futures that are done, for those to come: nothing is allocated for each.
    free: Vec<Place<F>>,
    depth: usize,
    bytes: usize,
}

/// A future stays where it is from its first poll on.
type Place<F> = Pin<Box<MaybeDone<F>>>;

impl<F: Future> fmt::Debug for Pipeline<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("waiting", &self.waiting.len())
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl<F: Future> Pipeline<F> {
    /// A window for `depth` futures; at least 1.
    pub fn new(depth: usize) -> Self {
        Pipeline { waiting: VecDeque::new(), free: Vec::new(), depth: depth.max(1), bytes: 0 }
    }

    /// Whether the front one has to be awaited before another may be pushed.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= self.depth || self.bytes >= MOST_BYTES
    }

    /// Send `future`: poll it once, and keep it.
    pub async fn push(&mut self, future: F) {
        self.push_sized(future, 0).await;
    }

    /// Send `future`, a statement of about `bytes` bytes that is not small for certain.
    pub async fn push_sized(&mut self, future: F, bytes: usize) {
        self.push_made(|| future, bytes).await;
    }

    /// Send what `make` makes: as [`Pipeline::push_sized`], but the future, which may be large, is never moved.
    pub async fn push_made(&mut self, make: impl FnOnce() -> F, bytes: usize) {
        let mut place = match self.free.pop() {
            None => Box::pin(MaybeDone::Future(make())),
            Some(mut place) => {
                place.set(MaybeDone::Future(make()));
                place
            }
        };
        poll_fn(|cx| Poll::Ready(place.as_mut().poll(cx).is_ready())).await;
        self.waiting.push_back((place, bytes));
        self.bytes += bytes;
    }

    /// Whether none is on the way.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Await the answer to the one that was sent first; `None` when none is on the way.
    ///
    /// Nothing is lost when this is dropped before it is ready.
    pub async fn pop(&mut self) -> Option<F::Output> {
        let (front, _) = self.waiting.front_mut()?;
        front.as_mut().await;
        let (mut place, bytes) = self.waiting.pop_front()?;
        let output = place.as_mut().take_output();
        self.free.push(place);
        self.bytes -= bytes;
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_come_in_the_order_of_sending() {
        let mut window = Pipeline::new(3);
        assert!(window.pop().await.is_none());
        let (first_answer, first) = tokio::sync::oneshot::channel();
        let (second_answer, second) = tokio::sync::oneshot::channel();
        window.push(first).await;
        assert!(!window.is_full());
        window.push_sized(second, MOST_BYTES).await;
        assert!(window.is_full(), "by its bytes");
        second_answer.send(2).unwrap();
        first_answer.send(1).unwrap();
        assert_eq!(window.pop().await, Some(Ok(1)));
        assert_eq!(window.pop().await, Some(Ok(2)));
        assert!(window.pop().await.is_none());
    }
}

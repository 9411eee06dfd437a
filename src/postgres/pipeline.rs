//! Statements in flight on one connection.
//!
//! tokio-postgres sends a statement when its future is first polled, and pipelines all statements that are polled
//! before their results have arrived. Since PostgreSQL answers in the order of sending, a queue of futures is enough,
//! and costs less than a set. The queue is bounded because the driver's own is not.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures::future::MaybeDone;

/// The total size of the statements in flight, in bytes, at which a pipeline is full whatever its depth: 4 MiB.
const MAX_BYTES_IN_FLIGHT: usize = 4 * 1024 * 1024;

/// A bounded queue of statements in flight, in the order in which they were sent.
///
/// [`push`](Self::push) sends a statement, [`pop`](Self::pop) awaits the result of the one sent first. All statements
/// must be sent over the same connection, which nothing else should use meanwhile. The queue does not enforce its
/// depth: call [`is_full`](Self::is_full) before each push.
///
/// ```no_run
/// # use postgres_etl::postgres::Pipeline;
/// # async fn look_up(client: tokio_postgres::Client) -> Result<(), tokio_postgres::Error> {
/// let statement = client.prepare("SELECT name FROM city WHERE id = $1").await?;
/// let query = async |id: i32| client.query_opt(&statement, &[&id]).await;
/// let mut pipeline = Pipeline::new(64);
/// let mut found = Vec::new();
/// for id in 0..1000 {
///     while pipeline.is_full() {
///         found.extend(pipeline.pop().await.transpose()?.flatten());
///     }
///     pipeline.push(query(id)).await;
/// }
/// while let Some(result) = pipeline.pop().await {
///     found.extend(result?);
/// }
/// # Ok(()) }
/// ```
pub struct Pipeline<F: Future> {
    /// The futures that have been polled once, each with the size of its statement in bytes.
    in_flight: VecDeque<(Slot<F>, usize)>,
    /// Allocations of completed futures, reused for the next ones.
    free_slots: Vec<Slot<F>>,
    depth: usize,
    /// The total size of the statements in flight, in bytes.
    bytes: usize,
}

/// An allocation for a future, which is pinned from its first poll on.
type Slot<F> = Pin<Box<MaybeDone<F>>>;

impl<F: Future> fmt::Debug for Pipeline<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("in_flight", &self.in_flight.len())
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl<F: Future> Pipeline<F> {
    /// An empty pipeline for up to `depth` statements in flight; a `depth` of 0 counts as 1.
    pub fn new(depth: usize) -> Self {
        Pipeline { in_flight: VecDeque::new(), free_slots: Vec::new(), depth: depth.max(1), bytes: 0 }
    }

    /// Whether to [`pop`](Self::pop) before the next push: `depth` statements, or 4 MiB of them, are in flight.
    pub fn is_full(&self) -> bool {
        self.in_flight.len() >= self.depth || self.bytes >= MAX_BYTES_IN_FLIGHT
    }

    /// Send the statement of `future` by polling it once, and append it to the queue.
    pub async fn push(&mut self, future: F) {
        self.push_sized(future, 0).await;
    }

    /// As [`push`](Self::push), for a statement that may be large: `bytes` is its approximate size.
    pub async fn push_sized(&mut self, future: F, bytes: usize) {
        self.push_with(|| future, bytes).await;
    }

    /// As [`push_sized`](Self::push_sized), but build the future in place with `make`, so that a large one is not moved.
    pub async fn push_with(&mut self, make: impl FnOnce() -> F, bytes: usize) {
        let mut slot = match self.free_slots.pop() {
            None => Box::pin(MaybeDone::Future(make())),
            Some(mut slot) => {
                slot.set(MaybeDone::Future(make()));
                slot
            }
        };
        poll_fn(|cx| Poll::Ready(slot.as_mut().poll(cx).is_ready())).await;
        self.in_flight.push_back((slot, bytes));
        self.bytes += bytes;
    }

    /// Number of statements in flight.
    pub fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether no statement is in flight.
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Await the result of the statement that was sent first; `None` if no statement is in flight.
    ///
    /// Cancel safe: dropping the returned future before it completes loses no result.
    pub async fn pop(&mut self) -> Option<F::Output> {
        let (front, _) = self.in_flight.front_mut()?;
        front.as_mut().await;
        let (mut slot, bytes) = self.in_flight.pop_front()?;
        let output = slot.as_mut().take_output();
        self.free_slots.push(slot);
        self.bytes -= bytes;
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn results_arrive_in_the_order_of_sending() {
        let mut pipeline = Pipeline::new(3);
        assert!(pipeline.pop().await.is_none());
        let (first_answer, first) = tokio::sync::oneshot::channel();
        let (second_answer, second) = tokio::sync::oneshot::channel();
        pipeline.push(first).await;
        assert!(!pipeline.is_full());
        pipeline.push_sized(second, MAX_BYTES_IN_FLIGHT).await;
        assert!(pipeline.is_full(), "4 MiB are in flight");
        second_answer.send(2).unwrap();
        first_answer.send(1).unwrap();
        assert_eq!(pipeline.pop().await, Some(Ok(1)));
        assert_eq!(pipeline.pop().await, Some(Ok(2)));
        assert!(pipeline.pop().await.is_none());
    }
}

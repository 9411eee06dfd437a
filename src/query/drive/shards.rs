//! A thread per core, each with a single-threaded runtime for its share of the connections.
//!
//! A query passes from the task that sends it to the task that drives its connection, and its result passes back. On a
//! multi-threaded runtime the two tasks may be on different threads, and each step wakes another core; here they are
//! always on the same thread.

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::{Error, Result};

/// The threads, which end when this is dropped.
#[derive(Debug)]
pub(crate) struct Shards(Vec<Shard>);

#[derive(Debug)]
struct Shard {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Shards {
    /// Start a thread for each core that this process may use.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub(crate) fn start() -> Result<Shards> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let shard = || -> std::io::Result<Shard> {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (stop, stopped) = oneshot::channel();
            let handle = runtime.handle().clone();
            let thread = std::thread::Builder::new().name("queries".into()).spawn(move || {
                runtime.block_on(async {
                    let _ = stopped.await;
                    // The drivers of dropped connections still have to send Terminate.
                    let alive = || runtime.handle().metrics().num_alive_tasks() > 0;
                    for _ in 0..50 {
                        if !alive() {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                });
            })?;
            Ok(Shard { handle, stop: Some(stop), thread: Some(thread) })
        };
        let shards: std::io::Result<_> = (0..cores).map(|_| shard()).collect();
        shards
            .map(Shards)
            .map_err(|error| Error::usage(format!("failed to start the query threads: {error}")))
    }

    /// The runtime of connection number `index`.
    pub(crate) fn handle(&self, index: usize) -> &Handle {
        &self.0[index % self.0.len()].handle
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        for shard in &mut self.0 {
            drop(shard.stop.take());
        }
        for shard in &mut self.0 {
            if let Some(thread) = shard.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

//! A thread for each core, and on each a runtime of its own for its share of the connections.
//!
//! A query passes from the task that asks to the task that drives its connection, and its answer back. On a runtime
//! of several threads these two may be on different ones, and each step is a wake-up across cores; here they never
//! are.

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::{Error, Result};

/// The threads; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Shards(Vec<Shard>);

#[derive(Debug)]
struct Shard {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Shards {
    /// As many as there are cores.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start() -> Result<Shards> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let shard = || -> std::io::Result<Shard> {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (stop, stopped) = oneshot::channel();
            let handle = runtime.handle().clone();
            let thread = std::thread::Builder::new().name("queries".into()).spawn(move || {
                runtime.block_on(async {
                    let _ = stopped.await;
                    // The drivers of connections that were dropped still have to say goodbye to the server.
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
            .map_err(|error| Error::usage(format!("failed to start the threads that ask: {error}")))
    }

    /// Where connection number `index` lives.
    pub(crate) fn of(&self, index: usize) -> &Handle {
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

//! The lane beside the driver: whatever a server sends, every statement gets an answer or an error, and nothing panics.

#![no_main]

mod wire;

use std::num::NonZero;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::types::Type;
use tokio_postgres_sync_batching::{Lane, SyncBatching};

use crate::wire::{STARTUP, Wire, message};

#[derive(Debug, Arbitrary)]
struct Case<'a> {
    every: u8,
    piece: u8,
    statements: u8,
    /// The tags of the first messages of the server.
    tags: &'a [u8],
    /// What it sends after these.
    bytes: &'a [u8],
}

/// The result of a future that does not wait.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

fuzz_target!(|case: Case<'_>| {
    let wire = Wire::new(usize::from(case.piece).max(1) * 8);
    let mut driver = SyncBatching::new(wire.clone(), NonZero::new(100).unwrap());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut driver).poll_write(&mut cx, STARTUP).is_ready());
    assert!(Pin::new(&mut driver).poll_flush(&mut cx).is_ready());
    b"RZ".iter().for_each(|tag| wire.reply(&message(*tag)));
    let mut space = [0; 64];
    while Pin::new(&mut driver).poll_read(&mut cx, &mut ReadBuf::new(&mut space)).is_ready() {}

    let every = NonZero::new(usize::from(case.every).max(1)).unwrap();
    let mut pipeline = now(Lane::of(&driver.control()).pipeline(every)).unwrap().unwrap();
    b"1Z".iter().for_each(|tag| wire.reply(&message(*tag)));
    let statement = now(pipeline.prepare("SELECT $1", &[Type::INT4])).unwrap().unwrap();
    for _ in 0..case.statements {
        pipeline.execute(&statement, [&7_i32]).unwrap();
    }
    case.tags.iter().for_each(|tag| wire.reply(&message(*tag)));
    wire.reply(case.bytes);
    wire.end();
    let mut answered = 0;
    while let Poll::Ready(Some(_)) = pipeline.poll_next(&mut cx, &mut |row| {
        row.values().count();
    }) {
        answered += 1;
    }
    assert_eq!((answered, pipeline.len()), (case.statements, 0));
});

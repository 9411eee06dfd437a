//! The sync-batching stream between a driver and a server that may send anything: nothing panics, whatever is cut where,
//! and each side ends.

#![no_main]

mod wire;

use std::num::NonZero;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres_sync_batching::SyncBatching;

use crate::wire::{STARTUP, Wire, message};

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    /// The driver writes messages with these tags.
    Write(&'a [u8]),
    /// The driver writes these bytes.
    WriteRaw(&'a [u8]),
    Flush,
    /// The server sends messages with these tags.
    Reply(&'a [u8]),
    /// The server sends these bytes.
    ReplyRaw(&'a [u8]),
    Read,
}

#[derive(Debug, Arbitrary)]
struct Case<'a> {
    every: u8,
    piece: u8,
    unnames: bool,
    reads_only: bool,
    steps: Vec<Step<'a>>,
}

fuzz_target!(|case: Case<'_>| {
    let wire = Wire::new(usize::from(case.piece).max(1));
    let every = NonZero::new(usize::from(case.every).max(1)).unwrap();
    let mut driver = SyncBatching::new(wire.clone(), every);
    if case.unnames {
        driver.control().unname_statements();
    }
    if case.reads_only {
        driver.control().make_groups_read_only();
    }
    let mut cx = Context::from_waker(Waker::noop());
    let mut write = |driver: &mut SyncBatching<Wire>, mut bytes: &[u8]| {
        while !bytes.is_empty() {
            match Pin::new(&mut *driver).poll_write(&mut cx, bytes) {
                Poll::Ready(Ok(written)) => bytes = &bytes[written..],
                Poll::Ready(Err(_)) | Poll::Pending => return,
            }
        }
    };
    write(&mut driver, STARTUP);
    for step in &case.steps {
        let mut cx = Context::from_waker(Waker::noop());
        match step {
            Step::Write(tags) => tags.iter().for_each(|tag| write(&mut driver, &message(*tag))),
            Step::WriteRaw(bytes) => write(&mut driver, bytes),
            Step::Flush => drop(Pin::new(&mut driver).poll_flush(&mut cx)),
            Step::Reply(tags) => tags.iter().for_each(|tag| wire.reply(&message(*tag))),
            Step::ReplyRaw(bytes) => wire.reply(bytes),
            Step::Read => {
                let mut space = [0; 64];
                let mut buf = ReadBuf::new(&mut space);
                drop(Pin::new(&mut driver).poll_read(&mut cx, &mut buf));
            }
        }
    }
    // The server has gone: after what it sent, and what is supplied for that, the driver reads the end.
    wire.end();
    for _ in 0..1_000_000 {
        let (mut cx, mut space) = (Context::from_waker(Waker::noop()), [0; 64]);
        let mut buf = ReadBuf::new(&mut space);
        match Pin::new(&mut driver).poll_read(&mut cx, &mut buf) {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
            _ => return,
        }
    }
    panic!("the stream does not end");
});

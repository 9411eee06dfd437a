//! Pipelines beside the driver: what they send, what they make of answers cut anywhere, and what the driver sees.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Wake, Waker};

use proptest::collection::vec;
use proptest::prelude::*;
use tokio_postgres::Error;
use tokio_postgres::types::Type;

use super::*;
use crate::{Lane, LaneStatement, Pipeline, is_skipped};

/// A wire that remains accessible while a stream or a pipeline has it.
#[derive(Debug, Clone, Default)]
struct SharedWire(Arc<Mutex<Wire>>);

impl SharedWire {
    fn lock(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap()
    }
}

impl AsyncRead for SharedWire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_read(cx, buf)
    }
}

impl AsyncWrite for SharedWire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A connection after the login, with the driver's end of it.
struct Beside {
    wire: SharedWire,
    driver: SyncBatching<SharedWire>,
    piece: usize,
}

fn context() -> Context<'static> {
    Context::from_waker(noop_waker_ref())
}

impl Beside {
    fn new(piece: usize) -> Beside {
        let wire = SharedWire::default();
        wire.lock().room = piece;
        let driver = SyncBatching::new(wire.clone(), NonZero::new(100).unwrap());
        let mut beside = Beside { wire, driver, piece };
        assert_eq!(beside.drive(STARTUP), Poll::Ready(()));
        assert_eq!(beside.wire.lock().written, STARTUP);
        beside.reply(&messages("RSKZ"));
        assert_eq!(tags(&beside.seen()), "RSKZ");
        beside.wire.lock().written.clear();
        beside
    }

    /// The driver sends `bytes`, as far as it can.
    fn drive(&mut self, bytes: &[u8]) -> Poll<()> {
        match Pin::new(&mut self.driver).poll_write(&mut context(), bytes) {
            Poll::Ready(written) => assert_eq!(written.unwrap(), bytes.len()),
            Poll::Pending => return Poll::Pending,
        }
        Pin::new(&mut self.driver).poll_flush(&mut context()).map(Result::unwrap)
    }

    fn reply(&self, bytes: &[u8]) {
        self.wire.lock().replies.extend(bytes.chunks(self.piece).map(<[u8]>::to_vec));
    }

    /// What the driver receives.
    fn seen(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let mut space = [0; 64];
            let mut buf = ReadBuf::new(&mut space);
            match Pin::new(&mut self.driver).poll_read(&mut context(), &mut buf) {
                Poll::Ready(read) => read.unwrap(),
                Poll::Pending => return all,
            }
            if buf.filled().is_empty() {
                return all;
            }
            all.extend_from_slice(buf.filled());
        }
    }

    fn sent(&self) -> String {
        tags(&std::mem::take(&mut self.wire.lock().written))
    }

    /// A pipeline with a prepared statement, which has a parameter.
    fn pipeline(&self, every: usize) -> (Pipeline, LaneStatement) {
        let lane = Lane::of(&self.driver.control());
        let mut pipeline = now(lane.pipeline(NonZero::new(every).unwrap())).unwrap();
        self.reply(&messages("1Z"));
        let statement = now(pipeline.prepare("SELECT $1", &[Type::INT4])).unwrap();
        assert_eq!(self.sent(), "PS");
        (pipeline, statement)
    }
}

/// The result of a future that does not wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    ready(|cx| future.as_mut().poll(cx))
}

/// The next answers until the pipeline waits or is empty: a digit, the number of rows, for a success, `E` for an error of
/// the server, `e` for a skipped statement, `!` for a broken connection; and the rows that were passed.
fn answers(pipeline: &mut Pipeline) -> (String, usize, bool) {
    let (mut answers, mut rows) = (String::new(), 0);
    loop {
        let answer = pipeline.poll_next(&mut context(), &mut |row| {
            assert_eq!(row.values().collect::<Vec<_>>(), [Some(&b"seven"[..]), None]);
            rows += 1;
        });
        let letter = |error: Error| match error.as_db_error() {
            Some(_) if is_skipped(&error) => 'e',
            Some(_) => 'E',
            None => '!',
        };
        match answer {
            Poll::Ready(Some(Ok(rows))) => answers += &rows.to_string(),
            Poll::Ready(Some(Err(error))) => answers.push(letter(error)),
            Poll::Ready(None) => return (answers, rows, true),
            Poll::Pending => return (answers, rows, false),
        }
    }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

/// What a server sends: as [`messages`], with a row for `D`, an error for `E` and a command tag for `C`.
fn from_server(script: &str) -> Vec<u8> {
    let each = script.bytes().map(|tag| match tag {
        b'D' => message(b'D', b"\0\x02\0\0\0\x05seven\xff\xff\xff\xff"),
        b'E' => message(b'E', b"SERROR\0VERROR\0C22012\0Mdivision by zero\0\0"),
        b'F' => message(b'E', b"SFATAL\0VFATAL\0C57P01\0Mgoing down\0\0"),
        b'C' => message(b'C', b"SELECT 1\0"),
        other => messages(&(other as char).to_string()),
    });
    each.collect::<Vec<_>>().concat()
}

#[test]
fn a_group_has_one_sync_and_each_statement_its_answer() {
    in_pieces(|piece| {
        let mut beside = Beside::new(piece);
        let (mut pipeline, statement) = beside.pipeline(2);
        for number in 0..5_i32 {
            pipeline.execute(&statement, [&number]).unwrap();
        }
        assert_eq!((answers(&mut pipeline).0.as_str(), pipeline.len()), ("", 5));
        assert_eq!(beside.sent(), "BEBESBEBESBES");
        // The last statement of a group is answered when its transaction has ended.
        beside.reply(&from_server("2DC2DC"));
        assert_eq!(answers(&mut pipeline), ("1".into(), 2, false));
        beside.reply(&from_server("Z2EZ2DC"));
        assert_eq!(answers(&mut pipeline), ("1Ee".into(), 1, false));
        // A deferred constraint is violated.
        beside.reply(&from_server("EZ"));
        assert_eq!(answers(&mut pipeline), ("E".into(), 0, true));
        // Wrong values are refused before anything is sent.
        assert!(pipeline.execute(&statement, [&"text"]).is_err());
        assert!(pipeline.execute(&statement, [&1_i32, &2_i32]).is_err());
        assert!(pipeline.execute::<&i32>(&statement, []).is_err());
        assert_eq!(answers(&mut pipeline), (String::new(), 0, true));
        assert_eq!(beside.sent(), "");
        drop(pipeline);
        assert_eq!(beside.drive(&messages("Q")), Poll::Ready(()));
        assert_eq!(beside.sent(), "Q");
        beside.reply(&messages("CZ"));
        assert_eq!(tags(&beside.seen()), "CZ");
    });
}

#[test]
fn a_statement_added_to_an_open_group_releases_the_answer_before_it() {
    let beside = Beside::new(1 << 20);
    let (mut pipeline, statement) = beside.pipeline(100);
    pipeline.execute(&statement, [&1_i32]).unwrap();
    assert_eq!(answers(&mut pipeline), (String::new(), 0, false));
    pipeline.execute(&statement, [&1_i32]).unwrap();
    pipeline.poll_send(&mut context());
    assert_eq!(beside.sent(), "BESBES", "nothing waits for a statement that is yet to be executed");
    beside.reply(&from_server("2CZ2CZ"));
    assert_eq!(answers(&mut pipeline), ("11".into(), 0, true));
}

#[test]
fn the_driver_and_a_pipeline_take_turns() {
    let mut beside = Beside::new(1 << 20);
    // The driver has a request in flight.
    assert_eq!(beside.drive(&messages("Q")), Poll::Ready(()));
    let lane = Lane::of(&beside.driver.control());
    let mut waiting = Box::pin(lane.pipeline(NonZero::new(1).unwrap()));
    assert!(waiting.as_mut().poll(&mut context()).is_pending());
    beside.reply(&messages("CZ"));
    assert_eq!(tags(&beside.seen()), "CZ");
    let Poll::Ready(pipeline) = waiting.as_mut().poll(&mut context()) else { panic!("the driver is idle") };
    let pipeline = pipeline.unwrap();
    assert_eq!(beside.drive(&messages("Q")), Poll::Pending);
    drop(pipeline);
    beside.sent();
    assert_eq!(beside.drive(&messages("Q")), Poll::Ready(()));
    assert_eq!(beside.sent(), "Q");
}

/// Whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn who_waits_for_a_driver_that_ends_is_told() {
    let mut beside = Beside::new(1 << 20);
    let lane = Lane::of(&beside.driver.control());
    assert_eq!(beside.drive(&messages("Q")), Poll::Ready(()));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut waiting = Box::pin(lane.pipeline(NonZero::new(1).unwrap()));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() && lane.is_open());
    drop(beside);
    assert!(woken.0.load(Relaxed) && !lane.is_open());
    assert!(matches!(waiting.as_mut().poll(&mut context()), Poll::Ready(Err(_))));
}

#[test]
fn a_pipeline_dropped_with_statements_in_flight_closes_the_connection() {
    let mut beside = Beside::new(1 << 20);
    let (mut pipeline, statement) = beside.pipeline(1);
    pipeline.execute(&statement, [&1_i32]).unwrap();
    drop(pipeline);
    let mut space = [0; 8];
    let mut buf = ReadBuf::new(&mut space);
    let end = Pin::new(&mut beside.driver).poll_read(&mut context(), &mut buf);
    assert!(matches!(end, Poll::Ready(Ok(()))) && buf.filled().is_empty());
    assert!(now(Lane::of(&beside.driver.control()).pipeline(NonZero::new(1).unwrap())).is_err());
}

#[test]
fn copy_and_statements_of_a_pooler_are_refused() {
    let beside = Beside::new(1 << 20);
    let (mut pipeline, statement) = beside.pipeline(1);
    pipeline.execute(&statement, [&1_i32]).unwrap();
    pipeline.execute(&statement, [&1_i32]).unwrap();
    beside.reply(&messages("2G"));
    assert_eq!(answers(&mut pipeline), ("!!".into(), 0, true));
    let pooled = Beside::new(1 << 20);
    pooled.driver.control().unname_statements();
    let refused = now(Lane::of(&pooled.driver.control()).pipeline(NonZero::new(1).unwrap())).unwrap_err();
    assert!(refused.into_source().unwrap().to_string().contains("pooler"));
}

#[test]
fn the_end_of_a_session_is_told_to_all() {
    let mut beside = Beside::new(7);
    let (mut pipeline, statement) = beside.pipeline(2);
    for number in 0..4_i32 {
        pipeline.execute(&statement, [&number]).unwrap();
    }
    beside.reply(&from_server("2DCNF"));
    beside.wire.lock().ends = true;
    assert_eq!(answers(&mut pipeline), ("1E!!".into(), 1, true));
    assert_eq!(beside.driver.control().fatal_error().unwrap().code, "57P01");
    drop(pipeline);
    assert_eq!(tags(&beside.seen()), "N");
}

/// For each statement how it fails: not at all, or with the server's error; and what else the server sends before its
/// answer.
fn statements() -> impl Strategy<Value = Vec<(bool, &'static str)>> {
    vec(
        (
            prop_oneof![5 => Just(false), 1 => Just(true)],
            prop_oneof![6 => Just(""), 1 => Just("N"), 1 => Just("SA")],
        ),
        0..40,
    )
}

/// What the server sends, the answers, the number of rows, and what is for the driver.
fn expected(statements: &[(bool, &str)], every: usize) -> (String, String, usize, String) {
    let (mut server, mut answers, mut rows, mut passed) = (String::new(), String::new(), 0, String::new());
    for group in statements.chunks(every) {
        let mut failed = false;
        for (fails, asynchronous) in group {
            server += asynchronous;
            passed += asynchronous;
            match (failed, fails) {
                (true, _) => answers.push('e'),
                (false, true) => (server, answers, failed) = (server + "2E", answers + "E", true),
                (false, false) => (server, answers, rows) = (server + "2DDC", answers + "1", rows + 2),
            }
        }
        server += "Z";
    }
    (server, answers, rows, passed)
}

proptest! {
    #[test]
    fn every_statement_gets_its_answer_and_the_driver_what_is_for_it(
        statements in statements(), every in 1_usize..10, piece in 1_usize..60,
    ) {
        let mut beside = Beside::new(piece);
        let (mut pipeline, statement) = beside.pipeline(every);
        for _ in &statements {
            pipeline.execute(&statement, [&7_i32]).unwrap();
        }
        let (server, expected, rows, passed) = expected(&statements, every);
        beside.reply(&from_server(&server));
        prop_assert_eq!(answers(&mut pipeline), (expected, rows, true));
        drop(pipeline);
        prop_assert_eq!(tags(&beside.seen()), passed);
    }

    #[test]
    fn no_cut_leaves_a_statement_without_an_answer(
        statements in statements(), every in 1_usize..10, piece in 1_usize..60, cut: prop::sample::Index,
    ) {
        let beside = Beside::new(piece);
        let (mut pipeline, statement) = beside.pipeline(every);
        for _ in &statements {
            pipeline.execute(&statement, [&7_i32]).unwrap();
        }
        let (server, whole, ..) = expected(&statements, every);
        let bytes = from_server(&server);
        beside.reply(&bytes[..cut.index(bytes.len() + 1)]);
        beside.wire.lock().ends = true;
        let (found, _, ended) = answers(&mut pipeline);
        prop_assert!(ended && found.len() == whole.len());
        let told = found.trim_end_matches('!');
        prop_assert_eq!(told, &whole[..told.len()]);
    }

    #[test]
    fn no_bytes_of_a_server_make_it_hang_or_panic(bytes in vec(any::<u8>(), 0..400), tags in "[12CDEINSZ]{0,20}", piece in 1_usize..60) {
        for bytes in [bytes.clone(), [from_server(&tags), bytes].concat()] {
            let beside = Beside::new(piece);
            let (mut pipeline, statement) = beside.pipeline(3);
            for _ in 0..5 {
                pipeline.execute(&statement, [&7_i32]).unwrap();
            }
            beside.reply(&bytes);
            beside.wire.lock().ends = true;
            let mut answered = 0;
            while let Poll::Ready(Some(_)) = pipeline.poll_next(&mut context(), &mut |_| ()) {
                answered += 1;
            }
            prop_assert_eq!((answered, pipeline.len()), (5, 0));
        }
    }
}

//! The framing by itself: scripts of message tags, cut at every byte.

use std::collections::VecDeque;

use futures::task::noop_waker_ref;

use super::*;

/// The stream below: keeps what is written, and reads what it was told to, piece by piece.
#[derive(Debug, Default)]
struct Wire {
    written: Vec<u8>,
    replies: VecDeque<Vec<u8>>,
    ends: bool,
    /// Bytes that a write takes.
    room: usize,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.replies.pop_front() {
            Some(piece) => buf.put_slice(&piece),
            None if self.ends => {}
            None => return Poll::Pending,
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let taken = buf.len().min(self.room);
        self.written.extend_from_slice(&buf[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A connection, and the driver's end of it.
struct Driver {
    stream: SyncBatching<Wire>,
    /// Bytes of a piece, in both directions.
    piece: usize,
}

const STARTUP: &[u8] = b"\0\0\0\x0e\0\x03\0\0user\0\0";

impl Driver {
    /// A stream that was not used yet.
    fn new(every: usize, piece: usize) -> Driver {
        let wire = Wire { room: piece, ..Wire::default() };
        Driver { stream: SyncBatching::new(wire, NonZero::new(every).unwrap()), piece }
    }

    /// Logged in.
    fn ready(every: usize, piece: usize) -> Driver {
        let mut driver = Driver::new(every, piece);
        driver.write(STARTUP);
        driver.flush();
        assert_eq!(driver.written(), STARTUP);
        driver.reply(&messages("RSKZ"));
        assert_eq!(tags(&driver.read()), "RSKZ");
        driver
    }

    fn write(&mut self, bytes: &[u8]) {
        for mut piece in bytes.chunks(self.piece) {
            while !piece.is_empty() {
                let written = ready(|cx| Pin::new(&mut self.stream).poll_write(cx, piece)).unwrap();
                piece = &piece[written..];
            }
        }
    }

    fn flush(&mut self) {
        ready(|cx| Pin::new(&mut self.stream).poll_flush(cx)).unwrap();
    }

    /// Sends messages with these tags, flushes at each `|`, and returns the tags that reached the server since.
    fn send(&mut self, script: &str) -> String {
        for part in script.split_inclusive('|') {
            self.write(&messages(part.trim_end_matches('|')));
            if part.ends_with('|') {
                self.flush();
            }
        }
        tags(&self.written())
    }

    fn written(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.stream.stream.written)
    }

    fn reply(&mut self, bytes: &[u8]) {
        self.stream.stream.replies.extend(bytes.chunks(self.piece).map(<[u8]>::to_vec));
    }

    /// All that there is to read.
    fn read(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let mut space = vec![0; self.piece];
            let mut buf = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(noop_waker_ref()), &mut buf) {
                Poll::Ready(read) => read.unwrap(),
                Poll::Pending => return all,
            }
            if buf.filled().is_empty() {
                return all;
            }
            all.extend_from_slice(buf.filled());
        }
    }

    /// What the driver sees when the server sends this.
    fn sees(&mut self, server: &str) -> String {
        self.reply(&messages(server));
        tags(&self.read())
    }
}

fn ready<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    match poll(&mut Context::from_waker(noop_waker_ref())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("nothing here is ever pending"),
    }
}

/// Messages with these tags; `z` is a ready message in a transaction.
fn messages(script: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for tag in script.bytes() {
        let (tag, body): (u8, &[u8]) = match tag {
            b'z' => (b'Z', b"T"),
            b'Z' => (b'Z', b"I"),
            b'S' | b'I' | b'2' | b'c' | b's' | b'X' => (tag, b""),
            // Its bytes look like a message.
            _ => (tag, b"S\0\0\0\x04Z\0\0\0\x05I"),
        };
        bytes.push(tag);
        bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(body);
    }
    bytes
}

/// The tags of whole messages; `e` is an error of ours, `z` a ready message in a transaction.
fn tags(mut bytes: &[u8]) -> String {
    let mut script = String::new();
    while let Some(&header) = bytes.first_chunk() {
        let (tag, length) = requests::parse(header).unwrap();
        let (body, rest) = bytes[requests::HEADER..].split_at(length);
        script.push(match tag {
            b'E' if body.starts_with(b"SERROR\0VERROR\0C25P02\0Mskipped: ") => 'e',
            b'Z' if body == b"T" => 'z',
            tag => tag as char,
        });
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a message: {bytes:?}");
    script
}

/// Runs `check` with messages cut into pieces of every size up to a few messages.
fn in_pieces(check: impl Fn(usize)) {
    (1..=40).chain([1 << 20]).for_each(check);
}

#[test]
fn syncs_are_left_out_between_binds() {
    in_pieces(|piece| {
        let mut driver = Driver::ready(100, piece);
        assert_eq!(driver.send("BESBESBES|"), "BEBEBES");
        assert_eq!(driver.send("BES|BES|"), "BESBES");
        assert_eq!(driver.send("|"), "");
    });
}

#[test]
fn every_nth_sync_is_sent_at_once() {
    in_pieces(|piece| {
        assert_eq!(Driver::ready(1, piece).send("BESBESBES|"), "BESBESBES");
        assert_eq!(Driver::ready(2, piece).send("BESBESBESBESBES|"), "BEBESBEBESBES");
        // A Sync of another request counts anew.
        assert_eq!(Driver::ready(2, piece).send("BESPDSBESBES|"), "BESPDSBEBES");
    });
}

#[test]
fn other_messages_let_the_sync_go_first() {
    in_pieces(|piece| {
        for other in ["PDS", "CS", "Q", "S", "ES", "PBDES", "HS", "X", "dcS", "fS"] {
            let mut driver = Driver::ready(100, piece);
            let sent = driver.send(&format!("BESBES{other}BES|"));
            assert_eq!(sent, format!("BEBES{other}BES"));
        }
        // A portal: its own Sync is not held, for it is no execute.
        assert_eq!(Driver::ready(100, piece).send("BESBSBES|"), "BEBSBES");
    });
}

#[test]
fn ready_messages_are_supplied() {
    in_pieces(|piece| {
        let mut driver = Driver::ready(100, piece);
        driver.send("BESBESBESBES|");
        assert_eq!(driver.sees("2DDC2I2DsN2CSZ"), "2DDCZ2IZ2DsZN2CSZ");
        // The status is the last one of the server.
        driver.send("Q|BESBES|");
        assert_eq!(driver.sees("Cz2C2Cz"), "Cz2Cz2Cz");
    });
}

#[test]
fn the_rest_of_a_failed_group_is_told_when_the_server_says_so() {
    in_pieces(|piece| {
        let mut driver = Driver::ready(3, piece);
        driver.send("BESBESBESBES|");
        assert_eq!(driver.sees("2C"), "2CZ");
        assert_eq!(driver.sees("2DNE"), "2DNE", "the server may be about to hang up");
        assert_eq!(driver.sees("Z2CZ"), "ZeZ2CZ");

        driver.send("BESBESBES|");
        assert_eq!(driver.sees("Ez2"), "Ezezez2", "all of it, in the server's status");
    });
}

#[test]
fn the_last_of_a_group_fails_by_itself() {
    in_pieces(|piece| {
        let mut driver = Driver::ready(100, piece);
        driver.send("BESBES|");
        assert_eq!(driver.sees("2C2EZ"), "2CZ2EZ");
        // At the end of the transaction, as for a deferred constraint.
        driver.send("BESBES|");
        assert_eq!(driver.sees("2C2CEZ"), "2CZ2CEZ");
        // A portal in the group is skipped too.
        driver.send("BESBS|");
        assert_eq!(driver.sees("EZ"), "EZeZ");
    });
}

#[test]
fn copy_passes() {
    in_pieces(|piece| {
        let mut driver = Driver::ready(100, piece);
        assert_eq!(driver.send("BESBES|"), "BEBES");
        assert_eq!(driver.sees("2C2G"), "2CZ2G");
        assert_eq!(driver.send("dddcSBESBES|"), "dddcSBEBES");
        assert_eq!(driver.sees("CZ2C2CZ"), "CZ2CZ2CZ");
        // It fails half-way, and is given up.
        driver.send("BES|");
        assert_eq!(driver.sees("2GE"), "2GE");
        driver.send("dfS|");
        assert_eq!(driver.sees("Z"), "Z");
        // Out of the server.
        driver.send("BESBES|");
        assert_eq!(driver.sees("2HddcC2CZ"), "2HddcCZ2CZ");
    });
}

#[test]
fn a_copy_that_does_not_start_is_answered_once() {
    in_pieces(|piece| {
        let mut driver = Driver::ready(100, piece);
        driver.send("BES|");
        assert_eq!(driver.sees("2EZ"), "2EZ");
        driver.send("fSBESBES|");
        assert_eq!(driver.sees("Z2C2CZ"), "2CZ2CZ");
        // It fails when the server has asked for the data: with them on the way, or not.
        driver.send("BES|dcSBES|");
        assert_eq!(driver.sees("2GEZNZ2CZ"), "2GEZN2CZ");
        driver.send("BES|dcSS|BES|");
        assert_eq!(driver.sees("2GEZZZ2CZ"), "2GEZZ2CZ");
        // It was given up at once, behind one that fails.
        driver.send("BESBESfS|");
        assert_eq!(driver.sees("EZZ"), "EZeZ");
    });
}

#[test]
fn a_sync_is_sent_when_its_answer_was_there_first() {
    in_pieces(|piece| {
        let mut driver = Driver::ready(100, piece);
        driver.send("BES");
        ready(|cx| driver.stream.poll_drain(cx)).unwrap();
        assert_eq!(tags(&driver.written()), "BE");
        assert_eq!(driver.sees("2C"), "2C");
        assert_eq!(driver.send("BES|"), "SBES");
        assert_eq!(driver.sees("Z2CZ"), "Z2CZ");
    });
}

#[test]
fn the_request_for_encryption_is_followed() {
    const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
    in_pieces(|piece| {
        // Declined.
        let mut driver = Driver::new(100, piece);
        driver.write(SSL_REQUEST);
        driver.reply(b"N");
        assert_eq!(driver.read(), b"N");
        assert_eq!(driver.written(), SSL_REQUEST, "sent without a flush, which the driver forgets");
        driver.write(STARTUP);
        driver.flush();
        assert_eq!(driver.written(), STARTUP);
        assert_eq!(driver.sees("RpZ"), "RpZ");
        driver.send("BESBES|");
        assert_eq!(driver.sees("2C2CZ"), "2CZ2CZ");

        // Granted.
        let mut driver = Driver::new(100, piece);
        driver.write(SSL_REQUEST);
        driver.reply(b"S");
        assert_eq!(driver.read(), b"S");
        assert_eq!(driver.written(), SSL_REQUEST);
        check_opaque(&mut driver);

        // Not asked for.
        check_opaque(&mut Driver::new(100, piece));
    });
}

/// Whatever comes passes.
fn check_opaque(driver: &mut Driver) {
    let noise = [&[22][..], &messages("BESBES")].concat();
    driver.write(&noise);
    driver.flush();
    assert_eq!(driver.written(), noise);
    driver.reply(&noise);
    assert_eq!(driver.read(), noise);
}

#[test]
fn the_end_of_the_stream_is_passed_on_wherever_it_comes() {
    let whole = messages("2C2EZ");
    for cut in 0..=whole.len() {
        let mut driver = Driver::ready(100, 7);
        driver.send("BESBES|");
        driver.stream.stream.ends = true;
        driver.reply(&whole[..cut]);
        let read = driver.read();
        assert!(driver.read().is_empty(), "the end is the end");
        let supplied = if cut >= messages("2C").len() { 6 } else { 0 };
        assert_eq!(read.len(), cut + supplied, "cut at {cut}");
    }
}

#[test]
fn impossible_lengths_are_errors() {
    let mut driver = Driver::ready(100, 100);
    let write = ready(|cx| Pin::new(&mut driver.stream).poll_write(cx, b"B\0\0\0\x03"));
    assert_eq!(write.unwrap_err().kind(), io::ErrorKind::InvalidData);
    for reply in [b"C\0\0\0\x03".as_slice(), b"C\xff\xff\xff\xff", b"Z\0\0\0\x06II"] {
        let mut driver = Driver::ready(100, 100);
        driver.reply(reply);
        let mut space = [0; 100];
        let read = ready(|cx| Pin::new(&mut driver.stream).poll_read(cx, &mut ReadBuf::new(&mut space)));
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

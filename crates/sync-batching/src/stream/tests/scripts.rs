//! Scripts of message tags, and what each side sees of them.

use super::*;

#[test]
fn syncs_between_consecutive_binds_are_left_out() {
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
        // The Sync of any other request restarts the count.
        assert_eq!(Driver::ready(2, piece).send("BESPDSBESBES|"), "BESPDSBEBES");
    });
}

#[test]
fn a_held_sync_is_sent_before_any_message_but_bind() {
    in_pieces(|piece| {
        for other in ["PDS", "CS", "Q", "S", "ES", "PBDES", "HS", "X", "dcS", "fS"] {
            let mut driver = Driver::ready(100, piece);
            let sent = driver.send(&format!("BESBES{other}BES|"));
            assert_eq!(sent, format!("BEBES{other}BES"));
        }
        // A Bind without Execute, for a portal: its own Sync is not held back.
        assert_eq!(Driver::ready(100, piece).send("BESBSBES|"), "BEBSBES");
    });
}

#[test]
fn ready_for_query_is_supplied_for_each_sync_left_out() {
    in_pieces(|piece| {
        let mut driver = Driver::ready(100, piece);
        driver.send("BESBESBESBES|");
        assert_eq!(driver.sees("2DDC2I2DsN2CSZ"), "2DDCZ2IZ2DsZN2CSZ");
        // The status is the last one that the server reported.
        driver.send("Q|BESBES|");
        assert_eq!(driver.sees("Cz2C2Cz"), "Cz2Cz2Cz");
    });
}

#[test]
fn the_rest_of_a_failed_group_is_skipped_once_the_server_is_ready() {
    in_pieces(|piece| {
        let mut driver = Driver::ready(3, piece);
        driver.send("BESBESBESBES|");
        assert_eq!(driver.sees("2C"), "2CZ");
        assert_eq!(driver.sees("2DNE"), "2DNE", "the server may be about to close the connection");
        assert_eq!(driver.sees("Z2CZ"), "ZeZ2CZ");

        driver.send("BESBESBES|");
        assert_eq!(driver.sees("Ez2"), "Ezezez2", "the whole group, with the server's status");
    });
}

#[test]
fn a_failure_of_the_last_statement_leaves_earlier_answers_alone() {
    in_pieces(|piece| {
        let mut driver = Driver::ready(100, piece);
        driver.send("BESBES|");
        assert_eq!(driver.sees("2C2EZ"), "2CZ2EZ");
        // An error at the end of the transaction, as from a deferred constraint.
        driver.send("BESBES|");
        assert_eq!(driver.sees("2C2CEZ"), "2CZ2CEZ");
        // A portal bound in the group is skipped as well.
        driver.send("BESBS|");
        assert_eq!(driver.sees("EZ"), "EZeZ");
    });
}

#[test]
fn copy_passes_unchanged_in_both_directions() {
    in_pieces(|piece| {
        let mut driver = Driver::ready(100, piece);
        assert_eq!(driver.send("BESBES|"), "BEBES");
        assert_eq!(driver.sees("2C2G"), "2CZ2G");
        assert_eq!(driver.send("dddcSBESBES|"), "dddcSBEBES");
        assert_eq!(driver.sees("CZ2C2CZ"), "CZ2CZ2CZ");
        // COPY FROM STDIN fails half-way, and the driver aborts it.
        driver.send("BES|");
        assert_eq!(driver.sees("2GE"), "2GE");
        driver.send("dfS|");
        assert_eq!(driver.sees("Z"), "Z");
        // COPY TO STDOUT.
        driver.send("BESBES|");
        assert_eq!(driver.sees("2HddcC2CZ"), "2HddcCZ2CZ");
    });
}

#[test]
fn a_copy_that_fails_before_taking_data_is_answered_once() {
    in_pieces(|piece| {
        let mut driver = Driver::ready(100, piece);
        driver.send("BES|");
        assert_eq!(driver.sees("2EZ"), "2EZ");
        driver.send("fSBESBES|");
        assert_eq!(driver.sees("Z2C2CZ"), "2CZ2CZ");
        // It fails after the server has asked for data, with the next request in flight and without.
        driver.send("BES|dcSBES|");
        assert_eq!(driver.sees("2GEZNZ2CZ"), "2GEZN2CZ");
        driver.send("BES|dcSS|BES|");
        assert_eq!(driver.sees("2GEZZZ2CZ"), "2GEZZ2CZ");
        // The driver aborts it at once, after a statement that fails.
        driver.send("BESBESfS|");
        assert_eq!(driver.sees("EZZ"), "EZeZ");
    });
}

#[test]
fn a_sync_is_not_left_out_after_its_statement_was_answered() {
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
fn encryption_may_be_declined_granted_or_not_requested() {
    const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
    in_pieces(|piece| {
        // Declined.
        let mut driver = Driver::new(100, piece);
        driver.write(SSL_REQUEST);
        driver.reply(b"N");
        assert_eq!(driver.read(), b"N");
        assert_eq!(driver.written(), SSL_REQUEST, "sent although the driver does not flush it");
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

        // Not requested: direct TLS.
        check_opaque(&mut Driver::new(100, piece));
    });
}

/// Checks that bytes pass unread in both directions.
fn check_opaque(driver: &mut Driver) {
    let noise = [&[22][..], &messages("BESBES")].concat();
    driver.write(&noise);
    driver.flush();
    assert_eq!(driver.written(), noise);
    driver.reply(&noise);
    assert_eq!(driver.read(), noise);
}

#[test]
fn the_stream_may_end_at_any_byte() {
    let whole = messages("2C2EZ");
    for cut in 0..=whole.len() {
        let mut driver = Driver::ready(100, 7);
        driver.send("BESBES|");
        driver.stream.stream.ends = true;
        driver.reply(&whole[..cut]);
        let read = driver.read();
        assert!(driver.read().is_empty(), "nothing follows the end");
        let supplied = if cut >= messages("2C").len() { 6 } else { 0 };
        assert_eq!(read.len(), cut + supplied, "cut at {cut}");
    }
}

#[test]
fn impossible_lengths_are_invalid_data() {
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

#[test]
fn closing_the_stream_sends_the_sync_held_back() {
    in_pieces(|piece| {
        let mut driver = Driver::ready(100, piece);
        driver.write(&messages("BESBES"));
        ready(|cx| Pin::new(&mut driver.stream).poll_shutdown(cx)).unwrap();
        assert_eq!(tags(&driver.written()), "BEBES");
    });
}

#[test]
fn a_stream_that_accepts_nothing_is_an_error() {
    let mut driver = Driver::ready(100, 100);
    driver.write(&messages("BES"));
    driver.stream.stream.room = 0;
    let flush = ready(|cx| Pin::new(&mut driver.stream).poll_flush(cx));
    assert_eq!(flush.unwrap_err().kind(), io::ErrorKind::WriteZero);
}

//! Statements without names, and read-only groups, byte by byte.

use super::*;

/// A message whose body is the concatenation of `parts`.
fn message(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), &body].concat()
}

fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', &[name.as_bytes(), b"\0", sql.as_bytes(), b"\0\0\x01\0\0\0\x17"])
}

fn bind(name: &str) -> Vec<u8> {
    message(b'B', &[b"\0", name.as_bytes(), b"\0\0\x01\0\x01\0\x01\0\0\0\x04\0s1\0\0\0"])
}

fn describe(kind: u8, name: &str) -> Vec<u8> {
    message(b'D', &[&[kind], name.as_bytes(), b"\0"])
}

fn close(name: &str) -> Vec<u8> {
    message(b'C', &[b"S", name.as_bytes(), b"\0"])
}

const EXECUTE: &[u8] = b"E\0\0\0\x09\0\0\0\0\0";
const SYNC: &[u8] = wire::SYNC_MESSAGE;

/// A driver that shares Syncs between up to `every` statements, after `change` has been made.
fn driver(every: usize, piece: usize, change: impl Fn(&StreamControl)) -> Driver {
    let driver = Driver::ready(every, piece);
    change(&driver.stream.requests.control.clone());
    driver
}

/// What reaches the server of `parts`, which are sent together.
fn sent(driver: &mut Driver, parts: &[&[u8]]) -> Vec<u8> {
    driver.write(&parts.concat());
    driver.flush();
    driver.written()
}

#[test]
fn the_names_of_statements_are_prefixed() {
    in_pieces(|piece| {
        let mut driver = driver(2, piece, |control| control.prefix_statements("mine_".into()));
        let prepared = sent(&mut driver, &[&parse("s1", "SELECT $1"), &describe(b'S', "s1"), SYNC]);
        assert_eq!(prepared, [&parse("mine_s1", "SELECT $1"), &describe(b'S', "mine_s1"), SYNC].concat());
        assert_eq!(driver.sees("1tTZ"), "1tTZ");

        let executed = sent(&mut driver, &[&bind("s1"), EXECUTE, SYNC, &bind("s1"), EXECUTE, SYNC]);
        assert_eq!(executed, [&bind("mine_s1"), EXECUTE, &bind("mine_s1"), EXECUTE, SYNC].concat());
        assert_eq!(driver.sees("2DC2DCZ"), "2DCZ2DCZ");

        // The unnamed statement has no name to put anything before, and a portal is no statement.
        let unnamed = [&parse("", "SELECT 1"), &bind(""), &describe(b'P', ""), EXECUTE, SYNC].concat();
        assert_eq!(sent(&mut driver, &[&unnamed]), unnamed);
        assert_eq!(driver.sees("12TDCZ"), "12TDCZ");
        assert_eq!(sent(&mut driver, &[&close("s1"), SYNC]), [&close("mine_s1")[..], SYNC].concat());
    });
}

#[test]
fn a_statement_without_a_name_is_parsed_in_every_group_that_uses_it() {
    in_pieces(|piece| {
        let mut driver = driver(2, piece, StreamControl::unname_statements);
        let prepared = sent(&mut driver, &[&parse("s1", "SELECT $1"), &describe(b'S', "s1"), SYNC]);
        assert_eq!(prepared, [&parse("", "SELECT $1"), &describe(b'S', ""), SYNC].concat());
        assert_eq!(driver.sees("1tTZ"), "1tTZ");

        let group = [&bind("s1"), EXECUTE, SYNC].concat();
        let executed = sent(&mut driver, &[&group, &group, &group]);
        let expected = [
            &parse("", "SELECT $1"),
            &[&bind(""), EXECUTE, &bind(""), EXECUTE, SYNC].concat(),
            &parse("", "SELECT $1"),
            &[&bind(""), EXECUTE, SYNC].concat(),
        ];
        assert_eq!(executed, expected.map(Vec::as_slice).concat());
        assert_eq!(driver.sees("12DC2DCZ12DCZ"), "2DCZ2DCZ2DCZ");

        // The server answers neither Parse nor what follows it once a statement has failed.
        sent(&mut driver, &[&group, &group, &group]);
        assert_eq!(driver.sees("EZ12DCZ"), "EZeZ2DCZ");
    });
}

#[test]
fn a_change_of_statement_within_a_group_parses_the_other_one() {
    in_pieces(|piece| {
        let mut driver = driver(100, piece, StreamControl::unname_statements);
        sent(&mut driver, &[&parse("a", "SELECT 'a'"), SYNC, &parse("b", "SELECT 'b'"), SYNC]);
        assert_eq!(driver.sees("1Z1Z"), "1Z1Z");
        let [a, b] = ["a", "b"].map(|name| [&bind(name), EXECUTE, SYNC].concat());
        let executed = sent(&mut driver, &[&a, &b, &b, &describe(b'S', "a"), SYNC]);
        let group = [&bind(""), EXECUTE].concat();
        let (parse_a, parse_b) = (parse("", "SELECT 'a'"), parse("", "SELECT 'b'"));
        let expected =
            [&parse_a, &group, &parse_b, &group, &group, SYNC, &parse_a, &describe(b'S', ""), SYNC];
        assert_eq!(executed, expected.concat());
        assert_eq!(driver.sees("12C12C2CZ1tnZ"), "2CZ2CZ2CZtnZ");
    });
}

#[test]
fn a_closed_statement_is_forgotten_and_portals_keep_their_names() {
    in_pieces(|piece| {
        let mut driver = driver(1, piece, StreamControl::unname_statements);
        sent(&mut driver, &[&parse("a", "SELECT"), SYNC]);
        assert_eq!(sent(&mut driver, &[&close("a"), SYNC]), [&close(""), SYNC].concat());
        let unknown = [&bind("a"), &describe(b'P', "a"), EXECUTE, SYNC].concat();
        assert_eq!(sent(&mut driver, &[&unknown]), unknown);
    });
}

#[test]
fn a_second_statement_within_one_request_is_refused() {
    let mut driver = driver(1, 1 << 20, StreamControl::unname_statements);
    sent(&mut driver, &[&parse("a", "SELECT"), SYNC]);
    let request = [parse("b", "SELECT 'b'"), bind("a")].concat();
    let refused = ready(|cx| Pin::new(&mut driver.stream).poll_write(cx, &request));
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_read_only_group_begins_with_a_statement_that_the_driver_does_not_see() {
    in_pieces(|piece| {
        let mut driver = driver(2, piece, StreamControl::make_groups_read_only);
        assert_eq!(driver.send("BESBESBES|"), "PBEBEBESPBEBES");
        assert_eq!(driver.sees("12DCN2DC2DCZ12DC2IZ"), "N2DCZ2DCZ2IZ");
        assert_eq!(driver.send("Q|S|"), "QS", "there is nothing to protect");
        assert_eq!(driver.sees("CZZ"), "CZZ");
        // The transaction was aborted before, so that the inserted statement is the one to be refused.
        assert_eq!(driver.send("BESBES|"), "PBEBEBES");
        assert_eq!(driver.sees("Ez"), "Ezez");
    });
}

#[test]
fn a_read_only_group_without_names_parses_both_statements() {
    in_pieces(|piece| {
        let mut driver = driver(2, piece, |control| {
            control.unname_statements();
            control.make_groups_read_only();
        });
        sent(&mut driver, &[&parse("a", "SELECT"), SYNC]);
        assert_eq!(driver.sees("12DC1Z"), "1Z");
        let executed = sent(&mut driver, &[&bind("a"), EXECUTE, SYNC]);
        assert_eq!(tags(&executed), "PBEPBES");
        assert!(executed.ends_with(&[parse("", "SELECT"), bind(""), [EXECUTE, SYNC].concat()].concat()));
        assert_eq!(driver.sees("12DC12DCZ"), "2DCZ");
    });
}

#[test]
fn the_reason_of_the_end_is_known_even_if_the_server_no_longer_reads() {
    in_pieces(|piece| {
        let mut driver = Driver::ready(1, piece);
        let error = |severity: &str| {
            let fields = format!("SFATAL\0V{severity}\0C57P01\0Mgoing down\0\0");
            message(b'E', &[fields.as_bytes()])
        };
        driver.send("BES|");
        driver.reply(&error("ERROR"));
        assert_eq!(tags(&driver.read()), "E");
        assert_eq!(driver.stream.requests.control.clone().fatal_error(), None);
        driver.reply(&[messages("Z"), error("FATAL")].concat());
        driver.stream.stream.is_closed = true;
        assert_eq!(driver.send("BES|BES|"), "", "nobody reads it");
        assert_eq!(tags(&driver.read()), "ZE");
        let reason = driver.stream.requests.control.clone().fatal_error().unwrap();
        assert_eq!((reason.code.as_str(), reason.message.as_str()), ("57P01", "going down"));
    });
}

#[test]
fn what_a_server_sends_before_the_login_is_bounded() {
    let refused = |bytes: &[u8]| {
        let mut driver = Driver::new(1, 1 << 12);
        driver.write(STARTUP);
        driver.reply(bytes);
        let mut space = vec![0; 1 << 21];
        let mut buf = ReadBuf::new(&mut space);
        loop {
            let read = ready(|cx| Pin::new(&mut driver.stream).poll_read(cx, &mut buf));
            if let Err(error) = read {
                return error.kind() == io::ErrorKind::InvalidData;
            }
            if buf.filled().len() >= bytes.len() {
                return false;
            }
        }
    };
    assert!(refused(b"R\x7f\xff\xff\xff\0\0\0\x05"), "a message of 2 GiB");
    let notice = message(b'N', &[&[b'x'; 10_000]]);
    assert!(refused(&notice.repeat(110)), "endless notices");
    assert!(!refused(&notice.repeat(50)));
    // Afterwards, anything goes.
    assert!(!refused(&[messages("RZ"), notice.repeat(90)].concat()));
}

#[test]
fn the_process_id_of_the_login_is_known() {
    in_pieces(|piece| {
        let mut driver = Driver::new(1, piece);
        let control = driver.stream.requests.control.clone();
        driver.write(STARTUP);
        assert_eq!(control.login_pid(), None);
        let key = message(b'K', &[&4711_i32.to_be_bytes(), b"secret"]);
        driver.reply(&[messages("R"), key.clone(), messages("Z")].concat());
        assert!(driver.read().ends_with(&[key, messages("Z")].concat()));
        assert_eq!(control.login_pid(), Some(4711));
    });
}

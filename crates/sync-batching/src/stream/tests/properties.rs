//! What holds for every script, however it is cut into pieces.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Requests as tokio-postgres sends them, each with or without a flush after it. COPY is tested elsewhere.
fn script() -> impl Strategy<Value = String> {
    let request = prop_oneof![8 => Just("BES"), 3 => select(vec!["BS", "ES", "PDS", "CS", "Q", "PBDES"])];
    let flush = prop_oneof![4 => Just(""), 1 => Just("|")];
    vec((request, flush), 0..40)
        .prop_map(|requests| requests.iter().flat_map(|&(request, flush)| [request, flush]).collect())
}

/// What a server answers to messages with these tags, when the Executes whose index is in `failing` fail.
fn answers(sent: &str, failing: &[usize]) -> String {
    let (mut answers, mut executes, mut skipping) = (String::new(), 0, false);
    for tag in sent.chars() {
        executes += usize::from(tag == 'E');
        match tag {
            'S' => (skipping, answers) = (false, answers + "Z"),
            'Q' => answers += "CZ",
            _ if skipping => {}
            'E' if failing.contains(&(executes - 1)) => (skipping, answers) = (true, answers + "E"),
            'E' => answers += "DC",
            'B' => answers += "2",
            'P' => answers += "1",
            'D' => answers += "tT",
            'C' => answers += "3",
            _ => unreachable!("not sent by a script"),
        }
    }
    answers
}

/// What the driver is to see: the server's answers, with one `Z` per Sync of `script` and one `e` per skipped
/// statement. `sent` tells where the groups end.
fn expected(script: &str, sent: &str, failing: &[usize]) -> String {
    let mut sent = sent.chars().peekable();
    let (mut expected, mut executes, mut skipping) = (String::new(), 0, false);
    for request in script.replace('|', "").split_inclusive(['S', 'Q']) {
        let first = executes;
        executes += request.matches('E').count();
        if skipping {
            expected += "eZ";
        } else {
            let own: Vec<usize> = failing.iter().filter_map(|at| at.checked_sub(first)).collect();
            expected += &answers(request, &own);
            skipping = executes > first && own.contains(&0);
        }
        for tag in request.trim_end_matches('S').chars() {
            assert_eq!(sent.next(), Some(tag));
        }
        // After the end of a group, the server runs statements again.
        if !request.ends_with('S') || sent.next_if_eq(&'S').is_some() {
            skipping = false;
        }
    }
    assert_eq!(sent.next(), None);
    expected
}

/// The messages of `script` other than Syncs.
fn without_syncs(script: &str) -> String {
    script.replace(['S', '|'], "")
}

proptest! {
    #[test]
    fn with_n_1_every_byte_passes_unchanged(script in script(), piece in 1_usize..60) {
        let mut driver = Driver::ready(1, piece);
        let plain = script.replace('|', "");
        prop_assert_eq!(driver.send(&format!("{script}|")), plain.as_str());
        let answers = answers(&plain, &[]);
        prop_assert_eq!(driver.sees(&answers), answers);
    }

    #[test]
    fn nothing_but_syncs_is_left_out_and_none_after_a_flush(
        script in script(), every in 1_usize..10, piece in 1_usize..60,
    ) {
        let mut driver = Driver::ready(every, piece);
        for part in format!("{script}|").split_inclusive('|') {
            let sent = driver.send(part);
            prop_assert_eq!(without_syncs(&sent), without_syncs(part));
            prop_assert_eq!(sent.chars().last(), part.trim_end_matches('|').chars().last());
        }
    }

    #[test]
    fn no_sync_covers_more_than_n_executes(script in script(), every in 1_usize..10, piece in 1_usize..60) {
        let sent = Driver::ready(every, piece).send(&format!("{script}|"));
        for group in sent.split(['S', 'Q']) {
            prop_assert!(group.matches('E').count() <= every, "{}", sent);
        }
    }

    #[test]
    fn the_driver_sees_one_answer_per_request_whatever_fails(
        script in script(), failing in vec(0_usize..40, 0..6), every in 1_usize..10, piece in 1_usize..60,
    ) {
        let mut driver = Driver::ready(every, piece);
        let sent = driver.send(&format!("{script}|"));
        prop_assert_eq!(driver.sees(&answers(&sent, &failing)), expected(&script, &sent, &failing));
    }

    #[test]
    fn no_bytes_of_either_side_make_it_hang_or_panic(
        sent in "[BESPDCHQdcfX]{0,20}", driver_bytes in vec(any::<u8>(), 0..200),
        answers in "[12CDEGINRSZz]{0,20}", server_bytes in vec(any::<u8>(), 0..200),
        every in 1_usize..10, piece in 1_usize..60,
    ) {
        let mut driver = Driver::ready(every, piece);
        let mut cx = Context::from_waker(noop_waker_ref());
        for piece in [messages(&sent), driver_bytes].concat().chunks(piece) {
            let _ = Pin::new(&mut driver.stream).poll_write(&mut cx, piece);
        }
        driver.stream.stream.ends = true;
        driver.reply(&[messages(&answers), server_bytes].concat());
        let mut reads = 0;
        loop {
            let mut space = [0; 64];
            let mut buf = ReadBuf::new(&mut space);
            match Pin::new(&mut driver.stream).poll_read(&mut cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => reads += 1,
                Poll::Ready(_) => break,
                Poll::Pending => prop_assert!(false, "the server has ended"),
            }
            prop_assert!(reads < 100_000);
        }
    }

    #[test]
    fn lengths_are_read_as_the_protocol_defines_them(tag: u8, length: u32) {
        let [a, b, c, d] = length.to_be_bytes();
        let parsed = wire::parse([tag, a, b, c, d]).ok();
        let valid = (4..=i32::MAX as u32).contains(&length);
        prop_assert_eq!(parsed, valid.then(|| (tag, length as usize - 4)));
    }
}

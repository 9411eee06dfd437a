use super::*;
use crate::csv::DEFAULT_MAX_RECORD_BYTES;
use crate::csv::record::{Field, Notation};

fn collecting() -> Keys {
    Keys { collects: true, ..Keys::default() }
}

/// The line of a record, and its values or its defect.
type Found = (u64, Result<Vec<Option<String>>, String>);

/// The keys of `text`, and its records.
fn read(text: &str, keys: Keys) -> (Vec<String>, Vec<Found>) {
    let mut records =
        JsonRecords::new(text.as_bytes(), "x", keys, &Dialect::default(), DEFAULT_MAX_RECORD_BYTES);
    let mut found = Vec::new();
    let mut offset = None;
    while let Some((record, _)) = records.next_named().unwrap() {
        assert!(text.as_bytes()[record.offset as usize..].starts_with(record.raw()));
        assert!(offset.replace(record.offset) < Some(record.offset));
        let mut scratch = Vec::new();
        let mut value = |index| match record.field(index, &mut scratch) {
            Field::Null => None,
            Field::Value(value) => Some(String::from_utf8(value.to_vec()).unwrap()),
        };
        let values = match record.defect() {
            Some(defect) => Err(defect.message.clone()),
            None => Ok((0..record.len()).map(&mut value).collect()),
        };
        found.push((record.line, values));
    }
    (records.keys().to_vec(), found)
}

fn found(line: u64, values: &[Option<&str>]) -> Found {
    (line, Ok(values.iter().map(|value| value.map(str::to_owned)).collect()))
}

#[test]
fn values_are_kept_as_they_are_spelled() {
    let text = "\u{feff}{\"a\":1.50,\"b\":\"x\\ty\\u00e9\\ud83d\\ude00\\/\"}\r\n\n \n{\"b\": null, \"c\" :[1, {\"d\":\"]\"}] , \"a\":true}\n\
                {}\n{\"\\u0062\":\"\",\"e\":-1e+5}";
    let (keys, records) = read(text, collecting());
    assert_eq!(keys, ["a", "b", "c", "e"]);
    assert_eq!(
        records,
        [
            found(1, &[Some("1.50"), Some("x\ty\u{e9}\u{1f600}/")]),
            found(4, &[Some("true"), None, Some("[1, {\"d\":\"]\"}]")]),
            found(5, &[None, None, None]),
            found(6, &[None, Some(""), None, Some("-1e+5")]),
        ]
    );
}

#[test]
fn the_text_of_strings_is_kept_where_it_is_wanted() {
    let keys = Keys { names: vec!["a".into(), "b".into()], ..Keys::default() };
    let text = &b"{\"a\":\"x\\ny\",\"b\":\"z\"}\n"[..];
    let mut records = JsonRecords::new(text, "x", keys, &Dialect::default(), DEFAULT_MAX_RECORD_BYTES);
    records.keep_json(&[0]);
    let (record, _) = records.next_named().unwrap().unwrap();
    let mut scratch = Vec::new();
    assert_eq!(record.field(0, &mut scratch), Field::Value(b"\"x\\ny\""));
    assert_eq!((record.notation(0), record.field(1, &mut scratch)), (Notation::String, Field::Value(b"z")));
}

#[test]
fn lines_that_are_not_objects_are_defects() {
    for (line, expected) in [
        ("[1]", "the line is not a JSON object"),
        ("{\"a\":1", "not JSON: expected a comma or the end of the object at byte 7 of the line"),
        ("{\"a\":1}}", "not JSON: expected the end of the line at byte 8 of the line"),
        ("{\"a\":01}", "not JSON: expected a comma or the end of the object at byte 7 of the line"),
        ("{\"a\":nul}", "not JSON: expected a value at byte 6 of the line"),
        ("{\"a\":NaN}", "not JSON: expected a value at byte 6 of the line"),
        ("{\"a\":\"x}", "not JSON: expected the end of the string at byte 9 of the line"),
        ("{\"a\":\"\\x\"}", "not JSON: expected a character that JSON can escape at byte 7 of the line"),
        ("{\"a\":\"\\ud83d\"}", "not JSON: expected a character that JSON can escape at byte 7 of the line"),
        ("{\"a\":[1,]}", "not JSON: expected a value at byte 9 of the line"),
        ("{\"a\":{\"b\" 1}}", "not JSON: expected a colon at byte 11 of the line"),
        ("{\"a\":[}]}", "not JSON: expected a value at byte 7 of the line"),
        ("{\"a\":1,}", "not JSON: expected a string at byte 8 of the line"),
        ("{\"a\":1,\"a\":2}", "the key \"a\" occurs twice"),
        ("{\"b\":1}", "the key \"b\" is not among those of the first lines, or of --columns"),
    ] {
        let keys = Keys { names: vec!["a".into()], ..Keys::default() };
        let (_, records) = read(&format!("{line}\n{{\"a\":[]}}"), keys);
        assert_eq!(records, [(1, Err(expected.to_owned())), found(2, &[Some("[]")])], "{line}");
    }
    let keys = Keys { names: vec!["a".into()], ignores_others: true, ..Keys::default() };
    let (_, records) = read("{\"b\":{\"c\":[null,{}]},\"a\":2,\"d\":\"x\"}\n", keys);
    assert_eq!(records, [found(1, &[Some("2")])]);
}

#[test]
fn lines_are_whole_however_long_they_are() {
    let long = "y".repeat(3 * READ_BLOCK);
    let (_, records) = read(&format!("{{\"a\":\"{long}\"}}\n{{\"a\":1}}\n"), collecting());
    assert_eq!(records, [found(1, &[Some(&long)]), found(2, &[Some("1")])]);
    let text = format!("{{}}\n{{\"a\":\"{long}\"}}\n");
    let mut records = JsonRecords::new(text.as_bytes(), "x", collecting(), &Dialect::default(), 100);
    records.next_named().unwrap();
    let error = records.next_named().unwrap_err().to_string();
    assert_eq!(error, "x, line 2: the line is longer than 100 bytes");
}

#[test]
fn lines_are_skipped_and_blank_ones_are_records_on_demand() {
    let text = "junk {\n\u{feff}\n{\"a\":1}\n \n";
    for (blank_lines, skip_lines, expected) in [
        (None, 2, vec![(3, Some("1"))]),
        (Some(BlankLines::Skip), 2, vec![(3, Some("1"))]),
        (Some(BlankLines::Row), 1, vec![(2, None), (3, Some("1")), (4, None)]),
    ] {
        let dialect = Dialect { skip_lines, blank_lines, ..Dialect::default() };
        let keys = Keys { names: vec!["a".into()], ..Keys::default() };
        let mut records = JsonRecords::new(text.as_bytes(), "x", keys, &dialect, DEFAULT_MAX_RECORD_BYTES);
        let (mut found, mut scratch) = (Vec::new(), Vec::new());
        while let Some((record, _)) = records.next_named().unwrap() {
            assert_eq!(record.defect(), None);
            let value = match record.field(0, &mut scratch) {
                Field::Null => None,
                Field::Value(value) => Some(String::from_utf8(value.to_vec()).unwrap()),
            };
            assert_eq!(record.is_empty(), value.is_none());
            found.push((record.line, value));
        }
        let expected: Vec<_> =
            expected.into_iter().map(|(line, value)| (line, value.map(str::to_owned))).collect();
        assert_eq!(found, expected, "{blank_lines:?}");
    }
}

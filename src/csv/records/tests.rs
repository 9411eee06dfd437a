//! Every case is read whole and byte by byte, so that it crosses every boundary.

use encoding_rs::{BIG5, EUC_JP, GB18030, SHIFT_JIS, UTF_16BE, UTF_16LE, WINDOWS_1252, WINDOWS_1253};

use proptest::prelude::*;

use super::*;
use crate::csv::limits::DEFAULT_MAX_RECORD_BYTES;
use crate::csv::{ByteSource, Field};

/// Yields one byte per read, so that every record crosses every boundary.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
        buffer[0] = *first;
        self.0 = rest;
        Ok(1)
    }
}

type Rows = Vec<(u64, Vec<Option<String>>)>;

/// Read all of `input` from `source`, checking that the raw bytes of the records make up the file, comments aside.
fn read(input: &[u8], source: impl Read, dialect: &Dialect) -> Result<Rows> {
    let mut records = Records::new(source, "x.csv", dialect.clone(), DEFAULT_MAX_RECORD_BYTES);
    let (mut rows, mut scratch, mut raw_bytes) = (Vec::new(), Vec::new(), 0);
    while let Some(record) = records.next()? {
        let fields = (0..record.len()).map(|index| match record.field(index, &mut scratch) {
            Field::Null => None,
            Field::Value(value) => Some(String::from_utf8_lossy(value).into_owned()),
        });
        rows.push((record.line, fields.collect()));
        let start = record.offset as usize;
        assert_eq!(record.raw(), &input[start..start + record.raw().len()], "record {}", rows.len());
        raw_bytes += record.raw().len();
        assert!(record.last_line >= record.line);
    }
    assert_eq!(records.offset(), input.len() as u64);
    if records.comments() == 0 && Encoding::for_bom(input).is_none() {
        assert_eq!(raw_bytes, input.len(), "raw records make up the file");
    }
    Ok(rows)
}

/// Read `bytes` whole and byte by byte; the results must agree.
fn rows_of(bytes: &[u8], dialect: &Dialect) -> Rows {
    let whole = read(bytes, bytes, dialect).unwrap();
    assert_eq!(whole, read(bytes, Trickle(bytes), dialect).unwrap(), "{bytes:?} byte by byte");
    whole
}

/// The error for `bytes`, read whole and byte by byte.
fn refusal(bytes: &[u8], dialect: &Dialect) -> String {
    let whole = read(bytes, bytes, dialect).unwrap_err().to_string();
    assert_eq!(whole, read(bytes, Trickle(bytes), dialect).unwrap_err().to_string());
    whole
}

fn rows(text: &str) -> Rows {
    rows_of(text.as_bytes(), &Dialect::default())
}

fn row(line: u64, fields: &[Option<&str>]) -> (u64, Vec<Option<String>>) {
    (line, fields.iter().map(|field| field.map(str::to_owned)).collect())
}

#[test]
fn empty_is_null_and_quoted_empty_is_a_string() {
    assert_eq!(rows("a,,\"\"\n"), [row(1, &[Some("a"), None, Some("")])]);
    assert_eq!(rows(",\n"), [row(1, &[None, None])]);
}

#[test]
fn quotes_open_and_close_anywhere() {
    assert_eq!(rows("a\"b,\"\"c\",d\n"), [row(1, &[Some("ab,\"c"), Some("d")])]);
    assert_eq!(rows("\"say \"\"hi\"\"\",x"), [row(1, &[Some("say \"hi\""), Some("x")])]);
    assert_eq!(rows("\"\"\"\"\n"), [row(1, &[Some("\"")])]);
}

#[test]
fn lines_are_counted_through_quoted_fields() {
    assert_eq!(
        rows("\"a\nb\n\",1\nc,\n"),
        [row(1, &[Some("a\nb\n"), Some("1")]), row(4, &[Some("c"), None])]
    );
}

#[test]
fn every_line_ending_is_read() {
    for text in ["a,b\nc,d\n", "a,b\r\nc,d\r\n", "a,b\rc,d\r", "a,b\nc,d", "a,b\r\nc,d", "\u{feff}a,b\nc,d"] {
        assert_eq!(
            rows(text),
            [row(1, &[Some("a"), Some("b")]), row(2, &[Some("c"), Some("d")])],
            "{text:?}"
        );
    }
}

#[test]
fn mixed_line_endings_are_refused_as_copy_refuses_them() {
    for text in ["a\nb\rc\n", "a\r\nb\n", "a\rb\nc", "a\r\nb\rc\r\n", "a\nb\r\n"] {
        let error = refusal(text.as_bytes(), &Dialect::default());
        assert!(error.starts_with("x.csv, line 2: a "), "{text:?}: {error}");
    }
}

#[test]
fn blank_lines_are_records() {
    assert_eq!(rows("a\n\nb\n"), [row(1, &[Some("a")]), row(2, &[None]), row(3, &[Some("b")])]);
    assert_eq!(rows(""), []);
    assert_eq!(rows("\u{feff}"), []);
}

#[test]
fn an_escape_other_than_the_quote_is_read() {
    let dialect = Dialect { escape: b'\\', delimiter: b';', ..Dialect::default() };
    assert_eq!(rows_of(br#""a\"b\\c\d";e\"x;""#, &dialect), [row(1, &[Some(r#"a"b\c\d"#), Some(r"e\x;")])]);
}

#[test]
fn an_unclosed_quote_is_reported_with_the_line_of_its_record() {
    let error = refusal(b"a\nb,\"c\nd\n", &Dialect::default());
    assert_eq!(error, "x.csv, line 2: a quote opened in this record is never closed");
    let text = format!("a\n\"{}", "x\n".repeat(1000));
    let mut records = Records::new(Trickle(text.as_bytes()), "x.csv", Dialect::default(), 100);
    records.next().unwrap();
    let error = records.next().unwrap_err();
    assert!(
        error.to_string().starts_with("x.csv, line 2: the record that begins here is longer than 100 bytes")
    );
}

#[test]
fn records_longer_than_a_block_are_whole() {
    let long = "y".repeat(3 * READ_BLOCK);
    assert_eq!(rows(&format!("a,{long}\nb,c\n"))[0], row(1, &[Some("a"), Some(&long)]));
}

#[test]
fn null_is_an_unquoted_text() {
    let dialect = Dialect { nulls: vec![(*b"NULL").into()], ..Dialect::default() };
    let expected = [None, Some("NULL"), Some(""), Some(""), Some("NULL"), Some("null"), Some("NULLs")];
    assert_eq!(rows_of(b"NULL,\"NULL\",,\"\",\"\"NULL,null,NULLs", &dialect), [row(1, &expected)]);
    // The null text does not apply to the header.
    let mut records = Records::new(&b"id,NULL\n"[..], "x.csv", dialect, DEFAULT_MAX_RECORD_BYTES);
    assert_eq!(records.header().unwrap().unwrap().names, ["id", "NULL"]);
}

#[test]
fn blanks_outside_quotes_are_trimmed_before_a_field_is_compared_with_null() {
    let dialect = Dialect { nulls: vec![Box::default(), (*b"NA").into()], trim: true, ..Dialect::default() };
    let expected = [Some("a b"), None, None, Some(" c "), Some(""), Some("d e "), Some("NA"), Some("\u{a0}")];
    let text = " a b\t,  , NA ,\t\" c \" ,\"\", d\" e \" ,\"NA\",\u{a0}\n";
    assert_eq!(rows_of(text.as_bytes(), &dialect), [row(1, &expected)]);
    assert_eq!(rows_of(b" \n", &dialect), [row(1, &[None])]);
}

#[test]
fn comments_end_with_their_line_whatever_quotes_they_contain() {
    let dialect = Dialect { comment: Some(b'#'), ..Dialect::default() };
    let text = b"# don't \"quote, me\r\na,#b\r\n\"#c\",\"\n#d\"\r\n#\r\n #e,\r\n# the end";
    assert_eq!(
        rows_of(text, &dialect),
        [row(2, &[Some("a"), Some("#b")]), row(3, &[Some("#c"), Some("\n#d")]), row(6, &[Some(" #e"), None])]
    );
    let mut records = Records::new(&text[..], "x.csv", dialect.clone(), DEFAULT_MAX_RECORD_BYTES);
    while records.next().unwrap().is_some() {}
    assert_eq!(records.comments(), 3);
    assert_eq!(rows_of(b"#a\n#b\n", &dialect), []);
    assert!(refusal(b"#a\nb\r\n", &dialect).starts_with("x.csv, line 2: a carriage return"));
}

#[test]
fn records_know_their_lines_and_bytes() {
    let text = "\u{feff}a,\"1\r\n2\"\r\nb\r\n".as_bytes();
    let mut records = Records::new(text, "x.csv", Dialect::default(), DEFAULT_MAX_RECORD_BYTES);
    let record = records.next().unwrap().unwrap();
    assert_eq!((record.line, record.last_line, record.offset), (1, 2, 3));
    assert_eq!(record.raw(), b"a,\"1\r\n2\"\r\n");
    let record = records.next().unwrap().unwrap();
    assert_eq!((record.line, record.last_line, record.offset), (3, 3, 13));
    assert_eq!(record.raw(), b"b\r\n");
}

#[test]
fn a_backslash_and_a_dot_are_a_value() {
    assert_eq!(rows("a\n\\.\nb\n"), [row(1, &[Some("a")]), row(2, &[Some("\\.")]), row(3, &[Some("b")])]);
}

#[test]
fn a_record_may_be_as_long_as_allowed_and_no_longer() {
    let dialect = Dialect { comment: Some(b'#'), ..Dialect::default() };
    for (length, allowed) in [(100, true), (101, false)] {
        for (first, end) in [("y", "\n"), ("y", "\r\n"), ("#", "\n"), ("#", "\r\n")] {
            let text = format!("{first}{}{end}z{end}", "y".repeat(length - 1));
            for source in [&mut text.as_bytes() as &mut dyn Read, &mut Trickle(text.as_bytes())] {
                let mut records = Records::new(source, "x.csv", dialect.clone(), 100);
                assert_eq!(records.next().is_ok(), allowed, "{length} {first} {end:?}");
            }
        }
    }
}

#[test]
fn the_buffer_grows_to_what_is_allowed_and_no_further() {
    let most = 3 * READ_BLOCK;
    let text = format!("{}\n", "y".repeat(most));
    let mut records = Records::new(text.as_bytes(), "x.csv", Dialect::default(), most);
    assert_eq!(records.next().unwrap().unwrap().raw().len(), most + 1);
    assert_eq!(records.buffer.capacity(), most + READ_BLOCK + WIDTH);
}

fn encoded(dialect: &Dialect, text: &str) -> Vec<u8> {
    match dialect.encoding {
        wide if wide == UTF_16LE => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        wide if wide == UTF_16BE => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        encoding => {
            let (bytes, _, unmappable) = encoding.encode(text);
            assert!(!unmappable);
            bytes.into_owned()
        }
    }
}

#[test]
fn other_encodings_are_decoded_and_their_bytes_kept() {
    for (encoding, word) in [
        (WINDOWS_1252, "Señor €"),
        (UTF_16LE, "Ā\u{0a0d}\u{0d0a}😀"),
        (UTF_16BE, "Ā\u{0a0d}\u{0d0a}😀"),
        // The second bytes of these two characters are those of a backslash and of a vertical bar.
        (SHIFT_JIS, "表芋"),
        (BIG5, "功"),
        (GB18030, "中€\u{20087}"),
        (EUC_JP, "日本"),
    ] {
        let dialect = Dialect { encoding, delimiter: b'|', escape: b'\\', ..Dialect::default() };
        let lines = format!("{word}|\"{word}\r\n{word}\"\r\n|\"\"\r\n\"{word}\\\"\"|x");
        let value = format!("{word}\r\n{word}");
        let expected = [
            row(1, &[Some(word), Some(&value)]),
            row(3, &[None, Some("")]),
            row(4, &[Some(&format!("{word}\"")), Some("x")]),
        ];
        assert_eq!(rows_of(&encoded(&dialect, &lines), &dialect), expected, "{}", encoding.name());
    }
}

#[test]
fn characters_with_several_codes_keep_their_bytes() {
    // All three are codes of ￢ in Shift_JIS; an encoder writes only one of them.
    let bytes = b"\x81\xca,\xee\xf9\n\xfa\x54,x\n";
    let dialect = Dialect { encoding: SHIFT_JIS, ..Dialect::default() };
    assert_eq!(rows_of(bytes, &dialect)[0], row(1, &[Some("￢"), Some("￢")]));
}

/// A mark behind skipped lines is passed over without being searched, here where the first read ends.
#[test]
fn a_mark_may_end_what_was_read() {
    let input = [&[b'x'; 63][..], b"\n\xef\xbb\xbf", b"id,name\n1,a\n"].concat();
    let dialect = Dialect { skip_lines: 1, ..Dialect::default() };
    for end in [67, input.len()] {
        let (first, rest) = input[..end].split_at(67);
        let mut records = Records::new(first.chain(rest), "x.csv", dialect.clone(), DEFAULT_MAX_RECORD_BYTES);
        let mut lines = Vec::new();
        while let Some(record) = records.next().unwrap() {
            lines.push(record.line);
        }
        assert_eq!(lines, if end == 67 { vec![] } else { vec![2, 3] }, "{end}");
    }
}

#[test]
fn a_byte_order_mark_determines_the_byte_order() {
    let dialect = Dialect { encoding: UTF_16LE, ..Dialect::default() };
    let expected = [row(1, &[Some("é"), None]), row(2, &[Some("b"), None])];
    assert_eq!(rows_of(b"\xff\xfe\xe9\0,\0\n\0b\0,\0", &dialect), expected);
    assert_eq!(rows_of(b"\xfe\xff\0\xe9\0,\0\n\0b\0,", &dialect), expected);
    assert_eq!(rows_of(b"\xff\xfe", &dialect), []);
    assert_eq!(rows_of(b"", &dialect), []);
    assert_eq!(
        refusal(b"\xff\xfea\0", &Dialect::default()),
        "x.csv begins with the byte order mark of UTF-16LE"
    );
    assert_eq!(
        refusal(b"\xef\xbb\xbfa", &Dialect { encoding: WINDOWS_1252, ..Dialect::default() }),
        "failed to read x.csv: it begins with the byte order mark of UTF-8, but the encoding is set to windows-1252"
    );
}

#[test]
fn malformed_bytes_affect_only_their_own_value() {
    for (encoding, bytes, values) in [
        (WINDOWS_1253, &b"a\nb,\"\n\xe1\xaac\"\nd\n"[..], &[&b"a"[..], b"b", b"\n\xce\xb1\xffc", b"d"][..]),
        (SHIFT_JIS, b"a\nbc\x81", &[b"a", b"bc\xff"]),
        (SHIFT_JIS, b"\x81\x20\nb", &[b"\xff ", b"b"]),
        (UTF_16LE, b"a\0\n\0\0", &[b"a", b"\xff"]),
        (UTF_16LE, b"\x00\xd8\n\0b\0", &[b"\xff", b"b"]),
    ] {
        let dialect = Dialect { encoding, ..Dialect::default() };
        let mut records = Records::new(bytes, "x.csv", dialect, DEFAULT_MAX_RECORD_BYTES);
        let (mut found, mut raw, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(record) = records.next().unwrap() {
            raw.extend_from_slice(record.raw());
            for index in 0..record.len() {
                found.push(record.value(index, &mut scratch).to_vec());
            }
        }
        assert_eq!(found, values, "{}", encoding.name());
        assert_eq!(raw, bytes, "{}", encoding.name());
    }
}

#[test]
fn no_input_panics() {
    // Every text of up to 5 special and ordinary bytes, in the dialects that differ most.
    let alphabet = *b",\"\\\n\r#x";
    let dialects = [
        Dialect { comment: Some(b'#'), ..Dialect::default() },
        Dialect { escape: b'\\', nulls: vec![(*b"x").into()], ..Dialect::default() },
        Dialect { escape: b',', encoding: SHIFT_JIS, ..Dialect::default() },
    ];
    for length in 0..=5_u32 {
        for number in 0..alphabet.len().pow(length) {
            let digits = (0..length).map(|digit| number / alphabet.len().pow(digit) % alphabet.len());
            let text: Vec<u8> = digits.map(|digit| alphabet[digit]).collect();
            for dialect in &dialects {
                let message = |result: Result<Rows>| result.map_err(|error| error.to_string());
                let whole = message(read(&text, &text[..], dialect));
                assert_eq!(whole, message(read(&text, Trickle(&text), dialect)), "{text:?}");
            }
        }
    }
}

/// Each record with its position, and the error after them; `None` if there is none.
type Found = (Vec<(u64, u64, Vec<u8>, usize)>, Option<String>);

/// Read the records of `records` to their end or to the first error.
fn read_on(records: &mut Records<ByteSource>, (found, error): &mut Found) {
    loop {
        match records.next() {
            Ok(Some(record)) => found.push((record.line, record.offset, record.raw().to_vec(), record.len())),
            Ok(None) => return,
            Err(failure) => {
                // Whether a quote is open may not be known while a record is read in parts.
                let failure = failure.to_string().replace("; a quote in it is still open", "");
                return *error = Some(failure);
            }
        }
    }
}

/// Read `text`, whose first record is a header if it `has_header`: whole, and in the pieces that can be cut off.
fn whole_and_in_pieces(text: &[u8], has_header: bool, dialect: &Dialect) -> ([Found; 2], usize) {
    const MAX: usize = 3000;
    let open = || {
        let source: ByteSource = Box::new(io::Cursor::new(text.to_vec()));
        let mut records = Records::new(source, "x.csv", dialect.clone(), MAX);
        let header = if has_header { records.header().map(drop) } else { Ok(()) };
        (records, (Vec::new(), header.err().map(|error| error.to_string())))
    };
    let (mut records, mut whole) = open();
    if whole.1.is_none() {
        read_on(&mut records, &mut whole);
    }
    let ((mut records, mut pieces), mut count) = (open(), 0);
    while pieces.1.is_none() {
        match records.next_piece() {
            Ok(Some(piece)) => {
                let mut part = records.of_piece(piece);
                let start = part.position();
                read_on(&mut part, &mut (Vec::new(), None));
                part.rewind(start);
                read_on(&mut part, &mut pieces);
                count += 1;
            }
            Ok(None) => {
                read_on(&mut records, &mut pieces);
                break;
            }
            Err(error) => pieces.1 = Some(error.to_string()),
        }
    }
    ([whole, pieces], count)
}

#[test]
fn a_long_file_is_cut_into_pieces() {
    let row = "1,\"two\nlines\",\"a \"\" quote\"\n";
    let text = row.repeat(1000);
    let ([whole, pieces], count) = whole_and_in_pieces(text.as_bytes(), false, &Dialect::default());
    assert!(whole == pieces && whole.0.len() == 1000 && count > 10, "{count}");
    // A record of CR has no line feed where a piece could end.
    let ([whole, pieces], count) =
        whole_and_in_pieces("a,b\r".repeat(3000).as_bytes(), true, &Dialect::default());
    assert!(whole == pieces && whole.0.len() == 2999 && count == 0, "{count}");
}

proptest! {
    #[test]
    fn pieces_have_the_records_of_the_whole(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "a", ",", "\"", "\n", "a,b\n", "1,\"x\ny\"\n", "\"\"", "\r\n", "\r", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n",
            ]),
            0..1500,
        ),
        (ending, has_header, has_quote, has_mark) in
            (prop::sample::select(vec!["\n", "\r\n", "\r"]), any::<bool>(), any::<bool>(), any::<bool>()),
    ) {
        let mark = if has_mark { "\u{feff}" } else { "" };
        // Mixed line endings are an error at once: a file has those of one kind, and few of another.
        let other = |part: &&str| !part.contains('\r') || part.len() == parts.len() % 7;
        let text: String = parts.iter().filter(|part| other(part)).map(|part| part.replace('\n', ending)).collect();
        let dialect = if has_quote { Dialect::default() } else { Dialect { quote: None, ..Dialect::default() } };
        let ([whole, pieces], _) = whole_and_in_pieces((mark.to_owned() + &text).as_bytes(), has_header, &dialect);
        prop_assert_eq!(whole, pieces);
    }
}

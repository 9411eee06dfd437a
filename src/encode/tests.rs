use proptest::prelude::*;

use super::*;

#[expect(clippy::needless_pass_by_value, reason = "shorter to call")]
fn encode(encoder: Encoder, field: &str) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    encoder.encode(field.as_bytes(), &mut out)?;
    Ok(out)
}

#[test]
fn integers_have_the_servers_limits() {
    assert_eq!(encode(Encoder::Int2, "-32768").unwrap(), [0x80, 0]);
    assert_eq!(encode(Encoder::Int2, " +32767\t").unwrap(), [0x7f, 0xff]);
    assert_eq!(encode(Encoder::Int4, "-2147483648").unwrap(), [0x80, 0, 0, 0]);
    assert_eq!(encode(Encoder::Int8, "-9223372036854775808").unwrap(), i64::MIN.to_be_bytes());
    assert_eq!(encode(Encoder::Int8, "000000000000000000000042").unwrap(), 42_i64.to_be_bytes());
    for (encoder, field) in [
        (Encoder::Int2, "32768"),
        (Encoder::Int2, "-32769"),
        (Encoder::Int4, "2147483648"),
        (Encoder::Int8, "9223372036854775808"),
        (Encoder::Int8, "-9223372036854775809"),
        (Encoder::Int4, ""),
        (Encoder::Int4, "-"),
        (Encoder::Int4, "1 2"),
        (Encoder::Int4, "1.0"),
        (Encoder::Int4, "+-1"),
        (Encoder::Int4, "٣"),
    ] {
        assert!(encode(encoder, field).is_err(), "{field}");
    }
}

#[test]
fn false_is_false() {
    for spelling in ["false", "FALSE", "f", "no", "n", "off", "of", "0", " fa "] {
        assert_eq!(encode(Encoder::Bool, spelling).unwrap(), [0], "{spelling}");
    }
    for spelling in ["true", "tRue", "t", "yes", "y", "on", "1", "\ty\n"] {
        assert_eq!(encode(Encoder::Bool, spelling).unwrap(), [1], "{spelling}");
    }
    for spelling in ["o", "", "2", "truer", "00", "wahr"] {
        assert!(encode(Encoder::Bool, spelling).is_err(), "{spelling}");
    }
}

#[test]
fn text_is_utf8_without_zero_bytes() {
    assert_eq!(encode(Encoder::Text, "Dar‘ā").unwrap(), "Dar‘ā".as_bytes());
    let refused = Encoder::Text.encode(b"S\xe3o", &mut Vec::new()).unwrap_err();
    assert_eq!(refused.to_string(), "not UTF-8: byte 0xe3 at position 2 of the value");
    assert!(Encoder::Text.encode(b"a\0b", &mut Vec::new()).is_err());
}

/// The encoder of a built-in type on PostgreSQL 18.
fn base(oid: u32) -> Encoder {
    Encoder::new(&Type { oid, kind: TypeKind::Base }, &SessionParams::default()).unwrap()
}

fn array_of(oid: u32) -> Encoder {
    let element = Box::new(Type { oid, kind: TypeKind::Base });
    Encoder::new(
        &Type { oid: 1, kind: TypeKind::Array { element, delimiter: b',' } },
        &SessionParams::default(),
    )
    .unwrap()
}

#[test]
fn numerics_are_written_in_base_10000() {
    let words = |field| -> Vec<u16> {
        let bytes = encode(base(1700), field).unwrap();
        bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
    };
    assert_eq!(words("12345.6789"), [3, 1, 0, 4, 1, 2345, 6789]);
    assert_eq!(words("-0.00012"), [2, 0xffff, 0x4000, 5, 1, 2000]);
    assert_eq!(words("1.50e1"), [1, 0, 0, 1, 15]);
    assert_eq!(words("1e4"), [1, 1, 0, 0, 1]);
    assert_eq!(words("-0.00"), [0, 0, 0, 2]);
    assert_eq!(words("nan"), [0, 0, 0xc000, 0]);
    assert_eq!(words("-Infinity"), [0, 0, 0xf000, 0]);
    let before_14 = SessionParams { version_num: 130_000, ..SessionParams::default() };
    let old = Encoder::new(&Type { oid: 1700, kind: TypeKind::Base }, &before_14).unwrap();
    assert!(matches!(encode(old, "inf"), Err(Refusal::Invalid(_))));
}

#[test]
fn floats_are_refused_where_c_reports_a_range_error() {
    for (oid, field) in [(701, "1e400"), (701, "-1e-400"), (701, "2e-324"), (700, "1e39"), (700, "1e-46")] {
        assert!(matches!(encode(base(oid), field), Err(Refusal::Invalid(_))), "{field}");
    }
    assert_eq!(encode(base(701), "0e-400").unwrap(), [0; 8]);
    assert_eq!(encode(base(701), "4.9e-324").unwrap(), [0, 0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn notations_that_depend_on_the_version_are_left_to_the_server() {
    for (oid, field) in [
        (23, "0x1f"),
        (20, "1_000"),
        (1700, "1_0.5"),
        (1700, "1e 5"),
        (1700, "1e200000"),
        (701, "0x1p3"),
        (869, "10.1/16"),
        (829, "8:0:2b:1:2:3"),
        (3802, "1e99999"),
    ] {
        assert_eq!(encode(base(oid), field), Err(Refusal::NeedsServer), "{field}");
    }
    for field in ["{{},{}}", "{{1},{2,3}}", "{{1},2}", "{{{2}},{3},{{NULL}}}"] {
        assert_eq!(encode(array_of(23), field), Err(Refusal::NeedsServer), "{field}");
    }
}

#[test]
fn arrays_have_bounds_nulls_and_dimensions() {
    let ints = |field| encode(array_of(23), field).unwrap();
    let header = |parts: &[i32]| parts.iter().flat_map(|part| part.to_be_bytes()).collect::<Vec<u8>>();
    assert_eq!(ints("{}"), header(&[0, 0, 23]));
    assert_eq!(ints(" { 7 , NULL } "), header(&[1, 1, 23, 2, 1, 4, 7, -1]));
    assert_eq!(ints("[2:3]={7,8}"), header(&[1, 0, 23, 2, 2, 4, 7, 4, 8]));
    assert_eq!(ints("{{7},{8}}"), header(&[2, 0, 23, 2, 1, 1, 1, 4, 7, 4, 8]));
    let quoted = encode(array_of(25), r#"{"null",a\ }"#).unwrap();
    assert_eq!(quoted[20..], *b"\0\0\0\x04null\0\0\0\x02a ");
    for field in ["", "1,2", "{1", "{1,}", "{,1}", "{1}x", "{1,{2}}", "[1:3]={1,2}"] {
        assert!(matches!(encode(array_of(23), field), Err(Refusal::Invalid(_))), "{field}");
    }
    let refused = encode(array_of(21), "{1,two}").unwrap_err();
    assert_eq!(refused.to_string(), "element 2: expected a whole number from -32768 to 32767");
}

proptest! {
    #[test]
    fn no_bytes_panic_an_encoder(field in any::<Vec<u8>>(), literal in r#"[\[\]{}:=,"\\0-9eE.xnul+-]{0,24}"#) {
        for field in [&field, literal.as_bytes()] {
            for oid in [16, 17, 19, 20, 21, 23, 25, 114, 650, 700, 701, 774, 829, 869, 1700, 2950, 3802] {
                for encoder in [base(oid), array_of(oid)] {
                    let mut out = b"x".to_vec();
                    let encoded = encoder.encode(field, &mut out);
                    prop_assert!(encoded.is_ok() || out == b"x");
                }
            }
        }
    }
}

use super::*;

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

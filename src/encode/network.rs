//! Network addresses: `network.c`, `inet_net_pton.c`, `mac.c` and `mac8.c` of the server's
//! `src/backend/utils/adt`.

use std::net::Ipv6Addr;

use crate::encode::text::hex_pair;
use crate::encode::{Refusal, invalid};

/// The address families in the wire format: `PGSQL_AF_INET` and `PGSQL_AF_INET6` in the server's source.
const IPV4: u8 = 2;
const IPV6: u8 = 3;

/// `inet`: a host address, optionally with the prefix length of its network.
pub(super) fn inet(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    address(field, false, out)
}

/// `cidr`: a network address, optionally with its prefix length.
pub(super) fn cidr(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    address(field, true, out)
}

/// A complete address. Historical abbreviations such as `10.1/16` are left to the server.
fn address(field: &[u8], is_cidr: bool, out: &mut Vec<u8>) -> Result<(), Refusal> {
    if !field.iter().all(|byte| byte.is_ascii_hexdigit() || b".:/xX".contains(byte)) {
        return Err(invalid(field, "expected an IP address"));
    }
    let (host, prefix) = match field.iter().position(|&byte| byte == b'/') {
        Some(at) => (&field[..at], Some(&field[at + 1..])),
        None => (field, None),
    };
    let (family, bytes) = if host.contains(&b':') {
        let text = std::str::from_utf8(host).map_err(|_| Refusal::NeedsServer)?;
        (IPV6, &text.parse::<Ipv6Addr>().map_err(|_| Refusal::NeedsServer)?.octets()[..])
    } else {
        (IPV4, &ipv4(host)?[..])
    };
    let bits = bytes.len() as u32 * 8;
    let length = match prefix {
        None => bits,
        Some(digits) => match decimal(digits).ok_or(Refusal::NeedsServer)? {
            _ if family == IPV6 && digits.len() > 1 && digits[0] == b'0' => return Err(Refusal::NeedsServer),
            length if length > bits => {
                return Err(Refusal::Invalid(format!("the prefix length is at most {bits}")));
            }
            length => length,
        },
    };
    if is_cidr {
        let value = bytes.iter().fold(0_u128, |value, byte| value << 8 | u128::from(*byte));
        if value.trailing_zeros() < bits - length && value != 0 {
            return Err(Refusal::Invalid(
                "a network address has no bits set to the right of its prefix".into(),
            ));
        }
    }
    out.extend_from_slice(&[family, length as u8, is_cidr.into(), bytes.len() as u8]);
    out.extend_from_slice(bytes);
    Ok(())
}

/// Parse an IPv4 address of four decimal numbers.
fn ipv4(host: &[u8]) -> Result<[u8; 4], Refusal> {
    let mut bytes = [0; 4];
    let mut numbers = host.split(|&byte| byte == b'.');
    for byte in &mut bytes {
        let number = numbers.next().and_then(decimal).ok_or(Refusal::NeedsServer)?;
        *byte = u8::try_from(number)
            .map_err(|_| Refusal::Invalid("each number of an IPv4 address is at most 255".into()))?;
    }
    if numbers.next().is_some() { Err(Refusal::NeedsServer) } else { Ok(bytes) }
}

/// The value of a decimal number, saturating on overflow; `None` unless all bytes are digits.
fn decimal(digits: &[u8]) -> Option<u32> {
    let value = |value: u32, digit: &u8| value.saturating_mul(10).saturating_add((digit - b'0').into());
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    all_digits.then(|| digits.iter().fold(0, value))
}

/// `macaddr`, in the formats that the manual shows.
pub(super) fn macaddr(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let first = field.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(field.len());
    let regular = match (field.get(first), first) {
        (None, 12) => true,
        (Some(&separator @ (b':' | b'-')), 2 | 6) | (Some(&separator @ (b'.' | b'-')), 4) => {
            field.split(|&byte| byte == separator).all(|group| group.len() == first)
        }
        _ => false,
    };
    match mac_bytes(field) {
        Some((bytes, 6)) if regular => out.extend_from_slice(&bytes[..6]),
        // The server uses `sscanf`, which accepts many other formats.
        _ => return Err(Refusal::NeedsServer),
    }
    Ok(())
}

/// `macaddr8`: eight pairs of digits, with the same separator after any of them; six pairs are expanded to eight.
pub(super) fn macaddr8(field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    match mac_bytes(field) {
        Some((bytes, 8)) => out.extend_from_slice(&bytes),
        Some((bytes, 6)) => {
            out.extend_from_slice(&bytes[..3]);
            out.extend_from_slice(&[0xff, 0xfe]);
            out.extend_from_slice(&bytes[3..6]);
        }
        // The server ignores some trailing characters.
        _ => return Err(Refusal::NeedsServer),
    }
    Ok(())
}

/// Parse up to eight pairs of hexadecimal digits, with the same separator between any two. Return the bytes and their
/// number.
fn mac_bytes(field: &[u8]) -> Option<([u8; 8], usize)> {
    let (mut bytes, mut count) = ([0; 8], 0);
    let mut separator = None;
    let mut rest = field;
    while let [high, low, after @ ..] = rest {
        *bytes.get_mut(count)? = hex_pair(*high, *low)?;
        count += 1;
        rest = match after {
            [byte @ (b':' | b'-' | b'.'), after @ ..] if *separator.get_or_insert(*byte) == *byte => {
                if after.is_empty() {
                    return None;
                }
                after
            }
            _ => after,
        };
    }
    rest.is_empty().then_some((bytes, count))
}

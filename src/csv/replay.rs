//! Reads again what was read to look at it.

use std::io::{self, Cursor, Read};

use crate::csv::decompress::ByteSource;

/// Reads `head`, which was read from `rest`, and then `rest`. Unlike [`Read::chain`], it frees the head as soon as that is
/// read.
pub(super) struct Replay {
    head: Cursor<Vec<u8>>,
    rest: ByteSource,
}

impl Replay {
    pub(super) fn new(head: Vec<u8>, rest: ByteSource) -> Replay {
        Replay { head: Cursor::new(head), rest }
    }
}

impl Read for Replay {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.head.get_ref().is_empty() {
            return self.rest.read(buffer);
        }
        let count = self.head.read(buffer)?;
        if self.head.position() == self.head.get_ref().len() as u64 {
            self.head = Cursor::default();
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_read_once_and_freed() {
        for (head, rest) in [("", ""), ("", "cd"), ("ab", ""), ("abc", "de")] {
            for size in 1..4 {
                let mut replay = Replay::new(head.into(), Box::new(rest.as_bytes()));
                let (mut text, mut buffer) = (Vec::new(), vec![0; size]);
                loop {
                    let count = replay.read(&mut buffer).unwrap();
                    if count == 0 {
                        break;
                    }
                    text.extend_from_slice(&buffer[..count]);
                    assert!(text.len() < head.len() || replay.head.get_ref().capacity() == 0);
                }
                assert_eq!(text, [head, rest].concat().as_bytes(), "{head:?} {rest:?} {size}");
            }
        }
    }
}

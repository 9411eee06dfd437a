//! Text that users or their files supply, made safe to print.

use std::borrow::Cow;
use std::path::Path;

/// `text` with characters that a terminal would obey written as escapes, such as `\\n` and `\\u{1b}`: control
/// characters, and those that change the direction of writing.
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_but(text, |_| false)
}

/// As [`escape`], but with line feeds and tabs, for text of several lines.
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    escape_but(text, |c| matches!(c, '\n' | '\t'))
}

/// As [`escape`], of a path.
pub fn escape_path(path: &Path) -> String {
    escape(&path.to_string_lossy()).into_owned()
}

fn escape_but(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_escaped = |c: char| is_obeyed(c) && !is_kept(c);
    if !text.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_escaped(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Whether a terminal acts on `c` instead of showing it.
fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_nothing_else() {
        assert_eq!(escape("São Paulo, 東京.csv"), "São Paulo, 東京.csv");
        assert_eq!(escape("a\n\x1b[2J\u{202e}b"), r"a\n\u{1b}[2J\u{202e}b");
        assert_eq!(escape_lines("a\n\tb\r\x07"), "a\n\tb\\r\\u{7}");
        assert_eq!(escape_path(Path::new("a\tb")), r"a\tb");
    }
}

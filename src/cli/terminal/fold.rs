//! Folding text to the width of a terminal.

/// `text` with its lines broken at spaces where they are longer than `width` characters; what continues a line is
/// indented by as many characters as `indent` returns for it. A longer word stays in one piece.
pub(crate) fn fold(text: &str, width: usize, indent: impl Fn(&str) -> usize) -> String {
    let mut folded = String::with_capacity(text.len() + 64);
    for (index, line) in text.lines().enumerate() {
        if index > 0 {
            folded.push('\n');
        }
        if is_quoted(line) {
            folded.push_str(line);
        } else {
            // On a narrow terminal there has to be room for some text.
            fold_line(&mut folded, line, width, indent(line).min(width / 2));
        }
    }
    folded
}

/// Whether `line` is one of a quoted statement, or has the caret that points at a place in it.
fn is_quoted(line: &str) -> bool {
    let number = |c: char| c == ' ' || c.is_ascii_digit();
    line.trim_start_matches(number).starts_with('|')
}

fn fold_line(folded: &mut String, line: &str, width: usize, indent: usize) {
    let byte_at = |text: &str, index: usize| text.char_indices().nth(index).map_or(text.len(), |(at, _)| at);
    let (mut rest, mut room) = (line, width);
    // Neither the indentation of the line is a place to break it, nor the gap between a name and its value.
    let mut from = (line.len() - line.trim_start().len()).max(byte_at(line, indent));
    loop {
        let end = byte_at(rest, room);
        if end == rest.len() {
            break;
        }
        let fitting = &rest[from.min(end)..end];
        let at = if rest[end..].starts_with(' ') && end >= from {
            Some(end)
        } else if let Some(at) = fitting.rfind(' ') {
            Some(from.min(end) + at)
        } else {
            rest[end.max(from)..].find(' ').map(|at| end.max(from) + at)
        };
        let Some(at) = at else { break };
        folded.push_str(rest[..at].trim_end());
        rest = rest[at..].trim_start();
        if rest.is_empty() {
            return;
        }
        folded.push('\n');
        folded.extend(std::iter::repeat_n(' ', indent));
        (room, from) = (width - indent, 0);
    }
    folded.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_spaces_and_indented() {
        let text = "loaded\n  mode    copy, one transaction, 1 connection\n  file    a-name-without-any-space.csv, 2 kB";
        let expected = "loaded\n  mode    copy, one\n          transaction,\n          1 connection\n  \
                        file    a-name-without-any-space.csv,\n          2 kB";
        assert_eq!(fold(text, 22, |_| 10), expected);
        assert_eq!(fold(text, 200, |_| 10), text);
    }

    #[test]
    fn a_quoted_statement_is_kept() {
        let text = "error: it is wrong\n  |\n1 | SELECT nothing FROM nowhere\n  |        ^";
        assert_eq!(fold(text, 12, |_| 4), text.replace("is wrong", "is\n    wrong"));
    }

    #[test]
    fn a_narrow_terminal_and_wide_characters_do_no_harm() {
        assert_eq!(fold("äöü äöü", 1, |_| 10), "äöü\näöü");
        assert_eq!(fold("    äöü", 2, |_| 10), "    äöü");
        assert_eq!(fold("", 2, |_| 10), "");
        assert_eq!(fold("a  ", 2, |_| 0), "a");
    }
}

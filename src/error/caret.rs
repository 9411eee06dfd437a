//! The line of a statement that a server's error is about, with a caret under the place, as `rustc` shows it.

/// The line that character `position` of `sql`, from 1, stands on, and a caret under it.
///
/// Both lines begin with a gutter that holds the line's number; the text before them has to end its own line.
/// Every character is taken to be one column wide, but for tabs, which stand under tabs.
pub(super) fn point_at(sql: &str, position: u32) -> String {
    let index = (position as usize).saturating_sub(1);
    let at = sql.char_indices().nth(index).map_or(sql.len(), |(at, _)| at);
    // The end of the input is behind its last word, not on the empty line that may follow.
    let before = &sql[..at.min(sql.trim_end().len())];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = sql[start..].lines().next().unwrap_or_default();
    let number = (before.matches('\n').count() + 1).to_string();
    let gutter = " ".repeat(number.len());
    let padding: String = before[start..].chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    format!("{gutter} |\n{number} | {line}\n{gutter} | {padding}^")
}

#[cfg(test)]
mod tests {
    use crate::error::caret::point_at;

    #[test]
    fn the_caret_stands_under_the_character() {
        assert_eq!(point_at("SELECT idd", 8), "  |\n1 | SELECT idd\n  |        ^");
        // Characters are counted, not bytes.
        assert_eq!(point_at("SELECT 'São', idd", 15), "  |\n1 | SELECT 'São', idd\n  |               ^");
    }

    #[test]
    fn only_the_line_in_question_is_shown() {
        let sql = "SELECT name\n\tFROM\tperson\r\nWHERE id = $1";
        assert_eq!(point_at(sql, 19), "  |\n2 | \tFROM\tperson\n  | \t    \t^");
        let sql = format!("{}SELEC", "\n".repeat(9));
        assert_eq!(point_at(&sql, 10), "   |\n10 | SELEC\n   | ^");
    }

    #[test]
    fn the_end_of_the_input_is_behind_its_last_word() {
        assert_eq!(point_at("SELECT (1", 10), "  |\n1 | SELECT (1\n  |          ^");
        assert_eq!(point_at("SELECT (1\n\n", 12), "  |\n1 | SELECT (1\n  |          ^");
        assert_eq!(point_at("", 1), "  |\n1 | \n  | ^");
    }
}

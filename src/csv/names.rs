//! The styles in which names in headers become names of columns.

use serde::Deserialize;

use crate::sql::is_plain;

/// How the names of fields become names of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameStyle {
    /// As they are; in lower case where SQL reads them without quotes.
    #[default]
    AsIs,
    /// In lower case, with `_` between words: `orderID` and `Order ID` are `order_id`.
    #[serde(rename = "snake_case")]
    SnakeCase,
}

impl NameStyle {
    /// `name` in this style, without the white space around it, and in lower case if SQL then reads it without quotes.
    pub(crate) fn apply(self, name: &str) -> String {
        match self {
            NameStyle::AsIs => folded(name.trim()),
            NameStyle::SnakeCase => snake_case(name),
        }
    }

    /// What names have in common that are taken for the same.
    pub(super) fn key(self, name: &str) -> String {
        match self {
            NameStyle::AsIs => name.trim().to_ascii_lowercase(),
            NameStyle::SnakeCase => snake_case(name),
        }
    }
}

/// `name` in lower case, with `_` for everything but letters and digits, and between words.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut before = '_';
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let begins_word = letter.is_uppercase()
            && (before.is_lowercase()
                || before.is_numeric()
                || (before.is_uppercase() && letters.peek().is_some_and(|next| next.is_lowercase())));
        if letter.is_alphanumeric() {
            if begins_word && !snake.ends_with('_') {
                snake.push('_');
            }
            snake.extend(letter.to_lowercase());
        } else if !snake.is_empty() && !snake.ends_with('_') {
            snake.push('_');
        }
        before = letter;
    }
    let snake = snake.trim_end_matches('_');
    // SQL reads a name that begins with a digit only in quotes.
    if snake.starts_with(char::is_numeric) { format!("_{snake}") } else { snake.to_owned() }
}

/// `name` in lower case if SQL then reads it without quotes, otherwise as it is.
fn folded(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    if is_plain(&lower) { lower } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_snake_case() {
        for (name, expected) in [
            ("Full Name", "full_name"),
            ("orderID", "order_id"),
            ("HTTPServer 2", "http_server_2"),
            (" amount (EUR) ", "amount_eur"),
            ("2021", "_2021"),
            ("Größe", "größe"),
            ("a__b", "a_b"),
            ("?", ""),
        ] {
            assert_eq!(NameStyle::SnakeCase.apply(name), expected, "{name}");
        }
        assert_eq!(NameStyle::AsIs.apply(" Full Name "), "Full Name");
    }
}

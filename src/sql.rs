//! SQL identifiers.

/// Parse an identifier as SQL does: a quoted one keeps its capitals, any other is folded to lower case, and a long one is
/// truncated. `None` if it is not a valid identifier.
pub fn fold(identifier: &str) -> Option<String> {
    let identifier = identifier.trim();
    let folded = match identifier.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?.replace("\"\"", "\""),
        None if identifier.contains('"') => return None,
        None => identifier.to_ascii_lowercase(),
    };
    (!folded.is_empty() && !folded.contains('\0')).then(|| truncate(&folded).to_owned())
}

/// The number of bytes of an identifier that PostgreSQL keeps: `NAMEDATALEN - 1`.
pub const LONGEST_IDENTIFIER: usize = 63;

/// The part of `identifier` that PostgreSQL keeps, with a notice if there was more: whole characters in up to 63 bytes of a
/// UTF-8 database.
pub fn truncate(identifier: &str) -> &str {
    let mut end = identifier.len().min(LONGEST_IDENTIFIER);
    while !identifier.is_char_boundary(end) {
        end -= 1;
    }
    &identifier[..end]
}

/// Quote `identifier`, so that it is safe in any statement.
pub fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// Quote `identifiers` and separate them with commas.
pub fn quote_list<'a>(identifiers: impl IntoIterator<Item = &'a str>) -> String {
    identifiers.into_iter().map(quote).collect::<Vec<_>>().join(", ")
}

/// Whether `identifier` needs no quotes in SQL, unless it is a reserved word.
pub fn is_plain(identifier: &str) -> bool {
    identifier.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && identifier.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// `text` as a string literal; the `E` before one with a backslash makes it independent of
/// `standard_conforming_strings`.
pub fn literal(text: &str) -> String {
    let escape = if text.contains('\\') { "E" } else { "" };
    format!("{escape}'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_escape_quotes_and_backslashes() {
        assert_eq!(literal(r"it's \n"), r"E'it''s \\n'");
        assert_eq!(literal("it's"), "'it''s'");
    }
}

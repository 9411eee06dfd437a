//! Identifiers and literals, as SQL reads and writes them.

/// Read one identifier as SQL does: quoted, its capitals stay; otherwise it is folded to lower case.
pub fn fold(identifier: &str) -> Option<String> {
    let identifier = identifier.trim();
    let folded = match identifier.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?.replace("\"\"", "\""),
        None if identifier.contains('"') => return None,
        None => identifier.to_ascii_lowercase(),
    };
    (!folded.is_empty() && !folded.contains('\0')).then_some(folded)
}

/// `identifier` between double quotes, safe in any statement.
pub fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// `identifiers` quoted and separated by commas.
pub fn quote_list<'a>(identifiers: impl IntoIterator<Item = &'a str>) -> String {
    identifiers.into_iter().map(quote).collect::<Vec<_>>().join(", ")
}

/// Whether SQL reads `identifier` back as itself without quotes (but for its reserved words).
pub fn is_plain(identifier: &str) -> bool {
    identifier.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && identifier.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

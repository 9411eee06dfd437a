//! Statements with the arguments written into them, for the simple query protocol.

use postgres_types::Type;

use crate::query::workload::literal::literal;
use crate::query::workload::values::Argument;

/// A statement, split at its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    /// The text before each parameter, and the parameter's number from 0.
    pieces: Vec<(String, usize)>,
    /// The text after the last parameter.
    rest: String,
}

impl Template {
    /// Split `sql` at its parameters `$1`, `$2` …; strings, names and comments contain none.
    pub(crate) fn new(sql: &str) -> Template {
        let bytes = sql.as_bytes();
        let (mut pieces, mut start, mut at) = (Vec::new(), 0, 0);
        while at < bytes.len() {
            let rest = &sql[at..];
            at += match bytes[at] {
                b'$' if is_in_name(bytes, at) => 1,
                b'$' => match parameter(rest) {
                    Some((number, length)) => {
                        pieces.push((sql[start..at].to_owned(), number));
                        start = at + length;
                        length
                    }
                    None => dollar_quoted(rest),
                },
                b'\'' => quoted(rest, is_escaped(bytes, at)),
                b'"' => quoted(rest, false),
                b'-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
                b'/' if rest.starts_with("/*") => comment(rest),
                _ => 1,
            };
            while !sql.is_char_boundary(at) {
                at += 1;
            }
        }
        Template { pieces, rest: sql[start..].to_owned() }
    }

    /// The statement with `arguments` of these `types`.
    pub(crate) fn with<'a>(&self, arguments: impl Iterator<Item = Argument<'a>>, types: &[Type]) -> String {
        let literals: Vec<String> =
            arguments.zip(types).map(|(argument, type_)| literal(argument, type_)).collect();
        let mut sql = String::new();
        for (before, number) in &self.pieces {
            sql.push_str(before);
            sql.push_str(literals.get(*number).map_or("", String::as_str));
        }
        sql + &self.rest
    }
}

/// Whether the byte before `at` belongs to a name, which may contain a dollar sign.
fn is_in_name(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_' || bytes[at - 1] >= 0x80)
}

/// Whether the string that begins at `at` is an E'string', in which backslashes escape.
fn is_escaped(bytes: &[u8], at: usize) -> bool {
    at > 0 && matches!(bytes[at - 1], b'e' | b'E') && !is_in_name(bytes, at - 1)
}

/// The number of a parameter, from 0, and the length of `$n`; `None` if `text` does not begin with one.
fn parameter(text: &str) -> Option<(usize, usize)> {
    let digits = text[1..].bytes().take_while(u8::is_ascii_digit).count();
    let number: usize = text[1..=digits].parse().ok()?;
    Some((number.checked_sub(1)?, digits + 1))
}

/// The length of `$tag$…$tag$`; 1 if `text` does not begin with a dollar quote.
fn dollar_quoted(text: &str) -> usize {
    let Some(end) = text[1..].find('$').map(|end| end + 2) else { return 1 };
    let tag = &text[..end];
    if !tag[1..end - 1].chars().all(|c| c.is_alphanumeric() || c == '_') {
        return 1;
    }
    text[end..].find(tag).map_or(text.len(), |close| end + close + tag.len())
}

/// The length of the quoted string or name that `text` begins with. A doubled quote ends it, and begins the next.
fn quoted(text: &str, backslash_escapes: bool) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if backslash_escapes => at += 2,
            byte if byte == bytes[0] => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The length of a comment; comments nest.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sql: &str, expected: &str) {
        let arguments = [Argument::Number(7), Argument::Text("it's")];
        let found = Template::new(sql).with(arguments.into_iter(), &[Type::INT4, Type::TEXT]);
        let expected = expected
            .replace("<1>", r#"'7'::"pg_catalog"."int4""#)
            .replace("<2>", r#"'it''s'::"pg_catalog"."text""#);
        assert_eq!(found, expected);
    }

    #[test]
    fn parameters_are_replaced() {
        check("SELECT $1, $2, $1+1", "SELECT <1>, <2>, <1>+1");
        check("$1", "<1>");
        check("SELECT 'é' || $2", "SELECT 'é' || <2>");
    }

    #[test]
    fn dollars_in_strings_names_and_comments_are_not_parameters() {
        for sql in [
            "SELECT '$1', 'it''s $1', E'\\'$1'",
            "SELECT \"a$1\", a$1, é$1",
            "SELECT 1 -- $1\n",
            "SELECT /* $1 /* $2 */ $1 */ 1",
            "SELECT $$ $1 $$, $tag$ $1 $$ $tag$",
            "SELECT '$1",
        ] {
            check(sql, sql);
        }
        check("SELECT 'a' -- $1\n, $1", "SELECT 'a' -- $1\n, <1>");
        check("SELECT $$a$$, $2", "SELECT $$a$$, <2>");
        check(r"SELECT '\', $1", r"SELECT '\', <1>");
    }
}

//! Parses SQL types, for a table that is described without a server.

use postgres_types::{Kind as BuiltInKind, Type as BuiltIn};

use crate::encode::{Type, TypeKind};

/// The type of a column, parsed from its definition in `config.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SqlType {
    /// The type.
    pub column_type: Type,
    /// The type as written, without constraints: `varchar(20)`.
    pub type_name: String,
    /// The type without length or precision: `varchar`.
    pub base_name: String,
    /// The OID of the array type over it; 0 if there is none.
    pub array_oid: u32,
    /// Whether the column is `GENERATED ALWAYS AS (…)`.
    pub generated: bool,
}

/// SQL names of types, and the names of the same types in PostgreSQL's catalog.
const SPELLINGS: &[(&str, &str)] = &[
    ("bigint", "int8"),
    ("bigserial", "int8"),
    ("bit varying", "varbit"),
    ("boolean", "bool"),
    ("char", "bpchar"),
    ("char varying", "varchar"),
    ("character", "bpchar"),
    ("character varying", "varchar"),
    ("dec", "numeric"),
    ("decimal", "numeric"),
    ("double precision", "float8"),
    ("float", "float8"),
    ("int", "int4"),
    ("integer", "int4"),
    ("national char", "bpchar"),
    ("national char varying", "varchar"),
    ("national character", "bpchar"),
    ("national character varying", "varchar"),
    ("nchar", "bpchar"),
    ("nchar varying", "varchar"),
    ("real", "float4"),
    ("serial", "int4"),
    ("serial2", "int2"),
    ("serial4", "int4"),
    ("serial8", "int8"),
    ("smallint", "int2"),
    ("smallserial", "int2"),
];

/// The keywords that may follow a type in `CREATE TABLE`.
const CONSTRAINTS: &[&str] = &[
    "check",
    "collate",
    "compression",
    "constraint",
    "default",
    "generated",
    "not",
    "null",
    "primary",
    "references",
    "storage",
    "unique",
];

/// Built-in types have OIDs below this.
const FIRST_OTHER_OID: u32 = 10_000;

/// Parse `text`, a type with optional constraints; `None` unless it is a built-in type.
pub(super) fn parse(text: &str) -> Option<SqlType> {
    let tokens = tokens(text);
    let mut rest = tokens.as_slice();
    if let [schema, dot, name @ ..] = rest
        && (schema.as_str(), dot.as_str()) == ("pg_catalog", ".")
    {
        rest = name;
    }
    let start = rest;
    let mut name = take_name(&mut rest)?;
    let mut base = words(&start[..start.len() - rest.len()]);
    if name == "interval" {
        take_while(&mut rest, |token| {
            matches!(token, "year" | "month" | "day" | "hour" | "minute" | "second" | "to")
        });
    }
    let modifier = take_while(&mut rest, |token| token.starts_with('(')).first();
    if name == "float8" && base == "float" && modifier.is_some_and(|bits| is_single_precision(bits)) {
        name = "float4".into();
    }
    if matches!(name.as_str(), "time" | "timestamp")
        && let [which @ ("with" | "without"), "time", "zone"] = strs(rest)[..rest.len().min(3)]
    {
        if which == "with" {
            name += "tz";
        }
        base = format!("{base} {which} time zone");
        rest = &rest[3..];
    }
    let dimensions = take_while(&mut rest, |token| token.starts_with('[') || token == "array");
    let type_name = words(&start[..start.len() - rest.len()]);
    let is_array = !dimensions.is_empty();
    let constraints = strs(rest);
    if constraints.first().is_some_and(|word| !CONSTRAINTS.contains(word)) {
        return None;
    }
    let found = built_in(&if is_array { format!("_{name}") } else { name.clone() })?;
    let array = (!is_array).then(|| built_in(&format!("_{name}"))).flatten();
    Some(SqlType {
        column_type: describe(&found)?,
        type_name,
        base_name: if is_array { format!("{base}[]") } else { base },
        array_oid: array.map_or(0, |array| array.oid()),
        generated: constraints.windows(4).any(
            |words| matches!(words, ["generated", "always", "as", expression] if expression.starts_with('(')),
        ),
    })
}

/// Take the longest type name from the beginning of `rest`, and return the catalog's name of the type.
fn take_name(rest: &mut &[String]) -> Option<String> {
    for count in (1..=rest.len().min(3)).rev() {
        let spelling = words(&rest[..count]);
        if let Some((_, name)) = SPELLINGS.iter().find(|(known, _)| *known == spelling) {
            *rest = &rest[count..];
            return Some((*name).to_owned());
        }
    }
    let (name, after) = rest.split_first()?;
    *rest = after;
    // A quoted name is a name in the catalog: "char" is not char.
    Some(name.trim_matches('"').to_owned())
}

/// Take tokens from the beginning of `rest` as long as they are `wanted`.
fn take_while<'a>(rest: &mut &'a [String], wanted: impl Fn(&str) -> bool) -> &'a [String] {
    let count = rest.iter().take_while(|token| wanted(token)).count();
    let (taken, after) = rest.split_at(count);
    *rest = after;
    taken
}

fn strs(tokens: &[String]) -> Vec<&str> {
    tokens.iter().map(String::as_str).collect()
}

/// Join `tokens` with a space between words only.
fn words(tokens: &[String]) -> String {
    let mut text = String::new();
    for token in tokens {
        let is_word = !token.starts_with(['(', '[', '.']);
        if is_word && !text.is_empty() && !text.ends_with('.') {
            text.push(' ');
        }
        text += token;
    }
    text
}

/// Whether `float` with the precision `bits`, given in parentheses, is a `real`.
fn is_single_precision(bits: &str) -> bool {
    bits.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().is_ok_and(|bits| bits <= 24)
}

/// Split `text` into words in lower case, quoted names as written, groups in parentheses or brackets, and single
/// characters.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
            '(' => closing(rest, '(', ')'),
            '[' => closing(rest, '[', ']'),
            first if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            first => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(if first == '"' { token.to_owned() } else { token.to_lowercase() });
        rest = after.trim_start();
    }
    tokens
}

/// The length in bytes of the group at the beginning of `text`, from `open` to the matching `close`, or to the end.
fn closing(text: &str, open: char, close: char) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        depth += i32::from(c == open) - i32::from(c == close);
        if depth == 0 {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// The built-in type with this name in the catalog.
fn built_in(name: &str) -> Option<BuiltIn> {
    (1..FIRST_OTHER_OID).filter_map(BuiltIn::from_oid).find(|known| known.name() == name)
}

/// Convert a built-in type for the encoders; `None` for a pseudo-type, which no column can have.
fn describe(built_in: &BuiltIn) -> Option<Type> {
    let kind = match built_in.kind() {
        BuiltInKind::Simple => TypeKind::Base,
        // `int2vector` and `oidvector` have another text format.
        BuiltInKind::Array(element) if built_in.name().starts_with('_') => {
            let delimiter = if *element == BuiltIn::BOX { b';' } else { b',' };
            TypeKind::Array { element: Box::new(describe(element)?), delimiter }
        }
        BuiltInKind::Pseudo => return None,
        _ => TypeKind::Other,
    };
    Some(Type { oid: built_in.oid(), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_types_are_parsed() {
        for (text, oid, type_name) in [
            ("smallint", 21, "smallint"),
            ("INT PRIMARY KEY", 23, "int"),
            ("bigserial", 20, "bigserial"),
            ("int8", 20, "int8"),
            ("pg_catalog.int4 NOT NULL", 23, "int4"),
            ("float", 701, "float"),
            ("float(24)", 700, "float(24)"),
            ("double  precision", 701, "double precision"),
            ("numeric(10, 2) DEFAULT 0", 1700, "numeric(10, 2)"),
            ("boolean", 16, "boolean"),
            ("varchar(20) COLLATE \"C\"", 1043, "varchar(20)"),
            ("character varying (20)", 1043, "character varying(20)"),
            ("char(3)", 1042, "char(3)"),
            ("\"char\"", 18, "\"char\""),
            ("time", 1083, "time"),
            ("timestamp(3)", 1114, "timestamp(3)"),
            ("timestamp(3) with time zone", 1184, "timestamp(3) with time zone"),
            ("timestamp without time zone CHECK (t > 'x')", 1114, "timestamp without time zone"),
            ("timetz", 1266, "timetz"),
            ("interval day to second(3)", 1186, "interval day to second(3)"),
            ("jsonb", 3802, "jsonb"),
            ("int[][3]", 1007, "int[][3]"),
            ("text ARRAY", 1009, "text array"),
            ("timestamp with time zone[] NOT NULL", 1185, "timestamp with time zone[]"),
            ("int4range", 3904, "int4range"),
        ] {
            let found = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((found.column_type.oid, found.type_name.as_str()), (oid, type_name), "{text}");
        }
        for text in ["", "mood", "public.int4", "integr", "integer mood", "anyelement", "(3)"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn properties_needed_for_encoding_are_parsed() {
        assert_eq!(parse("integer").unwrap().array_oid, 1007);
        assert!(parse("int GENERATED ALWAYS AS (a * 2) STORED").unwrap().generated);
        assert!(!parse("int GENERATED ALWAYS AS IDENTITY").unwrap().generated);
        let TypeKind::Array { element, delimiter } = parse("box[]").unwrap().column_type.kind else {
            panic!()
        };
        assert_eq!((element.oid, delimiter), (603, b';'));
        assert_eq!(parse("int2vector").unwrap().column_type.kind, TypeKind::Other);
        let interval = parse("interval year").unwrap();
        assert_eq!((interval.base_name.as_str(), interval.type_name.as_str()), ("interval", "interval year"));
    }
}

//! Arguments as SQL literals.

use postgres_types::Type;

use crate::query::workload::values::Argument;
use crate::sql::{self, quote};

/// `argument` as a literal of `type_`, for statements that take no parameters.
pub(crate) fn literal(argument: Argument<'_>, type_: &Type) -> String {
    let text = match argument {
        Argument::Null => return format!("NULL::{}.{}", quote(type_.schema()), quote(type_.name())),
        other => other.to_string(),
    };
    format!("{}::{}.{}", sql::literal(&text), quote(type_.schema()), quote(type_.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_quoted_and_typed() {
        assert_eq!(literal(Argument::Number(5), &Type::INT4), r#"'5'::"pg_catalog"."int4""#);
        assert_eq!(literal(Argument::Text(r"a'\b"), &Type::TEXT), r#"E'a''\\b'::"pg_catalog"."text""#);
        assert_eq!(literal(Argument::Null, &Type::TEXT), r#"NULL::"pg_catalog"."text""#);
    }
}

use super::*;

/// A column with these values, of which an empty one is NULL.
fn inferred(infer: Infer, values: &[&str]) -> Inference {
    let mut inference = Inference::new(infer, None, &Spelling::default());
    inference.add(Some("x".to_owned()), None);
    for (line, value) in (2..).zip(values) {
        let field = if value.is_empty() { Field::Null } else { Field::Value(value.as_bytes()) };
        inference.observe(0, field, Notation::Text, ("f.csv", line));
    }
    inference
}

fn type_of(infer: Infer, values: &[&str]) -> String {
    inferred(infer, values).columns().remove(0).sql_type
}

#[test]
fn each_type_is_inferred_from_its_values() {
    for (values, expected) in [
        (&["true", "f", ""][..], "boolean"),
        (&["1", "-2147483648", "0"], "integer"),
        (&["1", "2147483648"], "bigint"),
        (&["1", "0.50", "-3.0"], "numeric"),
        (&["12345678901234567890", "-1"], "numeric"),
        (&["2021-12-31", "2020-02-29"], "date"),
        (&["2021-12-31 23:59:59", "2021-12-31T23:59:59.123456"], "timestamp"),
        (&["2021-12-31 23:59:59+02", "2021-12-31T23:59:59.1Z"], "timestamptz"),
        (&["b5aee1d4-1f3a-4d6e-8a3e-1c5a9d6f7e80"], "uuid"),
    ] {
        assert_eq!(type_of(Infer::Exact, values), expected, "{values:?}");
        let natural = inferred(Infer::Natural, values);
        assert_eq!(natural.columns()[0].sql_type, expected, "{values:?}");
        let changed: Vec<&str> =
            natural.report().iter().flat_map(|column| &column.changes).map(|change| change.what).collect();
        let iso = Change::IsoSpelling.name();
        let is_printed_otherwise = values.iter().any(|value| value.contains(['T', '+']));
        assert_eq!(changed, if is_printed_otherwise { vec![iso] } else { vec![] }, "{values:?}");
    }
}

/// Types that only the natural inference chooses, and what it says about the spelling.
#[test]
fn other_spellings_are_read_naturally_and_reported() {
    for (values, expected, dates, changes) in [
        (&["1", " 2", "3 "][..], "integer", None, &["2 blanks around them"][..]),
        (&["TRUE", "No", "t"], "boolean", None, &["2 another word than true or false"]),
        (&["2012/01/01", "2012-1-9"], "date", None, &["2 a date or time in another spelling than ISO 8601"]),
        (
            &["31/12/2026", "01/02/2026"],
            "date",
            Some("day, month, year"),
            &["2 a date or time in another spelling than ISO 8601"],
        ),
        (
            &["12.31.2026"],
            "date",
            Some("month, day, year"),
            &["1 a date or time in another spelling than ISO 8601"],
        ),
        (
            &["17-08-1984 9:05 PM"],
            "timestamp",
            Some("day, month, year"),
            &["1 a date or time in another spelling than ISO 8601", "1 a time without seconds"],
        ),
        (&["1e-5", "12", "NaN"], "double precision", None, &["1 an exponent"]),
        (&["1e5", "12"], "double precision", None, &["1 an exponent"]),
        (
            &["0.50", "1E-3", "0.00001", "7"],
            "double precision",
            None,
            &[
                "2 final zeros of a fraction, or too many zeros for double precision to print",
                "1 an exponent",
            ],
        ),
        (&["0.1234567890123456789", "1.5E-3", "0.50"], "numeric", None, &["1 an exponent"]),
        (&["12345678901234567890", "1e2"], "numeric", None, &["1 an exponent"]),
        (
            &[".5", "5.", "-0"],
            "numeric",
            None,
            &["2 a decimal point without digits on one side", "1 a minus before zero"],
        ),
        (&["12:34:56", "23:59:59.5"], "time", None, &[]),
        (&["B5AEE1D4-1F3A-4D6E-8A3E-1C5A9D6F7E80"], "uuid", None, &["1 capitals in a UUID"]),
    ] {
        let natural = inferred(Infer::Natural, values);
        assert_eq!(natural.columns()[0].sql_type, expected, "{values:?}");
        let report = natural.report();
        let said: Vec<String> = report
            .iter()
            .flat_map(|column| &column.changes)
            .map(|change| format!("{} {}", change.values, change.what))
            .collect();
        assert_eq!(said, changes, "{values:?}");
        assert_eq!(report.first().and_then(|column| column.dates), dates, "{values:?}");
        assert_eq!(type_of(Infer::Exact, values), "text", "{values:?}");
    }
}

/// PostgreSQL stores microseconds.
#[test]
fn zeros_beyond_microseconds_are_reported() {
    for (value, expected) in [("2021-12-31 23:59:59.123456000", "timestamp"), ("23:59:59.1000000", "time")] {
        let natural = inferred(Infer::Natural, &[value]);
        assert_eq!(natural.columns()[0].sql_type, expected);
        assert_eq!(natural.report()[0].changes[0].what, Change::IsoSpelling.name());
    }
}

#[test]
fn values_that_a_type_would_change_stay_text() {
    for values in [
        &["007"][..],
        &["00012345678901234567890"],
        &["+1"],
        &["0.12345678901234567890e1000"],
        &["1", "n/a"],
        &["2.2.20"],
        &["2021.3.2"],
        &["03/04/2021"],
        &["31/12/2021", "12/31/2021"],
        &["31/12/21"],
        &["2021-12-31", "31.12.2021"],
        &["2021-02-29"],
        &["2021-12-31 23:59:59.1234567"],
        &["23:59:59.1234560001"],
        &["2021-12-31 23:59:59", "2021-12-31 23:59:59Z"],
        &["25:00:00"],
        &["2021-12-31", "2021-12-31 23:59:59"],
        &["Y", "N"],
        &["NO", "no"],
        &["F"],
        &["t", "true"],
        &["1", "true"],
        &["1", "  "],
        &["", ""],
    ] {
        for infer in [Infer::Natural, Infer::Exact] {
            assert_eq!(type_of(infer, values), "text", "{values:?}");
        }
    }
}

#[test]
fn a_column_of_text_names_the_flag_that_would_read_it() {
    let help = |order, values: &[&str]| {
        let mut inference = Inference::new(Infer::Natural, order, &Spelling::default());
        inference.add(Some("x".to_owned()), None);
        for value in values {
            inference.observe(0, Field::Value(value.as_bytes()), Notation::Text, ("f.csv", 2));
        }
        inference.report().pop().and_then(|column| column.text_help)
    };
    for (values, flag) in [
        (&["1.019,90", "7"][..], Some("--decimal , --thousands .")),
        (&["1", "1,50", "2"], Some("--decimal ,")),
        (&["1,50", "2.5"], None),
        (&["NA", "1", "2.5"], Some("--null '' --null 'NA'")),
        (&["2026-01-31", "NA"], Some("--null '' --null 'NA'")),
        (&["NA", "Ann"], None),
        (&["NA"], None),
        (&["1.2.3.4", "10.0.0.1"], None),
        (&["1.5", "1,5"], None),
    ] {
        let help = help(None, values);
        assert_eq!(help.is_some(), flag.is_some(), "{values:?} {help:?}");
        assert!(help.is_none_or(|help| help.contains(flag.unwrap())), "{values:?}");
    }
    let dates = help(Some(DateOrder::Dmy), &["12/31/2026", "12/30/2026"]);
    assert!(dates.is_some_and(|help| help.ends_with("--date-style mdy")));
}

#[test]
fn what_is_ambiguous_is_decided_by_an_order_or_named() {
    let ambiguous = inferred(Infer::Natural, &["03/04/2021"]);
    let notes: Vec<String> = ambiguous.ambiguous_notes().collect();
    assert_eq!(
        notes,
        ["x is text because its dates, such as \"03/04/2021\", may begin with the day or with the month; \
          --date-style dmy or mdy decides"]
    );
    for (order, value, expected) in [
        (DateOrder::Mdy, "03/04/2021", "date"),
        (DateOrder::Dmy, "03/04/2021", "date"),
        (DateOrder::Dmy, "12/31/2021", "text"),
        (DateOrder::Dmy, "2021-12-31", "date"),
        (DateOrder::Ymd, "03/04/2021", "text"),
    ] {
        let mut decided = Inference::new(Infer::Natural, Some(order), &Spelling::default());
        decided.add(Some("x".to_owned()), None);
        decided.observe(0, Field::Value(value.as_bytes()), Notation::Text, ("f.csv", 2));
        assert_eq!(decided.columns()[0].sql_type, expected, "{order:?} {value}");
    }
}

#[test]
fn settings_of_spelling_count() {
    let spelling = Spelling {
        decimal: Some(b','),
        thousands: Some('.'),
        true_words: vec!["ja".into()],
        false_words: vec!["nein".into()],
    };
    for (values, expected) in [
        (&["1.234,50", "7"][..], "numeric"),
        (&["1.234", "-5"], "integer"),
        (&["1.5"], "text"),
        (&["Ja", "nein", "t"], "boolean"),
        (&["31.12.2026"], "date"),
    ] {
        let mut inference = Inference::new(Infer::Natural, None, &spelling);
        inference.add(Some("x".to_owned()), None);
        for value in values {
            inference.observe(0, Field::Value(value.as_bytes()), Notation::Text, ("f.csv", 1));
        }
        assert_eq!(inference.columns()[0].sql_type, expected, "{values:?}");
    }
}

#[test]
fn the_statement_quotes_names() {
    let mut inference = Inference::new(Infer::Natural, None, &Spelling::default());
    inference.add(Some("id".to_owned()), None);
    inference.add(None, None);
    inference.add(Some("Full \"name\"".to_owned()), Some("varchar(9)".to_owned()));
    inference.observe(0, Field::Value(b"1"), Notation::Text, ("f.csv", 2));
    let ddl = ddl(&TableName::parse("people").unwrap(), &inference.columns());
    assert_eq!(
        ddl,
        "CREATE TABLE \"people\" (\n    \"id\" integer,\n    \"Full \"\"name\"\"\" varchar(9)\n)"
    );
}

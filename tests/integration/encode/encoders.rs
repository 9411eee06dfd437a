//! The encoder of every type, against the server.

use crate::encode::oracle::{Oracle, Values};

#[tokio::test]
async fn integers_agree() {
    let mut oracle = Oracle::new().await;
    let values = Values {
        common: &["-?[0-9]{1,4}", "[+-]?[0-9]{1,4}", " ?0{0,30}[0-9]{1,4} ?"],
        odd: &[
            "-?3276[0-9]",
            "-?214748364[0-9]",
            "-?922337203685477580[0-9]",
            "-?[0-9]{5,25}",
            "[+-]?0[xX][0-9a-fA-F]{0,9}",
            "0[oObB][0-7_]{1,9}",
            "[0-9_]{1,6}",
            "[ \t\n\r\u{b}\u{c}]{0,2}[0-9]{1,3}[ \t\n\r\u{b}\u{c}]{0,2}",
        ],
        alphabet: "0123456789+-_xob.e \t\u{b}\u{a0}\0",
    };
    for sql_type in ["smallint", "integer", "bigint"] {
        oracle.agree(sql_type, &values).await;
    }
}

#[tokio::test]
async fn booleans_agree() {
    let words = "(t|true|f|false|y|yes|n|no|on|off|0|1)";
    let values = Values {
        common: &[words, "(T|TRUE|F|FALSE|Yes|No|ON|Off)", " {0,2}(tr|tru|fa|fal|ye|of) {0,2}"],
        odd: &["[a-z]{0,5}", "[oO][nNfF]{0,3}", "[01]{0,3}"],
        alphabet: "truefalsyno01 \t\0",
    };
    Oracle::new().await.agree("boolean", &values).await;
}

const DECIMALS: Values<'_> = Values {
    common: &[
        "-?[0-9]{1,12}",
        "[+-]?[0-9]{1,9}\\.[0-9]{1,9}",
        "[+-]?(\\.[0-9]{1,6}|[0-9]{1,6}\\.)",
        "-?[0-9](\\.[0-9]{1,20})?[eE][+-]?[0-2]?[0-9]",
        " ?(NaN|nan) ?",
    ],
    odd: &[
        "-?0{0,9}(\\.0{0,9})?(e-?[0-9]{1,4})?",
        "-?[0-9]{30,60}(\\.[0-9]{30,60})?",
        "-?[0-9]{1,3}\\.?[0-9]{0,20}e[+-]?[0-9]{1,3}",
        "0{0,12}[0-9]{1,9}0{0,12}\\.0{0,12}[0-9]{1,9}0{0,12}(e-?[0-9]{1,2})?",
        "[0-9]{1,4}e-?(1638[0-9]|13107[0-9]|[0-9]{4,8})",
        "[+-]?([iI]nf(inity)?|INF|nan|nan\\(1?\\)|infinit)",
        "[+-]?0[xX][0-9a-fA-F]{0,9}(p[0-9]{1,2})?",
        "0[oObB][0-7_]{1,9}",
        "[0-9_]{1,6}\\.[0-9_]{1,6}(e[0-9_ +-]{1,3})?",
        "[ \t\n\r\u{b}\u{c}]{0,2}[0-9]{1,3}[ \t\n\r\u{b}\u{c}]{0,2}",
    ],
    alphabet: "0123456789+-_.eExobNnaify \t\u{b}\u{a0}\0",
};

#[tokio::test]
async fn floats_agree() {
    let mut oracle = Oracle::new().await;
    let spaced = "[+-]?(inf|Infinity|INFINITY)";
    let values = Values { common: &[DECIMALS.common, &[spaced]].concat(), ..DECIMALS };
    oracle.agree("double precision", &values).await;
    oracle.agree("real", &values).await;
    let edges = Values {
        common: &["0"],
        odd: &[
            // The largest, the smallest normal and the smallest subnormal number, their neighbours, and halfway
            // cases.
            "-?1\\.797693134862315[789][0-9]{1,4}e308",
            "2\\.22507385850720[01][0-9]{1,4}e-308",
            "[2-7]\\.[0-9]{1,20}e-324",
            "3\\.40282[34][0-9]{1,12}e38",
            "1\\.17549[45][0-9]{1,6}e-38",
            "(0\\.[6-8]|1\\.[34])[0-9]{1,20}e-45",
            "167772(15|16|17|18|19)(\\.0{0,20}[0-9])?",
            "9007199254740[0-9]{3}(\\.0{0,30}[0-9])?",
        ],
        alphabet: "0123456789e-.",
    };
    oracle.agree("double precision", &edges).await;
    oracle.agree("real", &edges).await;
}

#[tokio::test]
async fn numerics_agree() {
    let mut oracle = Oracle::new().await;
    for sql_type in ["numeric", "numeric(10,2)", "numeric(5)", "numeric(30,20)"] {
        oracle.agree(sql_type, &DECIMALS).await;
    }
    let long = Values {
        common: &["[1-9][0-9]{0,300}0{0,300}", "0\\.0{0,300}[0-9]{1,300}"],
        odd: &["[1-9]e1310[67][0-9]", "[0-9]{9}\\.[0-9]{9}e-?16[0-9]{3}"],
        alphabet: "0123456789.e-",
    };
    oracle.agree("numeric", &long).await;
    let longest = ["[1-9]0{131070,131074}", "\\.0{16380,16384}1", "0{140000}1\\.5"];
    let longest = oracle.draw(&longest, 15);
    oracle.compare("numeric", &longest).await;
}

#[tokio::test]
async fn texts_agree() {
    let mut oracle = Oracle::new().await;
    let values = Values {
        common: &["[ -~]{0,12}", "[a-zé‘ā漢🐘]{0,6} {0,3}", "\\PC{0,8}"],
        odd: &["[a-zé漢🐘]{15,70}", " {0,80}", "[\t\r\n\\\\.\"',]{1,4}"],
        alphabet: "aé\u{80}漢🐘 \t\r\n\\\"\0",
    };
    for sql_type in ["text", "varchar", "varchar(5)", "char(5)", "char", "bpchar", "name"] {
        oracle.agree(sql_type, &values).await;
    }
}

#[tokio::test]
async fn latin1_databases_agree() {
    let mut oracle = Oracle::latin1().await;
    let values = Values {
        common: &["[a-zé]{0,20}"],
        odd: &["[a-z]{60,66}é?", "é{10,70}", "\\{\"?[a-zé]{1,3}\"?\\}", " ?[0-9a-f]{1,3}\u{a0}?"],
        alphabet: "aé \\\"0{}",
    };
    oracle.agree("text", &values).await;
    oracle.agree("varchar(12)", &values).await;
    oracle.agree("name", &Values { common: &["[a-z]{0,63}"], ..values }).await;
    oracle.agree("bytea", &Values { common: &["[a-z]{0,9}"], ..values }).await;
    oracle.agree("integer", &Values { common: &["[0-9]"], ..values }).await;
    oracle.agree("text[]", &Values { common: &["\\{[a-zé]\\}"], ..values }).await;
}

#[tokio::test]
async fn byteas_agree() {
    let values = Values {
        common: &[
            "\\\\x([0-9a-f]{2}){0,20}",
            "\\\\x([0-9A-F]{2} ?){0,20}",
            "[ -\\[\\]-~]{0,12}",
            "[a-zé漢]{0,9}",
        ],
        odd: &["(\\\\[0-3][0-7]{2}|\\\\\\\\|[ -\\[]){0,9}", "\\\\[0-9xX]{1,4}", "\\\\x[0-9a-g \t\r\n]{0,9}"],
        alphabet: "\\x0123456789abcdefgAF \t\n\r\u{b}é\0",
    };
    Oracle::new().await.agree("bytea", &values).await;
}

#[tokio::test]
async fn uuids_agree() {
    let values = Values {
        common: &["[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[0-9a-fA-F]{32}"],
        odd: &["\\{?([0-9a-f]{4}-?){8}\\}?", "\\{([0-9a-f]{4}-){7}[0-9a-f]{4}\\}", "([0-9a-f]{2}-?){16}"],
        alphabet: "0123456789abcdefgAF{}- ",
    };
    Oracle::new().await.agree("uuid", &values).await;
}

#[tokio::test]
async fn json_agrees() {
    let mut oracle = Oracle::new().await;
    let values = Values {
        common: &[
            r#"\{"[a-z]{1,5}": ?(-?(0|[1-9][0-9]{0,5})|"[a-zé漢🐘 ]{0,6}"|true|false|null)\}"#,
            r"\[((0|[1-9][0-9]?)(\.[0-9]{1,9})?(e-?[0-9]{1,2})?, ?){0,4}null\]",
            r#"\{"a": \{"b": \[1, "x", \{\}, \[\], \{"c": (true|\[null\])\}\], "[ab]": "\\(n|u00e9|"|ud83d\\udc18)"\}\}"#,
        ],
        odd: &[
            r#"[\[\]{}:,"0-9a ]{0,9}"#,
            r#""(\\u(000[0-9]|d[89a-f][0-9a-f]{2})|\\[ -~]|[a-z]){0,4}""#,
            r"-?[0-9]{1,3}(\.[0-9]{0,2})?([eE][+-]?[0-9]{0,6})?",
            r"(\[|\{){0,3}(true|false|null|nul|True)(\]|\}){0,3}",
            "\\[{1000,1030}\\]{1000,1030}",
            "[ \t\r\n\u{b}\u{c}]{0,2}[0-9][ \t\r\n\u{b}\u{c}]{0,2}",
            "\"[\u{1}-\u{20}\u{7f}\u{80}]{0,2}\"",
        ],
        alphabet: "[]{}:,\"\\u0019dDcC-+.eEtrufalsn \t\u{b}\u{1}\u{7f}é\0",
    };
    oracle.agree("json", &values).await;
    oracle.agree("jsonb", &values).await;
}

#[tokio::test]
async fn network_addresses_agree() {
    let mut oracle = Oracle::new().await;
    let octet = "(0|1[0-9]{0,2}|2[0-4][0-9]|25[0-5])";
    let v4 = format!("{octet}\\.{octet}\\.{octet}\\.{octet}");
    let v4_odd = "[0-9]{1,4}(\\.[0-9]{1,4}){0,5}(/[0-9]{0,3})?";
    let full = "([0-9a-f]{1,4}:){7}[0-9a-fA-F]{1,4}";
    let zeros = "([0-9a-f]{1,4}:){0,4}:([0-9a-f]{1,4}:){0,2}[0-9a-f]{0,4}(/[0-9]{1,3})?";
    let mapped = format!("::(ffff:)?{v4}(/[0-9]{{1,3}})?");
    let alphabet = "0123456789abcdefg:./xX -+";
    let inet = Values {
        common: &[&v4, &format!("{v4}/([0-9]|[12][0-9]|3[0-2])"), full, "fe80::[0-9a-f]{1,4}/64", "::1?"],
        odd: &[v4_odd, zeros, &mapped, "0x[0-9a-f]{1,8}(/[0-9])?", "[0-9a-f:.]{1,12}"],
        alphabet,
    };
    oracle.agree("inet", &inet).await;
    let cidr = Values {
        common: &[
            &v4,
            &format!("{octet}\\.{octet}\\.{octet}\\.0/24"),
            &format!("{octet}\\.0\\.0\\.0/8"),
            full,
            "2001:db8:[0-9a-f]{1,4}::/48",
            "::/0",
        ],
        odd: &[&format!("{v4}/[0-9]{{1,2}}"), v4_odd, zeros, &mapped, "0x[0-9a-f]{1,8}(/[0-9])?"],
        alphabet,
    };
    oracle.agree("cidr", &cidr).await;
}

#[tokio::test]
async fn mac_addresses_agree() {
    let mut oracle = Oracle::new().await;
    let alphabet = "0123456789abcdefgF:-. x+";
    let six = [
        "([0-9a-f]{2}:){5}[0-9a-f]{2}",
        "([0-9A-F]{2}-){5}[0-9A-F]{2}",
        "[0-9a-f]{6}[:-][0-9a-f]{6}",
        "([0-9a-f]{4}\\.){2}[0-9a-f]{4}",
        "([0-9a-f]{4}-){2}[0-9a-f]{4}",
        "[0-9a-fA-F]{12}",
    ];
    let odd = ["([0-9a-f]{1,2}[:.-]){5,7}[0-9a-f]{1,2}", "([0-9a-f]{2}[:.-]?){5,9}", "([0-9a-f]{2}:?){6}"];
    oracle.agree("macaddr", &Values { common: &six, odd: &odd, alphabet }).await;
    let eight = ["([0-9a-f]{2}:){7}[0-9a-f]{2}", "([0-9A-F]{2}-){7}[0-9A-F]{2}", "[0-9a-f]{16}"];
    oracle.agree("macaddr8", &Values { common: &[&six[..], &eight].concat(), odd: &odd, alphabet }).await;
}

#[tokio::test]
async fn enums_and_domains_agree() {
    let mut oracle = Oracle::new().await;
    oracle
        .execute(
            "CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy', '', 'glücklich', 'NULL', 'a,b\"');
             CREATE DOMAIN mild AS mood CHECK (VALUE <> 'sad');
             CREATE DOMAIN small AS integer CHECK (VALUE < 100);
             CREATE DOMAIN smaller AS small NOT NULL CHECK (VALUE < 10);
             CREATE DOMAIN price AS numeric(6,2);
             CREATE DOMAIN code AS varchar(3);
             CREATE DOMAIN pair AS integer[] CHECK (cardinality(VALUE) = 2)",
        )
        .await;
    let moods = Values {
        common: &["(sad|ok|very happy|glücklich)"],
        odd: &["(SAD|Ok|happy|null|NULL| ok |.{0,2})", "[a-z]{60,70}"],
        alphabet: "sadok vryhp\0",
    };
    oracle.agree("mood", &moods).await;
    oracle.agree("mild", &moods).await;
    let numbers = Values { common: &["[0-9]{1,3}"], odd: &["-?[0-9.]{1,9}"], alphabet: "0123456789-. " };
    for domain in ["small", "smaller", "price", "code"] {
        oracle.agree(domain, &numbers).await;
    }
    let arrays = Values {
        common: &["\\{[0-9]{1,2},[0-9]{1,2}\\}"],
        odd: &["\\{([0-9]{1,2},){0,2}[0-9]\\}"],
        alphabet: "{},0123456789\" ",
    };
    oracle.agree("pair", &arrays).await;
    let arrays = Values {
        common: &["\\{(sad|ok|\"very happy\"),NULL,glücklich\\}"],
        odd: &["\\{(sad|very happy|\"NULL\"|\"\"|,){1,3}\\}"],
        alphabet: "{},\"\\ sadokNUL",
    };
    oracle.agree("mood[]", &arrays).await;
    oracle.agree("mild[]", &arrays).await;
    let arrays = Values {
        common: &["\\{([0-9]{1,2},){0,2}[0-9]\\}"],
        odd: &["\\{((NULL|[0-9]{1,3}),){0,2}[0-9]\\}", "\\{\"(\\{[0-9]{1,2},[0-9]\\}|)\"\\}"],
        alphabet: "{},0123456789\"NUL ",
    };
    for sql_type in ["small[]", "smaller[]", "price[]", "code[]", "pair[]"] {
        let common = if sql_type == "pair[]" { &["\\{\"\\{1,2\\}\"(,NULL)?\\}"][..] } else { arrays.common };
        oracle.agree(sql_type, &Values { common, ..arrays }).await;
    }
}

#[tokio::test]
async fn arrays_agree() {
    let mut oracle = Oracle::new().await;
    let numbers = Values {
        common: &[
            "\\{\\}",
            "\\{(-?[0-9]{1,3},){0,5}[0-9]{1,3}\\}",
            "\\{ ?((NULL|[0-9]{1,3}) ?, ?){0,5}[0-9]{1,3} ?\\}",
            "\\{\\{[0-9],[0-9]\\},\\{[0-9],[0-9]\\}\\}",
            "\\[(0:2|-2:0|5:7)\\]=\\{[0-9],[0-9],NULL\\}",
            "\\[0:1\\]\\[1:1\\]=\\{\\{[0-9]\\},\\{null\\}\\}",
        ],
        odd: &[
            "\\{(\\{([0-9],){0,2}[0-9]\\},){0,2}\\{([0-9],){0,2}[0-9]\\}\\}",
            "\\{{1,7}[0-9]\\}{1,7}",
            "\\{(\\{\\},?){0,3}\\}",
            "(\\[-?[0-9]{1,2}:-?[0-9]{1,2}\\]){1,2}=\\{{1,2}([0-9],){0,2}[0-9]\\}{1,2}",
            "\\[[0-9:+ -]{1,4}\\] ?= ?\\{[0-9](,[0-9]){0,3}\\}",
            "[\\[\\]{},0-9\" \\\\]{0,9}",
            "[ \t\n\r\u{b}\u{c}]?\\{[ \t\n\r\u{b}\u{c}]?[0-9][ \t\n\r\u{b}\u{c}]?\\}[ \t\n\r\u{b}\u{c}]?",
            "\\[(2147483647|-2147483648|999999999):(2147483647|999999999)\\]=\\{1\\}",
        ],
        alphabet: "{},[]:=0123456789\"\\NULnul -\t\u{b}\0",
    };
    for sql_type in ["integer[]", "smallint[][]", "numeric(4,1)[]"] {
        oracle.agree(sql_type, &numbers).await;
    }
    let texts = Values {
        common: &[
            "\\{([a-zé漢]{1,5},){0,3}\"[a-z ,{}é]{0,5}\"\\}",
            "\\{([a-z]{1,3}( [a-z]{1,3})?, ?){0,3}[a-z]\\}",
            r#"\{("([a-z]|\\"|\\\\){0,5}",){0,3}NULL\}"#,
            r#"\{\{(a|"null"),b\},\{c,NULL\}\}"#,
        ],
        odd: &[
            r#"\{([a-z "\\,{}]{0,6},?){0,3}\}"#,
            r"\{[a-z]?\\?[a-z ]\\? {0,2}\\? {0,2}\}",
            r#"\{ ?"?[nN][uU]\\?[lL]{1,2}"? ?\}"#,
        ],
        alphabet: "{},\"\\ \tabNUL[]=:é;\0",
    };
    for sql_type in ["text[]", "varchar(3)[]", "char(3)[]", "name[]", "bytea[]", "jsonb[]"] {
        let common = if sql_type.len() > 6 { &["\\{\\}"][..] } else { texts.common };
        let common =
            if sql_type == "bytea[]" { &[r#"\{"\\\\x([0-9a-f]{2}){0,3}",NULL\}"#][..] } else { common };
        oracle.agree(sql_type, &Values { common, ..texts }).await;
    }
    let mut oracle = Oracle::with("SET array_nulls = off").await;
    oracle.agree("text[]", &Values { common: &["\\{\"null\",[0-9]\\}"], ..texts }).await;
    let uuids = Values {
        common: &["\\{([0-9a-f]{32},){0,2}[0-9a-f]{32}\\}"],
        odd: &["\\{\"?\\{?[0-9a-f]{32}\\}?\"?\\}"],
        alphabet: "{},\"\\-0123456789abcdef",
    };
    oracle.agree("uuid[]", &uuids).await;
}

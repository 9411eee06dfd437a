use encoding_rs::{SHIFT_JIS, WINDOWS_1252};

use super::*;
use crate::csv::dialect::BlankLines;
use crate::csv::sniff::same::check_same;

fn detected(sample: impl AsRef<[u8]>) -> Result<Sniffed> {
    sniff("x.csv", sample.as_ref(), &Dialect::default(), Detect::ALL)
}

/// The flags, without those of the header.
fn flags(sample: impl AsRef<[u8]>) -> String {
    let sniffed = detected(sample).unwrap_or_else(|error| panic!("{error}"));
    Dialect { header: true, ..sniffed.dialect }.to_string()
}

fn refusal(sample: impl AsRef<[u8]>) -> String {
    match detected(&sample) {
        Ok(sniffed) => panic!("{:?}: {sniffed}", String::from_utf8_lossy(sample.as_ref())),
        Err(error) => error.to_string(),
    }
}

#[test]
fn delimiters_are_detected_by_agreement() {
    for (sample, expected) in [
        ("id,name\n1,Ann Lee\n2,Bo\n", "--delimiter ','"),
        ("id;price\n1;2,50\n2;3,75\n3;4,00\n", "--delimiter ';'"),
        ("id\tnote\n1\ta, b\n2\tc, d, e\n", "--delimiter tab"),
        ("who|where\nNash, J.|Rome, IT\nFox, B.|Oslo, NO\n", "--delimiter '|'"),
        ("a,b\n1,2\n\n3,4\n\n\n", "--delimiter ','"),
        ("id|when\n1|2024-01-01 12:00:00\n2|2024-01-02 13:30:00\n", "--delimiter '|'"),
        ("name:age\nann:5\nbo:61\n", "--delimiter ':'"),
        ("name age\nann 5\nbo 61\n", "--delimiter ' '"),
        ("a^b\n1^2\n", "--delimiter '^'"),
        ("id,at\n1,12:30:00\n2,12:45:00\n", "--delimiter ','"),
        ("at\n12:30:00\n12:45:00\n", "--delimiter ','"),
        ("at\n2024-01-01 12:30:00\n2024-01-02 12:45:00\n", "--delimiter ','"),
        ("name,city\nJohn Smith,New York\nJane Doe,Los Angeles\n", "--delimiter ','"),
        ("word\nhello\nworld\n", "--delimiter ','"),
        ("title\nthe cat\nthe dog sat\na third one\nits own end\n", "--delimiter ','"),
        ("", "--delimiter ','"),
    ] {
        assert_eq!(flags(sample), expected, "{sample:?}");
    }
}

#[test]
fn names_may_be_numbers_whose_difference_is_none() {
    let sample = format!("{},{}\n1,2\n3,4\n", i64::MIN, i64::MAX);
    assert_eq!(flags(sample), "--delimiter ','");
}

#[test]
fn quotes_and_escapes_are_detected_by_what_they_enclose() {
    for (sample, expected) in [
        ("a;b\n\"x;y\";1\n\"z\"\"w\";2\n", "--delimiter ';'"),
        ("a,b\n'x,y',1\n'z',2\n", "--delimiter ',' --quote ''\\'''"),
        ("a,b\n',',x\nq,y\n", "--delimiter ',' --quote ''\\'''"),
        ("id,note\n1,'quoted'\n", "--delimiter ','"),
        ("film_title\n'Bo'\n", "--delimiter ','"),
        ("a,b\n\"say \\\"hi\\\", she said\",1\n\"z\",2\n", "--delimiter ',' --escape '\\'"),
        ("a,b\nit's,1\nrock 'n' roll,2\n", "--delimiter ','"),
        ("a,b\n\"multi\nline, text\",1\n\"more\nlines\",2\n", "--delimiter ','"),
        (
            "a,b,c\n\"x\", \"y, z\",1\n\"v\",\"w\",2\n\"v\",\"w\",2\n\"v\",\"w\",2\n\"v\",\"w\",2\n",
            "--delimiter ','",
        ),
        ("path,n\n\"C:\\dir\\\",1\n\"D:\\\",2\n", "--delimiter ','"),
        ("id,item\n1,12\" disk\n2,tape\n", "--delimiter ',' --quote none"),
        ("id,item\n1,12\" disk\n2,15\" disk\n3,x\n", "--delimiter ',' --quote none"),
        ("id\tdoc\n1\t{\"a\": 1, \"b\": \"x\"}\n2\t{\"a\": 2}\n", "--delimiter tab --quote none"),
        ("id,item,n\n1,\"a, b\",1\n2,12\" disk,2\n", "--delimiter ',' --stray-quotes keep"),
    ] {
        assert_eq!(flags(sample), expected, "{sample:?}");
    }
}

#[test]
fn headers_are_detected_by_contrast() {
    use HeaderVerdict::{No, Unclear, Yes};
    for (sample, header) in [
        ("wpi,t,no\n30.7,1960q1,1\n30.8,1960q2,2\n", Yes),
        ("x,t\ny,f\n", Unclear),
        ("x,t\ny,f\nz,t\nw,f\n", No),
        ("id,name\n1,Ann\n2,Bo\n", Yes),
        ("1,Ann\n2,Bo\n", No),
        ("Ann,true\nBo,false\n", No),
        ("name,city\nAnn,Rome\nBo,Oslo\n", Yes),
        ("Rome,Ann\nOslo,Bob\nRome,Cy\nLima,Di\n", No),
        ("bar,baz\n,baz\n", Unclear),
        ("firstName,lastName\n", Yes),
        ("Ann,Rome\nBo,Oslo\n", Unclear),
        ("id,name\n", Yes),
        ("\"\",\"speed\",\"dist\"\n\"1\",4,2\n\"2\",4,10\n", Yes),
        ("Country,Code,1960,1961\nAruba,ABW,54211,55438\nChad,TCD,3002596,3061423\n", Yes),
        ("x,x\n1,2\n3,4\n", Yes),
        ("a,,c\n1,2,3\n4,5,6\n", Yes),
        ("Region,1/22/20,1/23/20\nHubei,444,444\nHunan,4,9\n", Yes),
        ("foo,1,2\nbar,7,3\n", Unclear),
        ("1,2,3\n4,7,6\n9,1,1\n", Unclear),
        ("5,2,3\n4,7,6\n9,1,1\n", No),
        ("gene,10,20,50\nBRCA1,0.5,0.7,0.1\nTP53,0.2,0.1,0.4\n", Unclear),
        ("dose,0.5,1,2\nalpha,5,7,1\n", Unclear),
        (",10,20,50\nBRCA1,0.5,0.7,0.1\n", Unclear),
        ("sensor,101,101,205\nx,5,7,1\n", Unclear),
        ("hour,0,6,12\nx,5,7,1\ny,5,7,1\n", Unclear),
        ("1,Ada,2.5\n2,Bob,3.1\n", No),
        ("a@b.org,5\nc@d.org,6\n", No),
        ("Ann,2024-01-01,5\nBo,2024-01-02,6\n", No),
        ("NA,5\n1,6\n2,7\n", No),
        ("a,b,c\n,,\n", Yes),
        ("a,b,c\na,,\n,,c\n", Yes),
        ("V1,V2,V3\nx,y,q\nw,y,z\n", Yes),
        ("k,,\"abc\",null\n1,,\"abc\",null\n2,,\"abc\",null\n", Unclear),
        ("k,abc\n1,abc\n2,abc\n", Yes),
        (
            "net,1,1,2\nnode,1,2,1\nside,l,r,l\n,,,\n0,5.5,-3.1,0.2\n1,7.25,0.1,9.5\n2,0.3,1.5,4\n3,2.5,8.5,1\n",
            Unclear,
        ),
        ("k,12,2\nz,x,c\n4,5,t\n", Unclear),
        // What stands below may be names too, or units.
        ("region,,sales,\ncode,name,q1,q2\nN,North,5,7\nS,South,1,2\n", Unclear),
        ("region,,sales,\ncode,name,q1,q2\nN,North,5,7\n", Unclear),
        ("A,A,B,B\nname,city,name,city\nAnn,Rome,Bo,Oslo\n", Unclear),
        ("region,sales,,costs,\n,2019,2020,2019,2020\nNorth,5,7,8,9\nSouth,1,2,3,4\n", Unclear),
        ("time,speed\ns,km/h\n0,1.5\n1,2.5\n", Unclear),
        (
            ",place,size,weight\n,,(cm),kg\n,,net,gross\nx,Rome,5,7\ny,Oslo,2,1\nz,Lima,2,2\nw,Bonn,3,1\n",
            Unclear,
        ),
        // But values that are not known are none.
        ("name,age\nAnn,unknown\nBo,5\nCy,6\n", Yes),
        ("name,age,size\nAnn,**,*\nBo,5,2\nCy,6,7\n", Yes),
        ("number,least,most\nINF,INF,INF\n1,2,3\n4,5,6\n", Yes),
        ("id,name,,\n1,Ann,x,y\n2,Bo,z,w\n", Yes),
    ] {
        assert_eq!(detected(sample).unwrap().header, header, "{sample:?}");
    }
}

#[test]
fn the_names_of_the_table_decide_what_the_records_leave_open() {
    let decide = |sample: &str, names: &[&str]| {
        detected(sample).unwrap().decide_header("x.csv", names).map_err(|error| error.to_string())
    };
    let by_name = Ok("the first record has the names of the table's columns");
    assert_eq!(decide("a,b\nc,d\n", &["A", "b", "z"]), by_name);
    assert_eq!(decide("5,2\n1,2\n", &["5", "2"]), by_name);
    assert_eq!(decide("a,b,x\nc,d,y\n", &["a", "b"]), by_name);
    // Nor are further names rows because the first ones are known.
    let refused = decide("t,v\ns,km/h\n0,1.5\n1,2.5\n", &["t", "v"]).unwrap_err();
    let says = "x.csv: several records of words, which may be names, stand above values:\n  t | v\n  s | km/h\n  0 | 1.5";
    assert_eq!(refused, says);
    let refused = decide("Ann,Rome\nBo,Oslo\n", &["name", "city"]).unwrap_err();
    assert!(refused.starts_with("x.csv: whether the first record is a header cannot be told"), "{refused}");
    assert!(refused.ends_with(":\n  Ann | Rome\n  Bo | Oslo"), "{refused}");
    assert!(decide("1,Ann\n2,Bo\n", &["id", "name"]).is_ok_and(|reason| reason.contains("contains values")));
}

#[test]
fn what_is_not_clear_is_refused_with_both_readings() {
    let refused = refusal("Ann Lee\nBo Ray\nCy Fox\n");
    let expected = "x.csv: two dialects fit about equally well
  delimiter  quote  escape  header   columns  confidence  first record
  ,          \"      \"       unclear  1        75 %        Ann Lee
  space      \"      \"       unclear  2        70 %        Ann | Lee";
    assert_eq!(refused, expected);
    for (sample, part) in [
        ("a,b\n\"Pedro \"the\" legend\",1\n\"Bo\",2\n", "no dialect fits well enough"),
        ("a||b\n1||2\n3||4\n", "the delimiter seems to be several characters"),
        ("a|||b|||c\n1|||2|||3\n3|||4|||5\n", "the delimiter seems to be several characters"),
        ("A   B   C\n1   2   3\n4   5   6\n", "aligned by blanks"),
        ("Ann Lee    Rome   5\nBo         Oslo   17\nCyril Fox  Lima   9\n", "aligned by blanks"),
        ("5,Bo's,'a, it's b','x',\n", "apostrophes seem to enclose values"),
        ("a,b\n1,'p'\n2,'q'\n3,'r'\n", "two dialects fit about equally well"),
        ("'a','b'\n1,x\n2,y\n", "two dialects fit about equally well"),
        ("\"k\", \"n\"\n1, \"x\"\n2, \"y, z\"\n3, \"w\"\n", "no dialect fits well enough"),
        ("k, \"n\"\n1, \"x\"\n2, \"y\"\n", "the delimiter seems to be several characters"),
        (
            "\"k\", \"n\", \"m\"\n1, 2, \"x\"\n2, 4, \"y\"\n3, 8, \"w\"\n",
            "most quotes have blanks before them",
        ),
        ("a,b,c\n1,2,3\n4,5\n6,7\n8,9,1\n2,4,4\n", "line 3 has 2 fields, most records have 3"),
        ("mpg\tcyl\nMazda\t21\t6\nDatsun\t22.8\t4\n", "line 1 has 2 fields, and all records below it have 3"),
        ("Report of May\n\nid,n\n1,2\n3,4\n5,6\n", "all records have 2 fields, but not the first ones"),
        ("a,b\n1\n2,3,4\n5,6,7,8\nx\n", "no dialect fits well enough"),
        ("{\"a\": 1}\n{\"a\": 2}\n", "looks like JSON"),
        ("[{\"a\": 1,\n\"b\": 2}]\n", "looks like JSON"),
        ("<!DOCTYPE html>\n<p>a,b\n", "looks like a page or XML"),
        ("a\0,b\n", "looks like binary data"),
        ("a,b\r\n1,2\n3,4\r\n", "line 2: a line feed outside quotes"),
    ] {
        let refused = refusal(sample);
        assert!(refused.contains(part), "{sample:?}: {refused}");
    }
}

#[test]
fn a_refusal_names_blank_lines_before_the_records() {
    let refused = refusal("\n\na,b\n1,2\n4,5,6\n6,7,8\n8,9\n");
    assert!(refused.contains("well enough; line 1 is blank; line 5 has 3 fields, most"), "{refused}");
}

#[test]
fn a_refusal_says_what_would_read_the_file() {
    for (sample, help) in [
        ("mpg\tcyl\nMazda\t21\t6\nDatsun\t22.8\t4\n", "above the names of rows): --skip-lines 1 --header no"),
        ("a,b\n1,2,\n3,4,\n", "if line 1 is the header, mend it, or give all 3 names yourself"),
        ("Report of May\nid,n\n1,2\n3,4\n5,6\n", "skip that: --skip-lines 1"),
        ("a,b,c\n1,2,3\n4,5\n6,7\n8,9,1\n2,4,4\n", "let NULL take their place: --delimiter ',' --pad"),
        ("a,b\n1,2\n4,5,6\n6,7,8\n8,9\n", "mend line 3, or leave out --sniff"),
        ("\"k\", \"n\"\n1, \"x\"\n2, \"y, z\"\n3, \"w\"\n", "add --trim"),
        ("k, \"n\"\n1, \"x\"\n2, \"y\"\n3, \"w\"\n", "--delimiter , --trim"),
        (
            "\n\na,b\n1,2\n4,5,6\n6,7,8\n8,9\n",
            "reject such records: --delimiter ',' --skip-lines 2 --max-rejects 10",
        ),
        ("\n7,2,1\n1,5,3\n4,5\n6,9\n8,9,4\n2,3,4\n", ": --delimiter ',' --skip-lines 1 --no-header --pad"),
        (
            "\nmpg\tcyl\nMazda\t21\t6\nDatsun\t22.8\t4\n",
            "above the names of rows): --skip-lines 2 --header no",
        ),
    ] {
        let error = detected(sample).unwrap_err();
        let given = error.help().unwrap_or_default();
        assert!(given.contains(help), "{sample:?}: {error} {given}");
    }
}

#[test]
fn blank_lines_before_the_first_record_are_skipped() {
    assert_eq!(flags("\nid,n\n1,2\n"), "--delimiter ',' --skip-lines 1");
    assert_eq!(flags("# made by hand\n\nid,n\n1,2\n"), "--delimiter ',' --comment '#' --skip-lines 2");
    assert_eq!(flags("\r\n\r\nid\r\n1\r\n"), "--delimiter ',' --skip-lines 2");
    // It may be a row with a NULL.
    assert_eq!(flags("\n1\n2\n"), "--delimiter ','");
    let given = Dialect { blank_lines: Some(BlankLines::Skip), ..Dialect::default() };
    let sniffed = sniff("x.csv", b"\nid,n\n1,2\n", &given, Detect::ALL).unwrap();
    assert_eq!(sniffed.dialect.skip_lines, 0);
}

#[test]
fn confidence_is_rounded_down() {
    for (confidence, shown) in [(0.7199, 71.0), (0.72, 72.0), (0.7, 70.0), (0.999, 99.0), (1.0, 100.0)] {
        assert!((percent(confidence) - shown).abs() < 0.5, "{confidence}");
    }
}

#[test]
fn further_files_are_read_like_the_first_or_refused() {
    let check = |first: &str, other: &str| {
        let found = detected(first).unwrap();
        check_same(("b.csv", other.as_bytes(), false), ("a.csv", &found), &Dialect::default(), Detect::ALL)
            .map_err(|error| error.to_string())
    };
    let first = "id;name\n1;Ann\n2;Bo\n";
    for other in [first, "id;name\n", "id;name\n1;\"x;y\"\n", ""] {
        assert_eq!(check(first, other).err(), None, "{other:?}");
    }
    let error = check(first, "id,name\n1,Ann\n2,Bo\n").unwrap_err();
    let expected = "b.csv: its dialect is --delimiter ',', but that of a.csv is --delimiter ';'
  delimiter  quote  escape  header   columns  confidence  first record
  ,          \"      \"       yes      2        100 %       id | name
  ;          \"      \"       ";
    assert!(error.starts_with(expected), "{error}");
    let error = check("1;Ann\n2;Bo\n", first).unwrap_err();
    assert_eq!(error, "b.csv: its first record is a header, but that of a.csv is none");
    let error = check("t;v\n0;1\n", "t;v\ns;km/h\n0;1\n1;2\n").unwrap_err();
    assert!(error.starts_with("b.csv: several records of words"), "{error}");
    let error = check(first, "id;name\n1;12\" disk\n2;x\n").unwrap_err();
    assert!(error.contains("its dialect is --delimiter ';' --quote none"), "{error}");
}

#[test]
fn what_is_given_is_not_detected() {
    let given = Dialect { delimiter: b';', header: false, ..Dialect::default() };
    let detect = Detect { delimiter: false, header: false, ..Detect::ALL };
    let sniffed = sniff("x.csv", b"a,b;c\n1,2;3\n", &given, detect).unwrap();
    assert_eq!(sniffed.dialect.to_string(), "--delimiter ';' --no-header");
    let given = Dialect { delimiter: b',', ..Dialect::default() };
    let detect = Detect { stray_quotes: false, ..Detect::ALL };
    let strays = b"id,item,n\n1,\"a, b\",1\n2,12\" disk 2\",2\n";
    let dialect = sniff("x.csv", strays, &given, detect).unwrap().dialect;
    assert_eq!((dialect.quote, dialect.stray_quotes), (Some(b'"'), StrayQuotes::Postgres));
    // Without a quote, none would be removed, and none rejected.
    let pairs = b"id,item\n1,12\" disk 2\"\n2,15\" disk 1\"\n3,x\n";
    for (stray_quotes, quote) in
        [(StrayQuotes::Postgres, Some(b'"')), (StrayQuotes::Reject, Some(b'"')), (StrayQuotes::Keep, None)]
    {
        let given = Dialect { stray_quotes, ..Dialect::default() };
        let dialect = sniff("x.csv", pairs, &given, detect).unwrap().dialect;
        assert_eq!((dialect.quote, dialect.stray_quotes), (quote, stray_quotes));
    }
    let detect = Detect { skip_lines: false, ..Detect::ALL };
    assert_eq!(sniff("x.csv", b"\nid,n\n1,2\n", &given, detect).unwrap().dialect.skip_lines, 0);
    let detect = Detect { delimiter: false, ..Detect::ALL };
    assert_eq!(sniff("x.csv", b"\nid,n\n1,2\n", &given, detect).unwrap().dialect.skip_lines, 1);
    let only_header = Detect { header: true, ..Detect::NONE };
    let sniffed = sniff("x.csv", b"id;n\n1;2\n", &Dialect::default(), only_header).unwrap();
    assert_eq!(sniffed.dialect.to_string(), "--delimiter ','");
}

#[test]
fn comments_are_distinguished_from_a_header_that_begins_with_a_hash() {
    assert_eq!(flags("# made by hand\n# on Monday, late\nid,n\n1,2\n"), "--delimiter ',' --comment '#'");
    assert_eq!(flags("#id,n\n1,2\n3,4\n"), "--delimiter ','");
    let quoted = "# it works\"\n# so does this, \"\"\na,n\nx,\"alpha, beta\"\ny,\"z\"\n";
    assert_eq!(flags(quoted), "--delimiter ',' --comment '#'");
}

#[test]
fn encodings_are_among_the_flags() {
    let text = "name,city\nJosé,Málaga\n";
    let (latin, _, _) = WINDOWS_1252.encode(text);
    assert_eq!(flags(&latin), "--delimiter ',' --encoding windows-1252");
    let (japanese, _, _) = SHIFT_JIS.encode("番号,名前\n1,サウロン\n2,指輪物語\n");
    assert_eq!(flags(&japanese), "--delimiter ',' --encoding shift_jis");
    let marked: Vec<u8> =
        [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    assert_eq!(flags(&marked), "--delimiter ',' --encoding utf-16le");
    assert_eq!(detected("a\r\nb").unwrap().line_end, "CRLF");
}

#[test]
fn a_sample_may_end_anywhere() {
    let text = "id;text\n1;\"é, a\nb\"\n".to_owned() + &"22;\"né, a\nb\"\n".repeat(120_000);
    for skipped in 0..12 {
        let sniffed = detected(&text.as_bytes()[..SAMPLE_BYTES + skipped]).unwrap();
        assert_eq!(sniffed.dialect.to_string(), "--delimiter ';'");
    }
    for length in 0..40 {
        let _ = detected(&text.as_bytes()[..length]);
    }
    // A quote that is none takes no rows with it.
    let text =
        "id;item\n".to_owned() + &"1;tape\n".repeat(100) + "2;12\" disk\n" + &"3;tape\n".repeat(200_000);
    assert_eq!(flags(text), "--delimiter ';' --quote none");
}

#[test]
fn no_sample_panics() {
    let alphabet = b",;\t|: \"'\\#\n\rab1\0\xe9\xff";
    let mut random = 1_u64;
    for _ in 0..300 {
        let bytes = (0..64).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            alphabet[(random >> 33) as usize % alphabet.len()]
        });
        let _ = detected(bytes.collect::<Vec<u8>>());
    }
}

#[test]
fn it_prints_as_flags_with_evidence() {
    assert_eq!(
        detected("id;price\r\n1;2,50\r\n").unwrap().to_string(),
        "--delimiter ';'  # 2 fields in 2 records, 100 % confidence; header: the first record has text above a column of \
         values; line ending CRLF"
    );
}

//! The encoders of dates, times and intervals against the server, in sessions with different settings.

use crate::encode::oracle::{Oracle, Values};

/// Settings that change how the server reads the values that the encoders leave to it.
const SESSIONS: [&str; 3] = [
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'",
    "SET TimeZone = 'Europe/Berlin'; SET DateStyle = 'German, DMY'; SET IntervalStyle = 'sql_standard'",
    "SET TimeZone = 'America/St_Johns'; SET DateStyle = 'SQL, YMD'; SET IntervalStyle = 'iso_8601'",
];

/// Expand `{D}`, `{T}` and the other placeholders in `patterns` to regular expressions: dates, times of day,
/// fractions of a second, offsets, white space, and odd variants of them.
fn expand(patterns: &[&str]) -> Vec<String> {
    let parts = [
        ("{D}", "[12][0-9]{3}-(0[1-9]|1[0-2])-([01][1-9]|2[0-8])"),
        ("{Y}", "[0-9]{4,7}-(0?[0-9]|1[0-3])-([0-2]?[0-9]|3[0-2])"),
        ("{T}", "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"),
        ("{X}", "[0-2]?[0-9]:[0-6][0-9](:[0-6][0-9])?"),
        ("{F}", "[.][0-9]{1,9}"),
        ("{Z}", "(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)"),
        ("{O}", "(Z|z|UTC|[+-][01]?[0-9](:?[0-6][0-9](:[0-6][0-9])?)?)"),
        ("{S}", "[ \t\n\r\u{b}\u{c}]{0,2}"),
    ];
    let expand =
        |pattern: &&str| parts.iter().fold(pattern.to_string(), |all, (key, text)| all.replace(key, text));
    patterns.iter().map(expand).collect()
}

/// The plain type, which comes first, and in the first session those with modifiers too, as settings do not affect
/// these.
fn with_modified<'a>(session: &str, types: &'a [&'a str]) -> &'a [&'a str] {
    if session == SESSIONS[0] { types } else { &types[..1] }
}

async fn agree(oracle: &mut Oracle, sql_type: &str, common: &[&str], odd: &[&str], alphabet: &str) {
    let (common, odd) = (expand(common), expand(odd));
    let common: Vec<_> = common.iter().map(String::as_str).collect();
    let odd: Vec<_> = odd.iter().map(String::as_str).collect();
    oracle.agree(sql_type, &Values { common: &common, odd: &odd, alphabet }).await;
}

/// Boundaries, and values that an encoder once got wrong.
const MOMENTS: &str = "\
    | |.|-|0000-00-00|0000-01-01|0001-01-01|0001-01-01 BC|0000-01-01 BC|0001-02-29 BC|0005-02-29 BC|\
    0004-02-29 BC|0101-02-29 BC|4713-01-01 BC|4714-11-24 BC|4714-11-23 BC|4714-10-31 BC|4715-12-31 BC|\
    4714-11-24 00:00:00+00 BC|4714-11-24 00:00:00+01 BC|4714-11-23 23:00:00-01 BC|\
    4714-11-23 23:59:59.999999-00 BC|294276-12-31 23:59:59.999999|294276-12-31 23:59:59.9999995|\
    294276-12-31 23:59:59.9999994|294276-12-31 24:00:00|294277-01-01|294276-12-31 23:59:59.999999Z|\
    294277-01-01 00:59:59+01|294277-01-01 01:00:00+01|294276-12-31 23:00:00-01|\
    294277-01-09 04:00:54.775807|294277-01-09 04:00:54.775808|294277-01-09 05:00:00+15:59:59|\
    5874897-12-31|5874898-01-01|5874897-12-31 23:59:59|5874898-05-31|5874898-06-01|999999999-12-31|\
    4294967295-01-01|2147483648-01-01|9999999999-01-01|2000-02-29|1900-02-29|2100-02-29|2021-02-29|\
    2021-02-30|2021-04-31|2021-13-01|2021-00-01|2021-01-00|2021-12-32|2021-1-2|2021-001|2021.001|\
    021-01-02|21-01-02|20210102|20211301|20210229|00000101|210102|2021-12-31 23:59:60|\
    2021-12-31 23:59:60.000001|2021-12-31 23:59:60.0000004|2021-12-31 23:59:61|2021-12-31 23:60:00|\
    2021-12-31 23:58:60.5|2021-12-31 24:00:00|2021-12-31 24:00:00.0000004|2021-12-31 24:00:01|\
    2021-12-31 25:00:00|2021-12-31 24:00|2021-12-31 23:59:59.9999995|2021-12-31 23:59:59.9999999|\
    2021-12-31 23:59:59.0000005|2021-12-31 23:59:59.0000015|2021-12-31 23:59:59.0000025|\
    2021-12-31 23:59:59.123456500000000|2021-12-31 23:59:59.999999999999999|\
    2021-12-31 23:59:59.1234565000000001|2021-12-31 23:59:59.|2021-12-31 23:59.5|2021-12-31 9:05|\
    2021-12-31 9:5:1|2021-12-31 009:05:00|2021-12-31T23:59:59Z|2021-12-31t23:59:59z|2021-12-31T 23:59:59|\
    2021-12-31 T23:59:59|2021-12-31T|2021-12-31Z|2021-12-31 Z|2021-12-31+02:00|2021-12-31-02:00|\
    20211231T235959|20211231T235959Z|20211231T235959.5+02|20211231T235959-02|20211231T235959-02:30|\
    20211231T235959 -02:30|20211231T2359|20211231T996199|20211231T240000|20211231T235960|20211231 235959|\
    2021-12-31 235959|2021-12-31T235959|20211231T23:59:59|2021-12-31 10:00:00+15:59:59|\
    2021-12-31 10:00:00-15:59:59|2021-12-31 10:00:00+16|2021-12-31 10:00:00+15:60|\
    2021-12-31 10:00:00+02:00:60|2021-12-31 10:00:00+1559|2021-12-31 10:00:00+1560|\
    2021-12-31 10:00:00+1600|2021-12-31 10:00:00+015930|2021-12-31 10:00:00+2|2021-12-31 10:00:00+200|\
    2021-12-31 10:00:00 +02:00|2021-12-31 10:00:00 + 02:00|2021-12-31 10:00:00+02.00|\
    2021-12-31 10:00:00 UTC|2021-12-31 10:00:00UTC|2021-12-31 10:00:00 utc BC|2021-12-31 10:00:00 GMT|\
    2021-12-31 10:00:00 CET|2021-12-31 10:00:00 Europe/Paris|2021-12-31 10:00:00 UTC+2|\
    2021-12-31 10:00:00Z+2|2021-12-31 10:00:00Z Z|2021-12-31 10:00:00 PM|2021-12-31 BC|2021-12-31BC|\
    2021-12-31 AD|BC 2021-12-31|2021-12-31 BC 10:00:00|2021-12-31 10:00:00 BC|2021-12-31 10:00:00BC|\
    2021-12-31 10:00:00+02 BC|2021-12-31 10:00:00 BC+02|2021-12-31 10:00:00ZBC|infinity|-infinity|\
    +infinity|INFINITY| -Infinity |- infinity|infinity BC|inf|epoch|now|today|Tomorrow|yesterday|allballs|\
    noon|nan|NULL|n/a|unknown|current|invalid|undefined|Jan|jan.|Monday|utc|z|bc|t|é|03/04/2021|\
    2021/04/03|3.4.2021|J2451187|y2001m02d04|Jan 8, 1999|2021-Jan-08|2021-12-31 today|2021--12-31|\
    2021-12-31-|-2021-12-31|+2021-12-31|2021-12-31,|(2021-12-31)|2021-12-31\u{a0}|２０２１-12-31|\
    2021-03-28 02:30:00|2021-10-31 02:30:00";

#[tokio::test]
async fn dates_and_timestamps_agree() {
    let alphabet = "0123456789-:.+ TtZzBC/,\t\u{b}eUni";
    for session in SESSIONS {
        let mut oracle = Oracle::with(session).await;
        let utc = session.contains("UTC");
        let dates =
            ["{D}", " {D} ", "{D} BC", "{D} {T}", "{D}T{T}{Z}", "[12][0-9]{3}(0[1-9]|1[0-2])(0[1-9]|2[0-8])"];
        let local = ["{D} {T}", "{D}T{T}", "{D} {T}{F}", "{D}T{T}{F}", "{D}", " {D} {T} BC "];
        let zoned =
            ["{D} {T}{Z}", "{D}T{T}{Z}", "{D} {T}{F}{Z}", "{D}T{T}{F}{Z}", "{D} {T} {Z}", "{D} {T}{Z} BC"];
        let odd = [
            "{S}{Y}{S}",
            "{S}{Y}{S}( BC)?{S}",
            "{Y}[Tt ]{X}({F})?",
            "{Y}[Tt ]{X}({F})?{S}{O}( BC)?",
            "{D}[Tt ]{T}[.][0-9]{5}[05]{1,12}",
            "[0-9]{8}[Tt ][0-9]{4,6}({F})?({O})?",
            "[0-9]{1,3}[-/.][0-9]{1,3}[-/.][0-9]{1,4}",
            "[+-]?[iI]nfinit[yz]",
        ];
        let special: Vec<_> = MOMENTS.split('|').map(|value| value.as_bytes().to_vec()).collect();
        agree(&mut oracle, "date", &dates, &odd, alphabet).await;
        let both = [local, zoned].concat();
        for sql_type in with_modified(session, &["timestamp", "timestamp(3)", "timestamp(0)"]) {
            agree(&mut oracle, sql_type, &both, &odd, alphabet).await;
        }
        for sql_type in with_modified(session, &["timestamptz", "timestamptz(2)"]) {
            agree(&mut oracle, sql_type, if utc { &both } else { &zoned }, &odd, alphabet).await;
        }
        for sql_type in ["date", "timestamp", "timestamp(3)", "timestamptz"] {
            oracle.compare(sql_type, &special).await;
        }
    }
}

#[tokio::test]
async fn times_agree() {
    let alphabet = "0123456789:.+- ZzTtPMamBC\t";
    for session in SESSIONS {
        let mut oracle = Oracle::with(session).await;
        let local = ["{T}", "{T}{F}", " ?[0-9]:[0-5][0-9] ?"];
        let zoned = ["{T}{Z}", "{T}{F}{Z}", "{T} {Z}"];
        let odd = [
            "{S}{X}{S}",
            "{X}{F}",
            "{X}({F})?{S}{O}",
            "[0-9]{4,6}({F})?({O})?",
            "24:00:00({F})?",
            "23:59:[56]9{F}",
        ];
        let both = [local, zoned].concat();
        for sql_type in with_modified(session, &["time", "time(2)"]) {
            agree(&mut oracle, sql_type, &both, &odd, alphabet).await;
        }
        let common = if session.contains("UTC") { &both[..] } else { &zoned };
        for sql_type in with_modified(session, &["timetz", "timetz(0)"]) {
            agree(&mut oracle, sql_type, common, &odd, alphabet).await;
        }
        // All moments, and the times of day in them.
        let special: Vec<_> = MOMENTS
            .split('|')
            .flat_map(|value| [value, value.get(11..).unwrap_or_default()])
            .map(|value| value.as_bytes().to_vec())
            .collect();
        oracle.compare("time", &special).await;
        oracle.compare("timetz", &special).await;
    }
}

const SPANS: &str = "\
    | |.|P|PT|P1|PT0S|P1Y | P1Y|p1y|P1Y2M3W4DT5H6M7.8S|P-1Y2M|P+1Y|P1YT|P1D2D|P1M1Y|P0002-06-07T01:30:00|\
    P20210607|PT-0.5S|PT.5S|PT1.S|P1.5Y|PT1e3S|P1DT2D|PT2147483647S|PT2147483647.999999S|\
    PT2147483647.000001S|PT1073741824.000001S|PT-2147483647.123457S|PT2147483648S|P-1847653704D404876097W|\
    P178956970Y|P178956970Y7M|P178956970Y8M|P178956971Y|P2147483647M|P306783378W|P306783379W|\
    PT2147483647H2147483647M2147483647.999999S|PT2147483646H2147483646M2147483646.999999S|\
    178956970 years 7 mons|178956970 years 8 mons|\
    -178956970 years -8 mons|-178956970 years -8 mons ago|2147483647 days|-2147483648 days|\
    1 week 2147483647 days|2147483647:59:59.999999|2147483648:00:00|-2147483647:59:60.9999999|\
    00:00:00.0000005|00:00:00.0000015|00:00:60|00:00:61|00:60:00|+00:60:00|25:00:00|04:05|-04:05|04:05.5|\
    1 04:05:06|-1 04:05:06|1-2|-1-2|1 2|1|-1|1.5|1 day 1 day|1 day 1 week|1 hour 02:00:00|02:00:00 1 hour|\
    02:00:00 1 day|1 day, 2:03:04|-1 day, 23:59:00|1 day,|1 day , 2 hours|, 1 day|1, day|1 days 02:03:04|\
    -1 days +02:03:04|-1 days 02:03:04|-1 days -02:03:04|-0 days 02:03:04|+1 day -02:03:04|1 day-02:03:04|\
    -1 year 2 mons|-1 year +2 mons 3 days|-1 day|-1 day ago|1 day ago|1 day ago ago|ago|ago 1 day|@ 1 day|\
    @1 day|@ -1 day 2 hours|@ 1 day 2 hours ago|@ -1 day 2 hours ago|@ @ 1 day|@ 0|@|1 m|1 M|1 y|1 w|1 d|\
    1 h|1 s|1h30m|1h 30m 10s|1d|1.5 secs|-1.5 secs|-0.5 secs|1.0 secs|1.0 days|.5 secs|1. secs|\
    1.1234567 secs|5.0000005 secs|1 day 1.5 secs ago|1 s 1 ms|1 fortnight|1 decade|1 century|1 mil|\
    1 quarter|1 microsecond|infinity|-infinity|now|n/a|1 yearss|1 secondsx|1 minutess|1 month1 day|\
    1 day\u{a0}|1:2:3|1:02:03|100:00:00|0100:00:00|00000000001:00:00|- 1 day|+ 1 day|1 day - 02:00:00|\
    --1 day|1 day.|1 day/|1 day_";

#[tokio::test]
async fn intervals_agree() {
    let alphabet = "0123456789-+:.,@ PYMWDTHSdaysgo\t";
    let common = [
        "-?[1-9][0-9]?:[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?",
        "[0-9]{1,3} (days?|d|hours?|mins?|weeks?|mons?|months?|years?|seconds?)",
        "[0-9]{1,3} years? [0-9]{1,2} mons? [0-9]{1,2} days? {T}",
        "-[0-9]{1,3} days? [+-]{T}({F})?",
        "[0-9] days?,? [0-9]:[0-5][0-9]:[0-5][0-9]",
        "@ [0-9] years? [0-9] hours? -?[0-9]{1,2}([.][0-9]{1,6})? secs?( ago)?",
        "P[0-9]{1,3}Y[0-9]{1,2}M[0-9]{1,2}DT[0-9]{1,2}H[0-9]{1,2}M[0-9]{1,2}([.][0-9]{1,6})?S",
        "PT-?[0-9]{1,5}([.][0-9]{1,6})?S",
    ];
    let odd = [
        "(@ )?([+-]?[0-9]{1,3} ?(year|mon|day|week|hour|min|sec)s?,? ?){1,4}(ago)?",
        "([+-]?[0-9]{1,3} ?(year|mon|day|week)s?,? ?){0,3}[+-]?{X}({F})?( ago)?",
        "([0-9]{1,2}[ymwdhs] ?){1,4}",
        "[+-]?[0-9]{8,10} ?(year|mon|day|week|hour|min|sec)s?",
        "P(-?[0-9]{1,10}[YMWD]){0,3}(T(-?[0-9]{1,10}([.][0-9]{1,7})?[HMS]){0,3})?",
        "-?[0-9]{1,10}([.][0-9]{1,7})? (secs|seconds|days|hours)",
        "[0-9]{1,10} [a-z]{1,4}",
    ];
    let spans: Vec<_> = SPANS.split('|').map(|value| value.as_bytes().to_vec()).collect();
    for session in SESSIONS {
        let mut oracle = Oracle::with(session).await;
        let types = ["interval", "interval(2)", "interval minute to second", "interval year to month"];
        for sql_type in with_modified(session, &types) {
            agree(&mut oracle, sql_type, &common, &odd, alphabet).await;
            oracle.compare(sql_type, &spans).await;
        }
    }
}

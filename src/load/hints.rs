//! Remedies that fit a value that could not be read: what it looks like, and the flag that reads it.

use crate::encode::{DateTimeType, Encoder};
use crate::load::date_order::{DateOrder, numbers};
use crate::load::spelling::{Spelling, trim};

/// What files write where there is no value.
const NO_VALUE: [&str; 12] = ["na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", "\\n", "."];

/// The longest word that may be one for true or false.
const LONGEST_WORD: usize = 12;

/// Whether `value` is what files write where there is no value.
pub(super) fn is_no_value(value: &[u8]) -> bool {
    let text = std::str::from_utf8(value).map(|text| text.trim().to_ascii_lowercase());
    text.is_ok_and(|text| NO_VALUE.contains(&text.as_str()))
}

/// The remedy for the word `text`, which means that there is no value.
fn of_no_value(text: &str) -> String {
    format!("if {text} means that there is no value: --null '' --null '{text}'")
}

/// The remedies for `value`, which made a column of a new table text, and how numbers are written if the remedy is about
/// them; `None` if there is none.
pub(super) fn of_text(value: &[u8]) -> Option<(String, Option<Spelling>)> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if is_no_value(value) {
        return Some((of_no_value(text), None));
    }
    let help = of_number(text)?;
    let styles = [(b',', None), (b',', Some('.')), (b',', Some(' ')), (b'.', Some(',')), (b'.', Some('\''))];
    let spelling =
        |(decimal, thousands)| Spelling { decimal: Some(decimal), thousands, ..Spelling::default() };
    let reads = |spelling: &Spelling| {
        spelling.numbers().is_some_and(|style| style.rewrite(value, &mut Vec::new()).is_some())
    };
    let found = styles.into_iter().map(spelling).find(reads)?;
    Some((help, Some(found)))
}

/// The remedy for `value`, which `encoder` cannot read; `None` if it looks like nothing known.
pub(super) fn of_value(encoder: Option<&Encoder>, value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    if is_no_value(value) {
        return Some(of_no_value(text));
    }
    match encoder? {
        Encoder::Int2 | Encoder::Int4 | Encoder::Int8 => of_integer(text.trim()),
        Encoder::Float4 | Encoder::Float8 | Encoder::Numeric { .. } => of_number(text.trim()),
        Encoder::Bool => {
            let text = text.trim();
            let is_word = text.len() <= LONGEST_WORD && text.chars().all(char::is_alphabetic);
            is_word.then(|| format!("if {text} means true or false: --true '{text}' or --false '{text}'"))
        }
        Encoder::DateTime(
            DateTimeType::Date | DateTimeType::Timestamp | DateTimeType::TimestampTz { .. },
        ) => of_date(value),
        _ => None,
    }
}

/// The remedy for a value of a column of integers. A mark that may begin a fraction is not taken for one that groups digits:
/// the number would be a thousand times as large.
fn of_integer(text: &str) -> Option<String> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let Some((whole, fraction)) = unsigned.split_once(['.', ',']).filter(|(_, fraction)| digits(fraction))
    else {
        return of_number(text);
    };
    if !(whole.is_empty() || digits(whole)) {
        return of_number(text);
    }
    let may_group = unsigned.contains(',') && fraction.len() == 3;
    let grouped = if may_group { "; if the comma groups digits: --thousands ," } else { "" };
    Some(format!("the column is an integer, and the value has a fraction: make the column numeric{grouped}"))
}

/// The remedy for a number whose marks are not those of SQL.
fn of_number(text: &str) -> Option<String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_mark = |sign: char| matches!(sign, ',' | '.' | '\'' | ' ' | '\u{a0}' | '\u{202f}');
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || is_mark(c))
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || is_mark(c));
    if !is_number {
        return None;
    }
    let marks: Vec<(usize, char)> = digits.char_indices().filter(|(_, sign)| is_mark(*sign)).collect();
    let (first, (last_at, last)) = (marks.first()?.1, *marks.last()?);
    let flags = match (first, last) {
        (',', ',') if marks.len() == 1 && digits.len() - last_at == 4 && last_at > 0 => {
            return Some(
                "if the comma is the decimal mark: --decimal ,; if it groups digits: --thousands ,"
                    .to_owned(),
            );
        }
        (',', ',') if marks.len() == 1 => "--decimal ,".to_owned(),
        ('.', '.' | ',') => "--decimal , --thousands .".to_owned(),
        (group, ',') if group != ',' => format!("--decimal , --thousands '{group}'"),
        ('\'', _) => "--thousands \"'\"".to_owned(),
        (',', _) => "--thousands ,".to_owned(),
        (group, _) => format!("--thousands '{group}'"),
    };
    Some(format!("if this is how the files write numbers: {flags}"))
}

/// The remedy for a date in another order than the one it was read in, and for one that is a number of seconds.
pub(super) fn of_date(value: &[u8]) -> Option<String> {
    let Some(numbers) = numbers(value) else {
        let value = trim(value);
        let is_epoch = (9..=13).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        let help = "if this is a number of seconds or milliseconds since 1970: load it into a bigint column, and convert \
                    it with to_timestamp()";
        return is_epoch.then(|| help.to_owned());
    };
    let orders = DateOrder::ALL.into_iter().filter(|order| order.read(numbers).is_some());
    let flags: Vec<String> = orders.map(|order| order.name().to_ascii_lowercase()).collect();
    let all = "dmy, mdy or ymd".to_owned();
    let flags = if flags.is_empty() { all } else { flags.join(" or ") };
    Some(format!("say in which order the files write day, month and year: --date-style {flags}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_names_the_flag_that_reads_the_value() {
        let date = Encoder::DateTime(DateTimeType::Date);
        let numeric = Encoder::Numeric { infinity: true };
        for (encoder, value, flag) in [
            (&numeric, "1,5", Some("numbers: --decimal ,")),
            (&numeric, "-1.234,56", Some("numbers: --decimal , --thousands .")),
            (&numeric, "1.234.567", Some("numbers: --decimal , --thousands .")),
            (&numeric, "1,234,567.8", Some("numbers: --thousands ,")),
            (&numeric, "1,234", Some("if it groups digits: --thousands ,")),
            (&numeric, "1 234", Some("numbers: --thousands ' '")),
            (&numeric, "1 234,5", Some("numbers: --decimal , --thousands ' '")),
            (&numeric, "1'234.5", Some("numbers: --thousands \"'\"")),
            (&numeric, "1.5x", None),
            (&numeric, "x", None),
            (&Encoder::Int4, "1.250", Some("the value has a fraction: make the column numeric")),
            (&Encoder::Int8, "-12.5", Some("the value has a fraction")),
            (&Encoder::Int4, "1,250", Some("if the comma groups digits: --thousands ,")),
            (&Encoder::Int4, "1.234.567", Some("numbers: --decimal , --thousands .")),
            (&Encoder::Int4, "NA", Some("--null '' --null 'NA'")),
            (&Encoder::Uuid, "n/a", Some("--null '' --null 'n/a'")),
            (&date, "-", Some("--null '' --null '-'")),
            (&Encoder::Bool, "Oui", Some("--true 'Oui'")),
            (&Encoder::Bool, "2", None),
            (&date, "31/12/2026", Some("--date-style dmy")),
            (&date, "08.10.2026", Some("--date-style mdy or dmy")),
            (&date, "1700000000", Some("to_timestamp()")),
            (&date, "2026-02-30", None),
        ] {
            let remedy = of_value(Some(encoder), value.as_bytes());
            match flag {
                Some(flag) => {
                    assert!(remedy.as_ref().is_some_and(|it| it.contains(flag)), "{value}: {remedy:?}");
                }
                None => assert_eq!(remedy, None, "{value}"),
            }
        }
    }
}

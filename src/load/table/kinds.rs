//! Which types a value is of, and what a type would change about its spelling.
//!
//! A value is of a type only if the type keeps its value: `007` is not a number, nor is what has more digits than the
//! type holds.

use crate::load::date_order::DateOrder::{self, Dmy, Mdy, Ymd};
use crate::load::spelling::{WrittenClock, WrittenMoment, trim};

/// The most digits of a number before its decimal point, and after it, that `numeric` keeps whatever the exponent, of which
/// the digits are limited.
const MOST_WHOLE_DIGITS: usize = 130_000;
const MOST_DECIMALS: usize = 15_000;
const MOST_EXPONENT_DIGITS: usize = 3;

/// The types to choose from, besides `text` and `jsonb`, each with one way to read it. In order of preference: of those
/// that fit all values of a column, the first is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean,
    Integer,
    BigInt,
    Numeric,
    Double,
    Date(DateOrder),
    Timestamp(DateOrder),
    TimestampTz(DateOrder),
    Time,
    Uuid,
}

impl Kind {
    const ALL: [Kind; 16] = [
        Kind::Boolean,
        Kind::Integer,
        Kind::BigInt,
        Kind::Numeric,
        Kind::Double,
        Kind::Date(Ymd),
        Kind::Date(Dmy),
        Kind::Date(Mdy),
        Kind::Timestamp(Ymd),
        Kind::Timestamp(Dmy),
        Kind::Timestamp(Mdy),
        Kind::TimestampTz(Ymd),
        Kind::TimestampTz(Dmy),
        Kind::TimestampTz(Mdy),
        Kind::Time,
        Kind::Uuid,
    ];

    /// Its name in SQL.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Kind::Boolean => "boolean",
            Kind::Integer => "integer",
            Kind::BigInt => "bigint",
            Kind::Numeric => "numeric",
            Kind::Double => "double precision",
            Kind::Date(_) => "date",
            Kind::Timestamp(_) => "timestamp",
            Kind::TimestampTz(_) => "timestamptz",
            Kind::Time => "time",
            Kind::Uuid => "uuid",
        }
    }

    /// The order in which its dates are read; `None` if it has none.
    pub(crate) fn order(self) -> Option<DateOrder> {
        match self {
            Kind::Date(order) | Kind::Timestamp(order) | Kind::TimestampTz(order) => Some(order),
            _ => None,
        }
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kinds(u16);

impl Kinds {
    pub(crate) const NONE: Kinds = Kinds(0);
    pub(crate) const ALL: Kinds = Kinds(u16::MAX);
    const BOOLEAN: Kinds = Kinds(1);
    const NUMERIC: Kinds = Kinds(1 << 3);
    pub(crate) const DOUBLE: Kinds = Kinds(1 << 4);
    /// Those of numbers.
    pub(crate) const NUMBERS: Kinds = Kinds(0b1_1110);
    /// Those of dates, also with a time.
    pub(crate) const MOMENTS: Kinds = Kinds(0b11_1111_1110_0000);
    const TIME: Kinds = Kinds(1 << 14);
    const UUID: Kinds = Kinds(1 << 15);
    /// What a string of a format that has numbers and booleans of its own may be.
    pub(crate) const OF_STRINGS: Kinds = Kinds(Kinds::MOMENTS.0 | Kinds::TIME.0 | Kinds::UUID.0);
    /// Those of which `--infer exact` knows.
    pub(crate) const EXACT: Kinds = Kinds(0b1000_1001_0010_1111);

    fn of(kind: Kind) -> Kinds {
        let index = Kind::ALL.iter().position(|other| *other == kind).expect("all kinds are listed");
        Kinds(1 << index)
    }

    pub(crate) fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 & other.0)
    }

    fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    /// These kinds but numbers.
    pub(crate) fn without_numbers(self) -> Kinds {
        Kinds(self.0 & !Kinds::NUMBERS.0)
    }

    /// These kinds, of dates those that are read in `order` or begin with the year.
    pub(crate) fn in_order(self, order: DateOrder) -> Kinds {
        let is_read = |other: DateOrder| other == order || other == Ymd;
        let kinds = Kind::ALL.into_iter().filter(|kind| kind.order().is_none_or(is_read));
        self.and(kinds.fold(Kinds::NONE, |all, kind| all.or(Kinds::of(kind))))
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kind to choose; `None` if there is none, or if dates can be read in two orders.
    pub(crate) fn preferred(self) -> Option<Kind> {
        self.first().filter(|_| !self.is_ambiguous())
    }

    /// The first kind in order of preference.
    pub(crate) fn first(self) -> Option<Kind> {
        Kind::ALL.get(self.0.trailing_zeros() as usize).copied()
    }

    /// Whether the first kind is of dates that can be read in two orders.
    pub(crate) fn is_ambiguous(self) -> bool {
        let other = match self.first() {
            Some(Kind::Date(Dmy)) => Kind::Date(Mdy),
            Some(Kind::Timestamp(Dmy)) => Kind::Timestamp(Mdy),
            Some(Kind::TimestampTz(Dmy)) => Kind::TimestampTz(Mdy),
            _ => return false,
        };
        !self.and(Kinds::of(other)).is_empty()
    }
}

/// What a type changes about the spelling of a value, but not about the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Blanks,
    Word,
    Exponent,
    BarePoint,
    NegativeZero,
    DoubleSpelling,
    DateSpelling,
    IsoSpelling,
    NoSeconds,
    CapitalUuid,
}

impl Change {
    pub(crate) const ALL: [Change; 10] = [
        Change::Blanks,
        Change::Word,
        Change::Exponent,
        Change::BarePoint,
        Change::NegativeZero,
        Change::DoubleSpelling,
        Change::DateSpelling,
        Change::IsoSpelling,
        Change::NoSeconds,
        Change::CapitalUuid,
    ];

    /// What the values have that changes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Change::Blanks => "blanks around them",
            Change::Word => "another word than true or false",
            Change::Exponent => "an exponent",
            Change::BarePoint => "a decimal point without digits on one side",
            Change::NegativeZero => "a minus before zero",
            Change::DoubleSpelling => {
                "final zeros of a fraction, or too many zeros for double precision to print"
            }
            Change::DateSpelling => "a date or time in another spelling than ISO 8601",
            Change::IsoSpelling => "a T, an offset from UTC, or final zeros of a fraction",
            Change::NoSeconds => "a time without seconds",
            Change::CapitalUuid => "capitals in a UUID",
        }
    }

    fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// The kinds that a value is of, and the changes that they make to its spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub kinds: Kinds,
    changes: u16,
}

impl Reading {
    const TEXT: Reading = Reading { kinds: Kinds::NONE, changes: 0 };

    fn new(kinds: Kinds) -> Reading {
        Reading { kinds, changes: 0 }
    }

    fn changing(self, change: Change, is_made: bool) -> Reading {
        Reading { changes: self.changes | if is_made { change.bit() } else { 0 }, ..self }
    }

    /// The kinds, if they change nothing about the spelling, or only from one of ISO 8601 to another.
    pub(crate) fn unchanged(self) -> Kinds {
        let allowed = Change::IsoSpelling.bit() | Change::DoubleSpelling.bit();
        if self.changes & !allowed == 0 { self.kinds.and(Kinds::EXACT) } else { Kinds::NONE }
    }

    pub(crate) fn is_changed(self) -> bool {
        self.changes != 0
    }

    pub(crate) fn changes(self) -> impl Iterator<Item = Change> {
        Change::ALL.into_iter().filter(move |change| self.changes & change.bit() != 0)
    }
}

/// Read `value` as each of the kinds `wanted`.
pub(crate) fn read(value: &[u8], wanted: Kinds) -> Reading {
    let trimmed = trim(value);
    let Some(&first) = trimmed.first() else { return Reading::TEXT };
    let wants = |kinds: Kinds| !wanted.and(kinds).is_empty();
    let number = || match first {
        b'0'..=b'9' | b'-' | b'.' if wants(Kinds::NUMBERS) => number(trimmed),
        _ => None,
    };
    let moment = || {
        (first.is_ascii_digit() && wants(Kinds::MOMENTS.or(Kinds::TIME))).then(|| moment(trimmed)).flatten()
    };
    let word = || wants(Kinds::BOOLEAN.or(Kinds::DOUBLE)).then(|| word(trimmed)).flatten();
    let id = || wants(Kinds::UUID).then(|| uuid(trimmed)).flatten();
    let reading = number().or_else(word).or_else(moment).or_else(id).unwrap_or(Reading::TEXT);
    reading.changing(Change::Blanks, trimmed.len() != value.len())
}

/// Read a number without the white space around it.
fn number(value: &[u8]) -> Option<Reading> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let count = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, rest) = digits.split_at(count(digits));
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => {
            let (fraction, rest) = rest.split_at(count(rest));
            (Some(fraction), rest)
        }
        _ => (None, rest),
    };
    let exponent = match rest {
        [] => rest,
        [b'e' | b'E', exponent @ ..] => {
            let exponent = exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
            if exponent.is_empty() || count(exponent) < exponent.len() {
                return None;
            }
            exponent
        }
        _ => return None,
    };
    let has_exponent = !exponent.is_empty();
    let decimals = fraction.unwrap_or_default();
    let has_leading_zero = whole.len() > 1 && whole[0] == b'0';
    if (whole.is_empty() && decimals.is_empty())
        || has_leading_zero
        || whole.len() > MOST_WHOLE_DIGITS
        || decimals.len() > MOST_DECIMALS
    {
        return None;
    }
    let is_kept = is_kept_by_double(value, whole.len() + decimals.len(), exponent);
    let double = if is_kept { Kinds::DOUBLE } else { Kinds::NONE };
    let kinds = match (has_exponent, fraction) {
        (true, _) if exponent.len() > MOST_EXPONENT_DIGITS => double,
        (true, _) | (false, Some(_)) => Kinds::NUMERIC.or(double),
        (false, None) => integers(value).or(double),
    };
    let is_zero = whole.iter().chain(decimals).all(|digit| *digit == b'0');
    let is_bare = fraction.is_some() && (whole.is_empty() || decimals.is_empty());
    let reading = Reading::new(kinds).changing(Change::Exponent, has_exponent);
    let reading = reading.changing(Change::BarePoint, is_bare);
    // It prints numbers below 0.0001, and of more than 15 digits, with an exponent.
    let is_small = matches!(whole, b"" | b"0") && decimals.starts_with(b"0000");
    let is_printed_otherwise = decimals.ends_with(b"0") || whole.len() > 15 || is_small;
    let reading = reading.changing(Change::DoubleSpelling, is_printed_otherwise && !has_exponent);
    Some(reading.changing(Change::NegativeZero, is_zero && value.starts_with(b"-")))
}

/// The kinds of the whole number `value`, but for double precision.
fn integers(value: &[u8]) -> Kinds {
    const BIG: Kinds = Kinds(0b1100);
    const SMALL: Kinds = Kinds(0b1110);
    // Nine digits and a sign always fit.
    if value.len() <= 9 {
        return SMALL;
    }
    match std::str::from_utf8(value).ok().and_then(|number| number.parse::<i64>().ok()) {
        Some(number) if i32::try_from(number).is_ok() => SMALL,
        Some(_) => BIG,
        None => Kinds::NUMERIC,
    }
}

/// Whether `double precision` keeps all digits of the number `value`, which has `length` digits before its `exponent`.
fn is_kept_by_double(value: &[u8], length: usize, exponent: &[u8]) -> bool {
    if length <= 15 && exponent.len() <= 2 {
        return true;
    }
    let digits = |text: &str| {
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
        digits.trim_start_matches('0').trim_end_matches('0').to_owned()
    };
    let Ok(text) = std::str::from_utf8(value) else { return false };
    // The shortest digits that are read as the same number.
    let is_kept = |number: f64| number.is_finite() && digits(text) == digits(&format!("{number:e}"));
    text.parse().is_ok_and(is_kept)
}

/// Which words for booleans a column has. `NO` may be a country, and `F` a sex: such a word is one for false only beside one
/// for true.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WordsSeen {
    for_true: bool,
    for_false: bool,
    /// A word that may stand for something else.
    short: bool,
}

impl WordsSeen {
    /// Add a word; `is_declared` tells that the user has declared it as one for a boolean.
    pub(crate) fn add(&mut self, word: &[u8], is_declared: bool) {
        if is_declared {
            (self.for_true, self.for_false) = (true, true);
        }
        let word = word.trim_ascii();
        self.for_true |= word.first().is_some_and(|first| b"tTyY".contains(first));
        self.for_false |= word.first().is_some_and(|first| b"fFnN".contains(first));
        self.short |= word.len() < b"true".len();
    }

    /// Whether all of them are words for booleans.
    pub(crate) fn are_boolean(self) -> bool {
        !self.short || (self.for_true && self.for_false)
    }
}

/// Read a word for a boolean, or NaN.
fn word(value: &[u8]) -> Option<Reading> {
    let is_one_of = |words: &[&str]| words.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()));
    if matches!(value, b"true" | b"false" | b"t" | b"f") {
        return Some(Reading::new(Kinds::BOOLEAN));
    }
    if value.len() <= 5 && is_one_of(&["true", "false", "t", "f", "yes", "no"]) {
        return Some(Reading::new(Kinds::BOOLEAN).changing(Change::Word, true));
    }
    value.eq_ignore_ascii_case(b"nan").then_some(Reading::new(Kinds::DOUBLE))
}

/// Read a date, a date and time, or a time of day, without the white space around it.
fn moment(value: &[u8]) -> Option<Reading> {
    let Some(moment) = WrittenMoment::parse(value) else {
        let clock =
            WrittenClock::parse(value).filter(|clock| is_kept(clock) && clock.is_morning.is_none())?;
        let is_time = clock.zone.is_empty();
        let reading = Reading::new(if is_time { Kinds::TIME } else { Kinds::NONE });
        let reading = reading.changing(Change::NoSeconds, clock.second.is_none());
        let reading = reading.changing(Change::IsoSpelling, clock.fraction.ends_with(b"0"));
        return Some(reading.changing(Change::DateSpelling, clock.hour.len() < 2));
    };
    if moment.clock.is_some_and(|clock| !is_kept(&clock)) {
        return None;
    }
    let kind = |order| match moment.clock {
        None => Kind::Date(order),
        Some(clock) if clock.zone.is_empty() => Kind::Timestamp(order),
        Some(_) => Kind::TimestampTz(order),
    };
    let mut kinds = Kinds::NONE;
    for order in [Ymd, Dmy, Mdy].into_iter().filter(|order| moment.date(*order).is_some()) {
        kinds = kinds.or(Kinds::of(kind(order)));
    }
    let [_, month, day] = moment.numbers;
    let is_padded = month.len() == 2 && day.len() == 2;
    let is_iso = moment.mark == b'-' && is_padded && moment.numbers[0].len() == 4;
    // More likely the version of a program.
    if moment.mark == b'.' && moment.numbers[0].len() == 4 && !is_padded {
        return None;
    }
    let is_iso_clock = moment.clock.is_none_or(|clock| clock.hour.len() == 2 && clock.is_morning.is_none());
    let reading = Reading::new(kinds).changing(Change::DateSpelling, !is_iso || !is_iso_clock);
    let is_printed_otherwise =
        moment.clock.is_some_and(|clock| !clock.zone.is_empty() || clock.fraction.ends_with(b"0"));
    let reading = reading.changing(Change::IsoSpelling, is_printed_otherwise || value.contains(&b'T'));
    let has_seconds = moment.clock.is_none_or(|clock| clock.second.is_some());
    Some(reading.changing(Change::NoSeconds, !has_seconds))
}

/// Whether PostgreSQL, which stores microseconds, keeps all of `clock`.
fn is_kept(clock: &WrittenClock<'_>) -> bool {
    clock.fraction.len() <= 9 && clock.fraction.iter().skip(6).all(|digit| *digit == b'0')
}

/// Read a UUID: `8-4-4-4-12` hexadecimal digits.
fn uuid(value: &[u8]) -> Option<Reading> {
    let is_uuid = value.len() == 36
        && value.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    let has_capitals = || value.iter().any(u8::is_ascii_uppercase);
    is_uuid.then(|| Reading::new(Kinds::UUID).changing(Change::CapitalUuid, has_capitals()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_keep_what_they_print_again() {
        for (value, expected) in [
            ("1e5", true),
            ("0.1", true),
            ("1.7976931348623157e308", true),
            ("5e-324", true),
            ("1e309", false),
            ("1e-400", false),
            ("0.1234567890123456789", false),
            ("9007199254740993", false),
            ("9007199254740992", true),
            ("100000000000000000000", true),
        ] {
            let (mantissa, exponent) = value.split_once('e').unwrap_or((value, ""));
            let kept = is_kept_by_double(value.as_bytes(), mantissa.len(), exponent.as_bytes());
            assert_eq!(kept, expected, "{value}");
        }
    }

    #[test]
    fn sets_of_kinds_agree_with_their_list() {
        let all = Kind::ALL.iter().fold(Kinds::NONE, |all, kind| all.or(Kinds::of(*kind)));
        assert_eq!(all, Kinds::ALL);
        for (kinds, expected) in [
            (Kinds::BOOLEAN, "boolean"),
            (Kinds::DOUBLE, "double precision"),
            (Kinds::NUMBERS, "integer bigint numeric double precision"),
            (Kinds::TIME, "time"),
            (Kinds::UUID, "uuid"),
            (Kinds::EXACT, "boolean integer bigint numeric date timestamp timestamptz uuid"),
        ] {
            let names: Vec<&str> = Kind::ALL
                .iter()
                .filter(|kind| !kinds.and(Kinds::of(**kind)).is_empty())
                .map(|kind| kind.sql())
                .collect();
            assert_eq!(names.join(" "), expected);
        }
        assert_eq!(Kinds::MOMENTS, Kinds(0x3fe0));
    }
}

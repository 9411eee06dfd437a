//! The arguments of a workload, drawn from a seed.
//!
//! The arguments of a workload's n-th query depend on the seed, its name and n alone, so the same seed asks the same
//! questions whatever the number of connections, and whichever of them gets to ask.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use postgres_types::{Format, IsNull, ToSql, Type, to_sql_checked};
use rand::TryRng;
use rand_distr::{Distribution as _, StandardNormal, StandardUniform, Zipf};

use crate::csv::{self, DEFAULT_MAX_RECORD_BYTES, Dialect, Field, Files, Inputs};
use crate::query::workload::spec::{Bound, Distribution};
use crate::{Error, Result};

/// Where the values of one parameter come from, with every bound known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// The same every time.
    Constant(String),
    /// Whole numbers from `low` on, `span` of them; 0 stands for 2⁶⁴.
    Whole {
        /// The lowest.
        low: i64,
        /// How many there are.
        span: u64,
        /// How likely each is.
        shape: Shape,
    },
    /// Fractions, all equally likely.
    Real {
        /// The lowest.
        low: f64,
        /// The highest.
        high: f64,
    },
    /// One of these, all equally likely.
    Choice(Arc<[String]>),
    /// These, one after the other.
    Lines(Arc<[Option<String>]>),
}

/// How likely each of a range of whole numbers is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// All alike.
    Uniform,
    /// Normal around the middle, with the ends so many standard deviations away, as pgbench's `random_gaussian`.
    Gaussian(f64),
    /// Exponentially falling from the low end by this rate over the range, as pgbench's `random_exponential`.
    Exponential(f64),
    /// The n-th is n to this power less likely than the first, as pgbench's `random_zipfian`.
    Zipfian(f64),
    /// In turn.
    Sequence,
}

/// One argument, sent in text format: the server reads it as whatever type the parameter has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Argument<'a> {
    /// As it stands in the configuration, a column or a file.
    Text(&'a str),
    /// Distribution for this query.
    Number(i64),
    /// Distribution for this query.
    Real(f64),
    /// An empty field of a file.
    Null,
}

impl Source {
    /// The source that `drawn` describes, of `rows` rows in the table; columns and files are read elsewhere.
    ///
    /// # Errors
    /// When a range is empty, or what shapes it is out of its own range; the message completes "argument 1 …".
    pub(crate) fn of(drawn: &Distribution, rows: u64) -> Result<Source> {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        match drawn {
            Distribution::Uniform([low, high])
                if [low, high].iter().any(|bound| matches!(bound, Bound::Real(_))) =>
            {
                let real = |bound: &Bound| match bound {
                    Bound::Number(number) => *number as f64,
                    Bound::Real(number) => *number,
                    Bound::Rows(_) => rows as f64,
                };
                let (low, high) = (real(low), real(high));
                if (high - low).is_finite() && low <= high {
                    return Ok(Source::Real { low, high });
                }
                Err(empty("uniform", &low, &high))
            }
            Distribution::Uniform([low, high]) => whole("uniform", [low, high], rows, Shape::Uniform),
            Distribution::Sequence([low, high]) => whole("a sequence", [low, high], rows, Shape::Sequence),
            Distribution::Gaussian(low, high, spread) => {
                within("the spread of a gaussian", *spread, 2.0..=100.0)?;
                whole("gaussian", [low, high], rows, Shape::Gaussian(*spread))
            }
            Distribution::Exponential(low, high, rate) => {
                within("the rate of an exponential", *rate, 1e-6..=700.0)?;
                whole("exponential", [low, high], rows, Shape::Exponential(*rate))
            }
            Distribution::Zipfian(low, high, exponent) => {
                within("the exponent of a zipfian", *exponent, 0.0..=1000.0)?;
                whole("zipfian", [low, high], rows, Shape::Zipfian(*exponent))
            }
            Distribution::Choice(values) if values.is_empty() => {
                Err(Error::config("is a choice of nothing").with_help("give one value or more"))
            }
            Distribution::Choice(values) => {
                Ok(Source::Choice(values.iter().map(ToString::to_string).collect()))
            }
            Distribution::Column(_) | Distribution::Csv(..) | Distribution::Shared(_) => {
                unreachable!("what is read, and what is drawn by name, is resolved by the workload")
            }
        }
    }

    /// The value of argument number `position` of query `index`.
    pub(crate) fn draw(&self, seed: u64, index: u64, position: usize) -> Argument<'_> {
        let mut random = Stream::new(seed, index, position);
        match self {
            Source::Constant(value) => Argument::Text(value),
            Source::Whole { low, span, shape } => {
                let offset = match shape {
                    Shape::Uniform => random.below(*span),
                    Shape::Sequence => index.checked_rem(*span).unwrap_or(index),
                    Shape::Zipfian(exponent) => zipfian(&mut random, *span, *exponent),
                    Shape::Gaussian(spread) => part_of(*span, gaussian(&mut random, *spread)),
                    Shape::Exponential(rate) => part_of(*span, exponential(&mut random, *rate)),
                };
                Argument::Number(low.wrapping_add_unsigned(offset))
            }
            Source::Real { low, high } => Argument::Real(low + (high - low) * random.fraction()),
            Source::Choice(values) => Argument::Text(&values[random.below(values.len() as u64) as usize]),
            Source::Lines(values) => match &values[(index % values.len() as u64) as usize] {
                Some(value) => Argument::Text(value),
                None => Argument::Null,
            },
        }
    }
}

fn whole(what: &str, bounds: [&Bound; 2], rows: i64, shape: Shape) -> Result<Source> {
    let [low, high] = bounds.map(|bound| match bound {
        Bound::Number(number) => Ok(*number),
        Bound::Rows(_) => Ok(rows),
        Bound::Real(number) => Err(Error::config(format!("is {what} and ends at the fraction {number}"))
            .with_help("give whole numbers")),
    });
    let (low, high) = (low?, high?);
    if low > high {
        return Err(empty(what, &low, &high));
    }
    Ok(Source::Whole { low, span: high.wrapping_sub(low).wrapping_add(1).cast_unsigned(), shape })
}

fn empty(what: &str, low: &impl ToString, high: &impl ToString) -> Error {
    Error::config(format!(
        "is {what} from {} to {}, which holds no number",
        low.to_string(),
        high.to_string()
    ))
    .with_help("put the lower end first")
}

fn within(what: &str, value: f64, range: std::ops::RangeInclusive<f64>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Error::config(format!("has {value} as {what}")).with_help(format!(
        "give a number from {} to {}",
        range.start(),
        range.end()
    )))
}

/// How many of `span` values are below the `fraction` of them, so that each value has its share of 0..1.
fn part_of(span: u64, fraction: f64) -> u64 {
    let (values, last) = if span == 0 { (2f64.powi(64), u64::MAX) } else { (span as f64, span - 1) };
    ((values * fraction) as u64).min(last)
}

/// A number in 0..1, normal around ½ with both ends `spread` standard deviations away; further ones are drawn again.
fn gaussian(random: &mut Stream, spread: f64) -> f64 {
    loop {
        let deviations: f64 = StandardNormal.sample(random);
        if (-spread..spread).contains(&deviations) {
            return (deviations + spread) / (2.0 * spread);
        }
    }
}

/// A number in 0..1 whose density falls by e^-rate from one end to the other, by inversion.
fn exponential(random: &mut Stream, rate: f64) -> f64 {
    let end = (-rate).exp();
    -(end + (1.0 - end) * (1.0 - random.fraction())).ln() / rate
}

/// From 0 up to `span` exclusively.
fn zipfian(random: &mut Stream, span: u64, exponent: f64) -> u64 {
    let values = if span == 0 { 2f64.powi(64) } else { span as f64 };
    let rank: f64 =
        Zipf::new(values, exponent).expect("the range and the exponent were checked").sample(random);
    (rank as u64).clamp(1, if span == 0 { u64::MAX } else { span }) - 1
}

/// Random numbers of one argument of one query: `SplitMix64` (Steele, Lea and Flood, 2014), which can be entered
/// anywhere; seed, query and argument are mixed first, so that neighbours have unrelated streams.
pub(crate) struct Stream(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Stream {
    /// The stream of argument number `position` of query `index`.
    pub(crate) fn new(seed: u64, index: u64, position: usize) -> Stream {
        let query = mix(seed.wrapping_add(STEP)).wrapping_add(index.wrapping_add(1).wrapping_mul(STEP));
        Stream(mix(query).wrapping_add(mix((position as u64).wrapping_add(STEP))))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number below `span`, or any if that is 0: Lemire's multiplication, uneven by less than span / 2⁶⁴.
    pub(crate) fn below(&mut self, span: u64) -> u64 {
        match span {
            0 => self.next(),
            span => ((u128::from(self.next()) * u128::from(span)) >> 64) as u64,
        }
    }

    /// A number from 0 up to 1 exclusively.
    pub(crate) fn fraction(&mut self) -> f64 {
        StandardUniform.sample(self)
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl std::fmt::Display for Argument<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Argument::Text(text) => f.write_str(text),
            Argument::Number(number) => number.fmt(f),
            Argument::Real(number) => number.fmt(f),
            Argument::Null => f.write_str("NULL"),
        }
    }
}

impl ToSql for Argument<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Argument::Text(text) => out.put_slice(text.as_bytes()),
            Argument::Number(number) => out.put_slice(itoa::Buffer::new().format(*number).as_bytes()),
            Argument::Real(number) => out.put_slice(number.to_string().as_bytes()),
            Argument::Null => return Ok(IsNull::Yes),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// The values of `column` of the CSV file at `path`.
///
/// # Errors
/// When it cannot be read, has no such column or no rows, or one is not UTF-8.
pub(crate) fn lines(path: &Path, column: &str) -> Result<Source> {
    let inputs = Inputs::resolve(&[path.to_owned()])?;
    let format = csv::InputFormat {
        dialect: Dialect::default(),
        sniff: false,
        max_record_bytes: DEFAULT_MAX_RECORD_BYTES,
    };
    let mut files = Files::open(inputs, format)?;
    let names = files.header().map(|header| header.names.clone()).unwrap_or_default();
    let Some(index) = names.iter().position(|name| name == column) else {
        return Err(Error::config(format!(
            "is column {column} of {}, which has none of that name",
            path.display()
        ))
        .with_help(if names.is_empty() {
            "the file is empty".to_owned()
        } else {
            format!("its columns are {}", names.join(", "))
        }));
    };
    let (mut values, mut scratch) = (Vec::new(), Vec::new());
    while let Some((record, name)) = files.next_named()? {
        if record.len() <= index {
            return Err(Error::input(format!(
                "{name}, line {}: there is no field for {column}",
                record.line
            )));
        }
        values.push(match record.field(index, &mut scratch) {
            Field::Null => None,
            Field::Value(value) => {
                let Ok(value) = std::str::from_utf8(value) else {
                    let line = record.line;
                    return Err(Error::input(format!("{name}, line {line}: {column} is not UTF-8"))
                        .with_help("write the file in UTF-8, as by iconv -t utf-8"));
                };
                Some(value.to_owned())
            }
        });
    }
    if values.is_empty() {
        return Err(Error::config(format!("is a column of {}, which has no rows", path.display())));
    }
    Ok(Source::Lines(values.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::workload::spec::Rows;

    fn source(drawn: &Distribution) -> Source {
        Source::of(drawn, 10).unwrap()
    }

    fn numbers(source: &Source, seed: u64) -> Vec<i64> {
        let number = |index| match source.draw(seed, index, 0) {
            Argument::Number(number) => number,
            other => panic!("{other:?}"),
        };
        (0..10_000).map(number).collect()
    }

    fn share(drawn: &[i64], of: impl Fn(i64) -> bool) -> f64 {
        drawn.iter().filter(|&&number| of(number)).count() as f64 / drawn.len() as f64
    }

    #[track_caller]
    fn is_about(found: f64, expected: f64) {
        assert!((found - expected).abs() < 0.02, "{found} is not about {expected}");
    }

    #[test]
    fn a_range_includes_both_ends_and_is_even() {
        let drawn = numbers(&source(&Distribution::Uniform([Bound::Number(22), Bound::Number(65)])), 1);
        for age in 22..=65 {
            let count = drawn.iter().filter(|&&number| number == age).count();
            assert!((150..310).contains(&count), "{age} was drawn {count} times of about 227");
        }
        assert!(drawn.iter().all(|age| (22..=65).contains(age)));
    }

    #[test]
    fn the_seed_decides() {
        let range = source(&Distribution::Uniform([Bound::Number(i64::MIN), Bound::Number(i64::MAX)]));
        assert_eq!(numbers(&range, 7), numbers(&range, 7));
        assert_ne!(numbers(&range, 7), numbers(&range, 8));
        assert_ne!(range.draw(7, 0, 0), range.draw(7, 0, 1));
    }

    #[test]
    fn rows_stand_for_the_tables_rows() {
        let drawn = numbers(&source(&Distribution::Uniform([Bound::Number(1), Bound::Rows(Rows::Rows)])), 1);
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&1), Some(&10)));
    }

    #[test]
    fn a_gaussian_has_its_middle_in_the_middle() {
        // Of a normal distribution 68.3 % are within one deviation; the ends are 4 deviations away.
        let drawn = numbers(&source(&Distribution::Gaussian(Bound::Number(0), Bound::Number(7999), 4.0)), 1);
        is_about(share(&drawn, |number| (3000..5000).contains(&number)), 0.683);
        is_about(share(&drawn, |number| number < 4000), 0.5);
        assert!(drawn.iter().all(|number| (0..8000).contains(number)));
    }

    #[test]
    fn an_exponential_falls_from_its_low_end() {
        // The integral of the density from 0 to x is (1 - e^-5x) / (1 - e^-5).
        let drawn =
            numbers(&source(&Distribution::Exponential(Bound::Number(0), Bound::Number(9999), 5.0)), 1);
        for x in [0.1, 0.2, 0.5] {
            let expected = (1.0 - f64::exp(-5.0 * x)) / (1.0 - f64::exp(-5.0));
            is_about(share(&drawn, |number| (number as f64) < 10_000.0 * x), expected);
        }
    }

    #[test]
    fn a_zipfian_falls_by_rank() {
        let drawn = numbers(&source(&Distribution::Zipfian(Bound::Number(1), Bound::Number(100), 1.0)), 1);
        let harmonic: f64 = (1..=100).map(|n| 1.0 / f64::from(n)).sum();
        for rank in [1, 2, 5] {
            is_about(share(&drawn, |number| number == rank), 1.0 / rank as f64 / harmonic);
        }
        assert!(drawn.iter().all(|number| (1..=100).contains(number)));
    }

    #[test]
    fn a_sequence_begins_again() {
        let sequence = source(&Distribution::Sequence([Bound::Number(3), Bound::Number(5)]));
        assert_eq!(numbers(&sequence, 1)[..5], [3, 4, 5, 3, 4]);
    }

    #[test]
    fn fractions_are_drawn_between_fractions() {
        let source = source(&Distribution::Uniform([Bound::Real(0.5), Bound::Number(1)]));
        for index in 0..1000 {
            assert!(matches!(source.draw(1, index, 0), Argument::Real(0.5..1.0)));
        }
    }

    #[test]
    fn what_holds_no_number_is_refused() {
        let refused = |drawn| Source::of(&drawn, 0).unwrap_err().to_string();
        assert_eq!(
            refused(Distribution::Uniform([Bound::Number(2), Bound::Number(1)])),
            "is uniform from 2 to 1, which holds no number"
        );
        assert_eq!(
            refused(Distribution::Gaussian(Bound::Number(1), Bound::Number(2), 1.0)),
            "has 1 as the spread of a gaussian"
        );
        assert_eq!(
            refused(Distribution::Sequence([Bound::Number(1), Bound::Real(2.5)])),
            "is a sequence and ends at the fraction 2.5"
        );
        assert_eq!(refused(Distribution::Choice(vec![])), "is a choice of nothing");
    }
}

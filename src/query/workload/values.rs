//! The arguments of a workload, drawn from a seed.
//!
//! The arguments of the n-th iteration of a workload depend on the seed, its name and n alone. So the same seed gives
//! the same queries whatever the number of connections, and whichever of them sends a query.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use postgres_types::{Format, IsNull, ToSql, Type, to_sql_checked};
use rand_distr::{Distribution as _, StandardNormal, Zipf};

use crate::query::workload::random::RandomStream;
use crate::query::workload::spec::{Bound, Distribution};
use crate::{Error, Result};

/// Where the values of one parameter come from, completely resolved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ValueSource {
    /// The same value every time.
    Constant(String),
    /// Whole numbers.
    Whole {
        /// The lowest number.
        low: i64,
        /// How many numbers there are from `low` up; 0 stands for 2⁶⁴.
        span: u64,
        /// How likely each number is.
        shape: RangeShape,
    },
    /// Fractions, uniformly distributed.
    Real {
        /// The lower bound.
        low: f64,
        /// The upper bound.
        high: f64,
    },
    /// One of these values, all equally likely.
    Choice(Arc<[String]>),
    /// These values in order, and from the first again after the last.
    Lines(Arc<[Option<String>]>),
}

impl ValueSource {
    /// The length of its longest value, in bytes; 0 for numbers, which are short.
    pub(crate) fn longest(&self) -> usize {
        let longest = match self {
            ValueSource::Constant(value) => Some(value.len()),
            ValueSource::Choice(values) => values.iter().map(String::len).max(),
            ValueSource::Lines(values) => values.iter().flatten().map(String::len).max(),
            ValueSource::Whole { .. } | ValueSource::Real { .. } => None,
        };
        longest.unwrap_or(0)
    }
}

/// How likely each of a range of whole numbers is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RangeShape {
    /// All equally likely.
    Uniform,
    /// Normal around the middle, with the ends this number of standard deviations away, as pgbench's `random_gaussian`.
    Gaussian(f64),
    /// Exponentially decreasing from the low end, by this rate over the range, as pgbench's `random_exponential`.
    Exponential(f64),
    /// The n-th number is less likely than the first by a factor of n to this power, as pgbench's `random_zipfian`.
    Zipfian(f64),
    /// Not random: each number in turn.
    Sequence,
}

/// One argument, sent in text format, so that the server parses it as the type of the parameter; whole numbers in the
/// binary format where the parameter is an integer that holds them, which costs both sides less.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Argument<'a> {
    /// A value as written in the configuration, a column or a file.
    Text(&'a str),
    /// A whole number drawn for this query.
    Number(i64),
    /// A fraction drawn for this query.
    Real(f64),
    /// An empty field of a file.
    Null,
}

impl ValueSource {
    /// The source that `distribution` describes, with `rows` rows in the configured table. Columns of tables and files,
    /// and the rows of other tables, are not for here: they have to be read.
    ///
    /// # Errors
    /// When a range is empty, or a parameter of the distribution is out of range; the message completes "argument 1 …".
    pub(crate) fn new(distribution: &Distribution, rows: u64) -> Result<ValueSource> {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        match distribution {
            Distribution::Uniform([low, high])
                if [low, high].iter().any(|bound| matches!(bound, Bound::Real(_))) =>
            {
                let real = |bound: &Bound| match bound {
                    Bound::Number(number) => *number as f64,
                    Bound::Real(number) => *number,
                    Bound::Rows(_) => rows as f64,
                    Bound::RowsOf(_) => unreachable!("the workload counts the rows of other tables"),
                };
                let (low, high) = (real(low), real(high));
                if (high - low).is_finite() && low <= high {
                    return Ok(ValueSource::Real { low, high });
                }
                Err(empty("uniform", &low, &high))
            }
            Distribution::Uniform([low, high]) => whole("uniform", [low, high], rows, RangeShape::Uniform),
            Distribution::Sequence([low, high]) => {
                whole("a sequence", [low, high], rows, RangeShape::Sequence)
            }
            Distribution::Gaussian(low, high, spread) => {
                within("the spread of a gaussian", *spread, 2.0..=100.0)?;
                whole("gaussian", [low, high], rows, RangeShape::Gaussian(*spread))
            }
            Distribution::Exponential(low, high, rate) => {
                within("the rate of an exponential", *rate, 1e-6..=700.0)?;
                whole("exponential", [low, high], rows, RangeShape::Exponential(*rate))
            }
            Distribution::Zipfian(low, high, exponent) => {
                within("the exponent of a zipfian", *exponent, 0.0..=1000.0)?;
                whole("zipfian", [low, high], rows, RangeShape::Zipfian(*exponent))
            }
            Distribution::Choice(values) if values.is_empty() => {
                Err(Error::config("is a choice without values").with_help("give at least one value"))
            }
            Distribution::Choice(values) => {
                Ok(ValueSource::Choice(values.iter().map(ToString::to_string).collect()))
            }
            Distribution::Column(_) | Distribution::Csv(..) | Distribution::Shared(_) => {
                unreachable!("the workload resolves columns and names")
            }
        }
    }

    /// The value at `position` among those of the workload, in iteration `index`.
    pub(crate) fn draw(&self, seed: u64, index: u64, position: usize) -> Argument<'_> {
        let mut random = RandomStream::new(seed, index, position);
        match self {
            ValueSource::Constant(value) => Argument::Text(value),
            ValueSource::Whole { low, span, shape } => {
                let offset = match shape {
                    RangeShape::Uniform => random.below(*span),
                    RangeShape::Sequence => index.checked_rem(*span).unwrap_or(index),
                    RangeShape::Zipfian(exponent) => zipfian(&mut random, *span, *exponent),
                    RangeShape::Gaussian(spread) => part_of(*span, gaussian(&mut random, *spread)),
                    RangeShape::Exponential(rate) => part_of(*span, exponential(&mut random, *rate)),
                };
                Argument::Number(low.wrapping_add_unsigned(offset))
            }
            ValueSource::Real { low, high } => Argument::Real(low + (high - low) * random.fraction()),
            ValueSource::Choice(values) => {
                Argument::Text(&values[random.below(values.len() as u64) as usize])
            }
            ValueSource::Lines(values) => match &values[(index % values.len() as u64) as usize] {
                Some(value) => Argument::Text(value),
                None => Argument::Null,
            },
        }
    }
}

fn whole(what: &str, bounds: [&Bound; 2], rows: i64, shape: RangeShape) -> Result<ValueSource> {
    let [low, high] = bounds.map(|bound| match bound {
        Bound::Number(number) => Ok(*number),
        Bound::Rows(_) => Ok(rows),
        Bound::RowsOf(_) => unreachable!("the workload counts the rows of other tables"),
        Bound::Real(number) => Err(Error::config(format!("is {what} with the fractional bound {number}"))
            .with_help("give whole numbers")),
    });
    let (low, high) = (low?, high?);
    if low > high {
        return Err(empty(what, &low, &high));
    }
    Ok(ValueSource::Whole { low, span: high.wrapping_sub(low).wrapping_add(1).cast_unsigned(), shape })
}

fn empty(what: &str, low: &impl ToString, high: &impl ToString) -> Error {
    Error::config(format!("is {what} from {} to {}, an empty range", low.to_string(), high.to_string()))
        .with_help("put the lower bound first")
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

/// The index, below `span`, of the value whose equal share of 0..1 contains `fraction`; a `span` of 0 stands for 2⁶⁴.
fn part_of(span: u64, fraction: f64) -> u64 {
    let (values, last) = if span == 0 { (2f64.powi(64), u64::MAX) } else { (span as f64, span - 1) };
    ((values * fraction) as u64).min(last)
}

/// A number in 0..1, normal around ½ with both ends `spread` standard deviations away; numbers outside are redrawn.
fn gaussian(random: &mut RandomStream, spread: f64) -> f64 {
    loop {
        let deviations: f64 = StandardNormal.sample(random);
        if (-spread..spread).contains(&deviations) {
            return (deviations + spread) / (2.0 * spread);
        }
    }
}

/// A number in 0..1 whose density falls by a factor of e^rate from one end to the other, by inversion.
fn exponential(random: &mut RandomStream, rate: f64) -> f64 {
    let end = (-rate).exp();
    -(end + (1.0 - end) * (1.0 - random.fraction())).ln() / rate
}

/// A number from 0 (included) to `span` (excluded); a `span` of 0 stands for 2⁶⁴.
fn zipfian(random: &mut RandomStream, span: u64, exponent: f64) -> u64 {
    let values = if span == 0 { 2f64.powi(64) } else { span as f64 };
    let rank: f64 =
        Zipf::new(values, exponent).expect("the range and the exponent were checked").sample(random);
    (rank as u64).clamp(1, if span == 0 { u64::MAX } else { span }) - 1
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
        type_: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Argument::Text(text) => out.put_slice(text.as_bytes()),
            Argument::Number(number) => match integer_width(*number, type_) {
                Some(width) => out.put_int(*number, width),
                None => out.put_slice(itoa::Buffer::new().format(*number).as_bytes()),
            },
            Argument::Real(number) => out.put_slice(number.to_string().as_bytes()),
            Argument::Null => return Ok(IsNull::Yes),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, type_: &Type) -> Format {
        match self {
            Argument::Number(number) if integer_width(*number, type_).is_some() => Format::Binary,
            _ => Format::Text,
        }
    }

    to_sql_checked!();
}

/// The bytes of an integer of this type; `None` for other types, and where `number` is out of its range, which the server
/// then says.
fn integer_width(number: i64, type_: &Type) -> Option<usize> {
    match *type_ {
        Type::INT4 => i32::try_from(number).is_ok().then_some(4),
        Type::INT8 => Some(8),
        Type::INT2 => i16::try_from(number).is_ok().then_some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::workload::spec::RowsKeyword;

    fn source(distribution: &Distribution) -> ValueSource {
        ValueSource::new(distribution, 10).unwrap()
    }

    fn numbers(source: &ValueSource, seed: u64) -> Vec<i64> {
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
    fn a_uniform_range_includes_both_ends_and_is_even() {
        let drawn = numbers(&source(&Distribution::Uniform([Bound::Number(22), Bound::Number(65)])), 1);
        for age in 22..=65 {
            let count = drawn.iter().filter(|&&number| number == age).count();
            assert!((150..310).contains(&count), "{age} was drawn {count} times of about 227");
        }
        assert!(drawn.iter().all(|age| (22..=65).contains(age)));
    }

    #[test]
    fn the_seed_determines_the_values() {
        let range = source(&Distribution::Uniform([Bound::Number(i64::MIN), Bound::Number(i64::MAX)]));
        assert_eq!(numbers(&range, 7), numbers(&range, 7));
        assert_ne!(numbers(&range, 7), numbers(&range, 8));
        assert_ne!(range.draw(7, 0, 0), range.draw(7, 0, 1));
    }

    #[test]
    fn rows_stands_for_the_number_of_rows() {
        let drawn =
            numbers(&source(&Distribution::Uniform([Bound::Number(1), Bound::Rows(RowsKeyword::Rows)])), 1);
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&1), Some(&10)));
    }

    #[test]
    fn integers_are_binary_where_the_parameter_holds_them() {
        let sent = |number, type_: Type| {
            let (argument, mut out) = (Argument::Number(number), BytesMut::new());
            argument.to_sql(&type_, &mut out).unwrap();
            (matches!(argument.encode_format(&type_), Format::Binary), out.to_vec())
        };
        assert_eq!(sent(-2, Type::INT2), (true, vec![255, 254]));
        assert_eq!(sent(-2, Type::INT4), (true, vec![255, 255, 255, 254]));
        assert_eq!(sent(1 << 40, Type::INT8), (true, vec![0, 0, 1, 0, 0, 0, 0, 0]));
        assert_eq!(sent(40_000, Type::INT2), (false, b"40000".to_vec()));
        assert_eq!(sent(1 << 31, Type::INT4), (false, b"2147483648".to_vec()));
        assert_eq!(sent(7, Type::NUMERIC), (false, b"7".to_vec()));
    }

    #[test]
    fn a_gaussian_is_centred() {
        // 68.3 % of a normal distribution are within one standard deviation; the ends are 4 standard deviations away.
        let drawn = numbers(&source(&Distribution::Gaussian(Bound::Number(0), Bound::Number(7999), 4.0)), 1);
        is_about(share(&drawn, |number| (3000..5000).contains(&number)), 0.683);
        is_about(share(&drawn, |number| number < 4000), 0.5);
        assert!(drawn.iter().all(|number| (0..8000).contains(number)));
    }

    #[test]
    fn an_exponential_decreases_from_its_low_end() {
        // The integral of the density from 0 to x is (1 - e^-5x) / (1 - e^-5).
        let drawn =
            numbers(&source(&Distribution::Exponential(Bound::Number(0), Bound::Number(9999), 5.0)), 1);
        for x in [0.1, 0.2, 0.5] {
            let expected = (1.0 - f64::exp(-5.0 * x)) / (1.0 - f64::exp(-5.0));
            is_about(share(&drawn, |number| (number as f64) < 10_000.0 * x), expected);
        }
    }

    #[test]
    fn a_zipfian_decreases_by_rank() {
        let drawn = numbers(&source(&Distribution::Zipfian(Bound::Number(1), Bound::Number(100), 1.0)), 1);
        let harmonic: f64 = (1..=100).map(|n| 1.0 / f64::from(n)).sum();
        for rank in [1, 2, 5] {
            is_about(share(&drawn, |number| number == rank), 1.0 / rank as f64 / harmonic);
        }
        assert!(drawn.iter().all(|number| (1..=100).contains(number)));
    }

    #[test]
    fn a_sequence_starts_over_after_its_end() {
        let sequence = source(&Distribution::Sequence([Bound::Number(3), Bound::Number(5)]));
        assert_eq!(numbers(&sequence, 1)[..5], [3, 4, 5, 3, 4]);
    }

    #[test]
    fn a_fractional_bound_gives_fractions() {
        let source = source(&Distribution::Uniform([Bound::Real(0.5), Bound::Number(1)]));
        for index in 0..1000 {
            assert!(matches!(source.draw(1, index, 0), Argument::Real(0.5..1.0)));
        }
    }

    #[test]
    fn empty_ranges_and_wrong_parameters_are_refused() {
        let refused = |distribution| ValueSource::new(&distribution, 0).unwrap_err().to_string();
        assert_eq!(
            refused(Distribution::Uniform([Bound::Number(2), Bound::Number(1)])),
            "is uniform from 2 to 1, an empty range"
        );
        assert_eq!(
            refused(Distribution::Gaussian(Bound::Number(1), Bound::Number(2), 1.0)),
            "has 1 as the spread of a gaussian"
        );
        assert_eq!(
            refused(Distribution::Sequence([Bound::Number(1), Bound::Real(2.5)])),
            "is a sequence with the fractional bound 2.5"
        );
        assert_eq!(refused(Distribution::Choice(vec![])), "is a choice without values");
    }
}

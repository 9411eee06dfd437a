//! The arguments of a workload's statement, drawn from a seed.
//!
//! The arguments of query `i` depend on the seed and on `i` alone, so the same seed asks the same questions
//! whatever the number of connections, and whichever of them gets to ask.

use bytes::{BufMut, BytesMut};
use postgres_types::{Format, IsNull, ToSql, Type, to_sql_checked};

use crate::config::{Arg, Bound, Drawn, Workload};
use crate::{Error, Result};

/// Where each parameter of a statement gets its value from, with every bound known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    seed: u64,
    sources: Vec<Source>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Constant(String),
    /// Both included; `span` is how many values there are, 0 for 2⁶⁴ of them.
    Uniform {
        low: i64,
        span: u64,
    },
}

/// One argument, sent in text format: the server reads it as whatever type the parameter has.
#[derive(Debug)]
pub enum Argument<'a> {
    /// As it stands in the configuration.
    Constant(&'a str),
    /// Drawn for this query.
    Number(i64),
}

impl Arguments {
    /// The arguments of `workload`, which is called `name`, for a table of `rows` rows.
    ///
    /// # Errors
    /// When a range is empty.
    pub fn new(name: &str, workload: &Workload, rows: u64, seed: u64) -> Result<Arguments> {
        let bound = |bound: &Bound| match bound {
            Bound::Number(number) => *number,
            Bound::Rows(_) => i64::try_from(rows).unwrap_or(i64::MAX),
        };
        let source = |(index, arg): (usize, &Arg)| match arg {
            Arg::Constant(value) => Ok(Source::Constant(value.to_string())),
            Arg::Drawn(Drawn { uniform: [low, high] }) => {
                let (low, high) = (bound(low), bound(high));
                if low > high {
                    return Err(Error::config(format!(
                        "[query.{name}]: argument {} is uniform from {low} to {high}, which holds no number",
                        index + 1
                    ))
                    .with_help("put the lower end first"));
                }
                Ok(Source::Uniform { low, span: high.wrapping_sub(low).wrapping_add(1).cast_unsigned() })
            }
        };
        let sources = workload.args.iter().enumerate().map(source).collect::<Result<_>>()?;
        Ok(Arguments { seed, sources })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether the statement has no parameters.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The arguments of query `index`.
    pub fn draw(&self, index: u64) -> impl ExactSizeIterator<Item = Argument<'_>> {
        let first = index.wrapping_mul(self.sources.len() as u64);
        self.sources.iter().enumerate().map(move |(position, source)| match source {
            Source::Constant(value) => Argument::Constant(value),
            Source::Uniform { low, span } => {
                let random = random(self.seed, first.wrapping_add(position as u64));
                let offset = match span {
                    0 => random,
                    // Lemire's multiplication: uneven by less than span / 2⁶⁴.
                    span => ((u128::from(random) * u128::from(*span)) >> 64) as u64,
                };
                Argument::Number(low.wrapping_add_unsigned(offset))
            }
        })
    }
}

/// Number `index` of the stream `seed`: `SplitMix64` (Steele, Lea and Flood, 2014), which can be entered
/// anywhere; the seed is mixed first, so that neighbouring seeds have unrelated streams.
fn random(seed: u64, index: u64) -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    mix(mix(seed.wrapping_add(STEP)).wrapping_add(index.wrapping_add(1).wrapping_mul(STEP)))
}

impl ToSql for Argument<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Argument::Constant(text) => out.put_slice(text.as_bytes()),
            Argument::Number(number) => out.put_slice(itoa::Buffer::new().format(*number).as_bytes()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(uniform: [Bound; 2], seed: u64) -> Vec<i64> {
        let workload = Workload { sql: String::new(), args: vec![Arg::Drawn(Drawn { uniform })] };
        let arguments = Arguments::new("x", &workload, 10, seed).unwrap();
        let number = |index| match arguments.draw(index).next() {
            Some(Argument::Number(number)) => number,
            other => panic!("{other:?}"),
        };
        (0..10_000).map(number).collect()
    }

    #[test]
    fn a_range_includes_both_ends_and_is_even() {
        let drawn = numbers([Bound::Number(22), Bound::Number(65)], 1);
        for age in 22..=65 {
            let count = drawn.iter().filter(|&&number| number == age).count();
            assert!((150..310).contains(&count), "{age} was drawn {count} times of about 227");
        }
        assert!(drawn.iter().all(|age| (22..=65).contains(age)));
    }

    #[test]
    fn the_seed_decides() {
        let range = || [Bound::Number(i64::MIN), Bound::Number(i64::MAX)];
        assert_eq!(numbers(range(), 7), numbers(range(), 7));
        assert_ne!(numbers(range(), 7), numbers(range(), 8));
    }

    #[test]
    fn rows_stand_for_the_tables_rows() {
        let drawn = numbers([Bound::Number(1), Bound::Rows(crate::config::file::Rows::Rows)], 1);
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&1), Some(&10)));
    }

    #[test]
    fn an_empty_range_is_refused() {
        let args = vec![Arg::Drawn(Drawn { uniform: [Bound::Number(2), Bound::Number(1)] })];
        let error = Arguments::new("x", &Workload { sql: String::new(), args }, 0, 1).unwrap_err();
        assert!(error.to_string().contains("[query.x]: argument 1 is uniform from 2 to 1"), "{error}");
    }
}

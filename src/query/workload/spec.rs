//! Workloads as `config.toml` and the command line describe them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::suggest::nearest;

/// `[query.NAME]`: one statement, or several as one transaction.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a workload: a table with sql and args")]
pub struct WorkloadSpec {
    /// The statement, with `$1`, `$2` … for its parameters.
    pub sql: String,
    /// The file that contains the statement, instead of `sql`.
    pub file: PathBuf,
    /// The arguments, one for each parameter.
    pub args: Vec<ArgSpec>,
    /// The statements of a transaction, instead of `sql` and `args`.
    pub transaction: Vec<StepSpec>,
    /// Named values, drawn once for the whole transaction.
    pub draw: BTreeMap<String, ArgSpec>,
    /// The isolation level of the transaction, such as `serializable`; the server's default when empty.
    pub isolation: String,
    /// Its weight in a mix, relative to the other workloads; at least 1.
    pub weight: u32,
}

impl Default for WorkloadSpec {
    fn default() -> Self {
        WorkloadSpec {
            sql: String::new(),
            file: PathBuf::new(),
            args: Vec::new(),
            transaction: Vec::new(),
            draw: BTreeMap::new(),
            isolation: String::new(),
            weight: 1,
        }
    }
}

/// One statement of a transaction.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StepSpec {
    /// The statement.
    pub sql: String,
    /// The file that contains the statement, instead of `sql`.
    pub file: PathBuf,
    /// The arguments, one for each parameter.
    pub args: Vec<ArgSpec>,
}

/// A single value, which TOML may spell as a string, a number or a boolean.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "a string, a number or a boolean")]
pub enum Scalar {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A fraction.
    Real(f64),
    /// Any other value, in the server's text format.
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Boolean(value) => value.fmt(f),
            Scalar::Integer(value) => value.fmt(f),
            Scalar::Real(value) => value.fmt(f),
            Scalar::Text(value) => value.fmt(f),
        }
    }
}

/// Where the values of one parameter come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum ArgSpec {
    /// Drawn anew for every query.
    Distribution(Distribution),
    /// The same value for every query.
    Constant(Scalar),
}

/// By hand, so that errors are about the distribution that was meant: serde tries the variants of an untagged enum in turn,
/// and can only say that none fits.
impl<'de> Deserialize<'de> for ArgSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Argument;

        impl<'de> Visitor<'de> for Argument {
            type Value = ArgSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a constant, or a distribution such as { uniform = [1, 100] }")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<ArgSpec, E> {
                Ok(ArgSpec::Constant(Scalar::Boolean(value)))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<ArgSpec, E> {
                Ok(ArgSpec::Constant(Scalar::Integer(value)))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<ArgSpec, E> {
                let value = i64::try_from(value).map_err(|_| E::custom(format!("{value} is too large")))?;
                self.visit_i64(value)
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<ArgSpec, E> {
                Ok(ArgSpec::Constant(Scalar::Real(value)))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<ArgSpec, E> {
                Ok(ArgSpec::constant(value))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ArgSpec, A::Error> {
                Distribution::deserialize(MapAccessDeserializer::new(map)).map(ArgSpec::Distribution)
            }
        }
        deserializer.deserialize_any(Argument)
    }
}

/// The distribution of an argument's values. Bounds are inclusive.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// All values from low to high, equally likely; fractions if a bound is a fraction.
    Uniform([Bound; 2]),
    /// Low, high, spread: whole numbers, normally distributed around the middle, with low and high `spread` standard
    /// deviations away.
    Gaussian(Bound, Bound, f64),
    /// Low, high, rate: whole numbers, most likely near low; the likelihood falls by a factor of e to the power of
    /// `rate` from low to high.
    Exponential(Bound, Bound, f64),
    /// Low, high, exponent: whole numbers; the n-th is less likely than low by a factor of n to the power of
    /// `exponent`.
    Zipfian(Bound, Bound, f64),
    /// Whole numbers in order, and from low again after high.
    Sequence([Bound; 2]),
    /// One of these values, all equally likely.
    Choice(Vec<Scalar>),
    /// A random value of this column, as frequent as in the table: `column` of the configured table, or `table.column`.
    Column(String),
    /// File, column: the values of a column of a CSV file in order, and from the first again after the last.
    Csv(PathBuf, String),
    /// The value with this name under `draw`, shared by the statements of a transaction.
    #[serde(rename = "drawn")]
    Shared(String),
}

impl Distribution {
    /// Whether a bound is the number of rows of the table.
    pub fn counts_rows(&self) -> bool {
        self.clone()
            .bounds_mut()
            .is_some_and(|bounds| bounds.iter().any(|bound| matches!(bound, Bound::Rows(_))))
    }

    /// The bounds of its range; `None` if it has no range.
    pub(crate) fn bounds_mut(&mut self) -> Option<[&mut Bound; 2]> {
        match self {
            Distribution::Uniform([low, high])
            | Distribution::Sequence([low, high])
            | Distribution::Gaussian(low, high, _)
            | Distribution::Exponential(low, high, _)
            | Distribution::Zipfian(low, high, _) => Some([low, high]),
            Distribution::Choice(_)
            | Distribution::Column(_)
            | Distribution::Csv(..)
            | Distribution::Shared(_) => None,
        }
    }
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "rows" => Ok(Bound::Rows(RowsKeyword::Rows)),
            _ => (text.parse().map(Bound::Number))
                .or_else(|_| text.parse().map(Bound::Real))
                .or_else(|_| text.parse().map(Bound::RowsOf))
                .map_err(|_: String| {
                    format!("`{text}` is neither a number nor rows, rows(TABLE) or N * rows(TABLE)")
                }),
        }
    }
}

impl FromStr for RowsOf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not of the form rows(TABLE) or N * rows(TABLE)");
        let (times, counted) = match text.split_once('*') {
            Some((times, counted)) => (times.trim().parse().map_err(|_| wrong())?, counted.trim()),
            None => (1, text.trim()),
        };
        let table =
            counted.strip_prefix("rows(").and_then(|rest| rest.strip_suffix(')')).ok_or_else(wrong)?;
        Ok(RowsOf { times, table: table.trim().to_owned() })
    }
}

impl TryFrom<String> for RowsOf {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RowsOf> for String {
    fn from(RowsOf { times, table }: RowsOf) -> String {
        if times == 1 { format!("rows({table})") } else { format!("{times} * rows({table})") }
    }
}

/// The kinds of argument that `--arg` accepts before a colon.
const KINDS: [&str; 9] =
    ["uniform", "sequence", "gaussian", "exponential", "zipfian", "choice", "column", "csv", "text"];

/// The syntax of `--arg`: `uniform:1:100`, `choice:a,b` …; text that begins with none of the kinds is a constant.
impl FromStr for ArgSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((kind, rest)) = text.split_once(':') else { return Ok(ArgSpec::constant(text)) };
        let parts: Vec<&str> = rest.split(':').collect();
        let range = |shape: &str| match parts.as_slice() {
            [low, high] => Ok([low.parse()?, high.parse()?]),
            _ => Err(format!("expected {shape}, not `{text}`")),
        };
        let shaped = |shape: &str| match parts.as_slice() {
            [low, high, number] => {
                let number = number.parse().map_err(|_| format!("`{number}` is not a number"))?;
                Ok::<_, String>((low.parse()?, high.parse()?, number))
            }
            _ => Err(format!("expected {shape}, not `{text}`")),
        };
        Ok(ArgSpec::Distribution(match kind {
            "uniform" => Distribution::Uniform(range("uniform:LOW:HIGH")?),
            "sequence" => Distribution::Sequence(range("sequence:LOW:HIGH")?),
            "gaussian" => {
                let (low, high, spread) = shaped("gaussian:LOW:HIGH:SPREAD")?;
                Distribution::Gaussian(low, high, spread)
            }
            "exponential" => {
                let (low, high, rate) = shaped("exponential:LOW:HIGH:RATE")?;
                Distribution::Exponential(low, high, rate)
            }
            "zipfian" => {
                let (low, high, exponent) = shaped("zipfian:LOW:HIGH:EXPONENT")?;
                Distribution::Zipfian(low, high, exponent)
            }
            "choice" => {
                Distribution::Choice(rest.split(',').map(|value| Scalar::Text(value.into())).collect())
            }
            "column" => Distribution::Column(rest.into()),
            "csv" => match rest.rsplit_once(':') {
                Some((file, column)) => Distribution::Csv(file.into(), column.into()),
                None => return Err(format!("expected csv:FILE:COLUMN, not `{text}`")),
            },
            "text" => return Ok(ArgSpec::constant(rest)),
            _ => match nearest(kind, KINDS.into_iter()) {
                Some(near) => {
                    return Err(format!("did you mean {near}:{rest}? For a constant, write text:{text}"));
                }
                None => return Ok(ArgSpec::constant(text)),
            },
        }))
    }
}

impl ArgSpec {
    fn constant(text: &str) -> ArgSpec {
        ArgSpec::Constant(Scalar::Text(text.into()))
    }
}

/// A bound of a range.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "a number, \"rows\", \"rows(TABLE)\" or \"N * rows(TABLE)\"")]
pub enum Bound {
    /// A whole number.
    Number(i64),
    /// A fraction.
    Real(f64),
    /// `"rows"`: the number of rows of the configured table.
    Rows(RowsKeyword),
    /// `"rows(TABLE)"` or `"N * rows(TABLE)"`: the number of rows of another table, or a multiple of it.
    RowsOf(#[cfg_attr(feature = "schema", schemars(with = "String"))] RowsOf),
}

/// A multiple of the number of rows of a table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct RowsOf {
    /// What the number of rows is multiplied by.
    pub times: i64,
    /// The table's name, as SQL reads it.
    pub table: String,
}

/// The keyword `rows`, for the number of rows of the table.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RowsKeyword {
    /// `rows`
    Rows,
}

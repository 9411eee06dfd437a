//! Where the arguments of a workload come from, as `config.toml` and the command line say it.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Setting;
use super::file::nearest;

/// Where the values of one parameter come from.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(
    untagged,
    expecting = "a constant, or one of { uniform = [low, high] }, { gaussian = [low, high, spread] }, \
                 { exponential = [low, high, rate] }, { zipfian = [low, high, exponent] }, { sequence = [low, high] }, \
                 { choice = [values] }, { column = \"table.column\" }, { csv = [\"file\", \"column\"] }, { drawn = \"name\" }"
)]
pub enum Arg {
    /// Drawn anew for every query.
    Drawn(Drawn),
    /// The same for every query.
    Constant(Setting),
}

/// A distribution. Bounds are included.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Drawn {
    /// All values from low to high equally likely; fractions if a bound is one.
    Uniform([Bound; 2]),
    /// Whole numbers around the middle; low and high are `spread` standard deviations from it.
    Gaussian(Bound, Bound, f64),
    /// Whole numbers, most often near low; from there to high the likelihood falls by e to the power of `rate`.
    Exponential(Bound, Bound, f64),
    /// Whole numbers: the n-th from low is n to the power of `exponent` less likely than low.
    Zipfian(Bound, Bound, f64),
    /// Whole numbers one after the other, and from low again after high.
    Sequence([Bound; 2]),
    /// One of these, all equally likely.
    Choice(Vec<Setting>),
    /// A value of this column, as often as it is there: `column` of the configured table, or `table.column`.
    Column(String),
    /// This column of a CSV file, line after line, and from the first again after the last.
    Csv(PathBuf, String),
    /// The value of this name under `draw`.
    Drawn(String),
}

impl Drawn {
    /// Whether a bound is the number of rows in the table.
    pub fn counts_rows(&self) -> bool {
        let (low, high) = match self {
            Drawn::Uniform([low, high])
            | Drawn::Sequence([low, high])
            | Drawn::Gaussian(low, high, _)
            | Drawn::Exponential(low, high, _)
            | Drawn::Zipfian(low, high, _) => (low, high),
            Drawn::Choice(_) | Drawn::Column(_) | Drawn::Csv(..) | Drawn::Drawn(_) => return false,
        };
        [low, high].iter().any(|bound| matches!(bound, Bound::Rows(_)))
    }
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "rows" => Ok(Bound::Rows(Rows::Rows)),
            _ => (text.parse().map(Bound::Number))
                .or_else(|_| text.parse().map(Bound::Real))
                .map_err(|_| format!("`{text}` is neither a number nor rows")),
        }
    }
}

/// What `--arg` may begin with, before a colon.
const KINDS: [&str; 9] =
    ["uniform", "sequence", "gaussian", "exponential", "zipfian", "choice", "column", "csv", "text"];

/// As `--arg` has it: `uniform:1:100`, `choice:a,b`, …; anything that begins otherwise is a constant.
impl FromStr for Arg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((kind, rest)) = text.split_once(':') else { return Ok(Arg::constant(text)) };
        let parts: Vec<&str> = rest.split(':').collect();
        let range = |shape: &str| match parts.as_slice() {
            [low, high] => Ok([low.parse()?, high.parse()?]),
            _ => Err(format!("expected {shape}, not `{text}`")),
        };
        let shaped = |shape: &str| match parts.as_slice() {
            [low, high, number] => {
                let number = number.parse().map_err(|_| format!("`{number}` is no number"))?;
                Ok::<_, String>((low.parse()?, high.parse()?, number))
            }
            _ => Err(format!("expected {shape}, not `{text}`")),
        };
        Ok(Arg::Drawn(match kind {
            "uniform" => Drawn::Uniform(range("uniform:LOW:HIGH")?),
            "sequence" => Drawn::Sequence(range("sequence:LOW:HIGH")?),
            "gaussian" => {
                let (low, high, spread) = shaped("gaussian:LOW:HIGH:SPREAD")?;
                Drawn::Gaussian(low, high, spread)
            }
            "exponential" => {
                let (low, high, rate) = shaped("exponential:LOW:HIGH:RATE")?;
                Drawn::Exponential(low, high, rate)
            }
            "zipfian" => {
                let (low, high, exponent) = shaped("zipfian:LOW:HIGH:EXPONENT")?;
                Drawn::Zipfian(low, high, exponent)
            }
            "choice" => Drawn::Choice(rest.split(',').map(|value| Setting::Text(value.into())).collect()),
            "column" => Drawn::Column(rest.into()),
            "csv" => match rest.rsplit_once(':') {
                Some((file, column)) => Drawn::Csv(file.into(), column.into()),
                None => return Err(format!("expected csv:FILE:COLUMN, not `{text}`")),
            },
            "text" => return Ok(Arg::constant(rest)),
            _ => match nearest(kind, KINDS.into_iter()) {
                Some(near) => {
                    return Err(format!(
                        "did you mean {near}:{rest}? A constant that looks like it is text:{text}"
                    ));
                }
                None => return Ok(Arg::constant(text)),
            },
        }))
    }
}

impl Arg {
    fn constant(text: &str) -> Arg {
        Arg::Constant(Setting::Text(text.into()))
    }
}

/// One end of a range.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(untagged, expecting = "a number or \"rows\"")]
pub enum Bound {
    /// The number itself.
    Number(i64),
    /// A fraction.
    Real(f64),
    /// `"rows"`: as many as the table has rows.
    Rows(Rows),
}

/// The word `rows`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rows {
    /// The number of rows in the table.
    Rows,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn arguments_of_the_command_line_are_those_of_the_file() {
        let workload = |args: &str| {
            let text = format!("[query.x]\nsql = \"SELECT\"\nargs = [{args}]\n");
            crate::config::file::parse(&text, Path::new("config.toml")).unwrap().query.workloads["x"].args[0]
                .clone()
        };
        for (flag, file) in [
            ("uniform:1:rows", "{ uniform = [1, \"rows\"] }"),
            ("uniform:-1.5:2", "{ uniform = [-1.5, 2] }"),
            ("gaussian:1:9:2.5", "{ gaussian = [1, 9, 2.5] }"),
            ("exponential:1:9:5", "{ exponential = [1, 9, 5] }"),
            ("zipfian:1:rows:1.1", "{ zipfian = [1, \"rows\", 1.1] }"),
            ("sequence:1:9", "{ sequence = [1, 9] }"),
            ("choice:a,b", "{ choice = [\"a\", \"b\"] }"),
            ("column:persons.city", "{ column = \"persons.city\" }"),
            ("csv:a:b.csv:city", "{ csv = [\"a:b.csv\", \"city\"] }"),
            ("text:uniform:1:2", "\"uniform:1:2\""),
            ("12:30", "\"12:30\""),
        ] {
            assert_eq!(flag.parse::<Arg>().unwrap(), workload(file), "{flag}");
        }
        for wrong in ["uniform:1", "uniform:a:b", "zipfian:1:2", "csv:file"] {
            assert!(wrong.parse::<Arg>().is_err(), "{wrong}");
        }
    }
}

//! The choices among which options have to be made, as the command line spells them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::count::parse_count;

/// How rows reach the server. All modes leave identical tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One prepared INSERT per row, pipelined.
    Rows,
    /// One `INSERT … SELECT FROM unnest(…)` per batch of rows, pipelined.
    Batch,
    /// One binary `COPY FROM STDIN`.
    #[default]
    Copy,
    /// Reads and encodes for the described table, and contacts no server.
    Null,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Rows => "rows",
            Mode::Batch => "batch",
            Mode::Copy => "copy",
            Mode::Null => "null",
        })
    }
}

/// When a load drops the table's indexes and rebuilds them after its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeferIndexes {
    /// When the table is empty, or emptied by this load, and they can be restored exactly; not in an import.
    #[default]
    Auto,
    /// Also when the table has rows, and in an import; an error if they cannot be restored exactly.
    Always,
    /// Never: the indexes stay in place.
    Never,
}

/// How the rows of a partitioned table reach its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionRouting {
    /// A load over several connections into a table that is partitioned by hash sends each row to its partition.
    Auto,
    /// All rows are sent to the partitioned table, whose server finds the partition of each.
    #[default]
    Root,
}

/// The number of connections that a load writes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Exactly this many; at least 1.
    Exactly(usize),
    /// Two where that is faster, otherwise one.
    Auto,
}

impl Default for Connections {
    fn default() -> Self {
        Connections::Exactly(1)
    }
}

impl FromStr for Connections {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match parse_count(text).map(usize::try_from) {
            Ok(Ok(number)) => Ok(Connections::Exactly(number)),
            _ if text == "auto" => Ok(Connections::Auto),
            _ => Err("expected a number, or auto".into()),
        }
    }
}

/// How to read a date that does not begin with its year, such as `08.10.2026`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DateStyle {
    /// Reject it.
    Iso,
    /// Day, month, year.
    Dmy,
    /// Month, day, year.
    Mdy,
    /// Year, month, day: `08.10.26`, but no date that ends with a year of four digits.
    Ymd,
}

impl DateStyle {
    /// The order as in the server's parameter `DateStyle`; `None` if the order does not matter.
    pub(crate) fn order(self) -> Option<&'static str> {
        match self {
            DateStyle::Iso => None,
            DateStyle::Dmy => Some("DMY"),
            DateStyle::Mdy => Some("MDY"),
            DateStyle::Ymd => Some("YMD"),
        }
    }
}

/// What may be inferred from the values of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Infer {
    /// The type that its values are of, however they are spelled.
    #[default]
    Natural,
    /// A type that prints every value as it is in the file.
    Exact,
}

/// The number or percentage of bad rows that a load may set aside before it is rolled back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RejectLimit {
    /// At most this many rows; 0 for none.
    Rows(u64),
    /// At most this percentage of the rows read, from 0 to 100, over the whole load.
    Percent(f64),
}

impl Default for RejectLimit {
    fn default() -> Self {
        RejectLimit::Rows(0)
    }
}

impl RejectLimit {
    /// Whether `rejected` of `read` rows exceed the limit. A percentage applies to the whole input, so it can only
    /// be judged `at_end`.
    pub(crate) fn is_exceeded(self, rejected: u64, read: u64, at_end: bool) -> bool {
        match self {
            RejectLimit::Rows(limit) => rejected > limit,
            RejectLimit::Percent(limit) => at_end && rejected as f64 * 100.0 > limit * read as f64,
        }
    }

    /// Whether any row may be rejected.
    pub fn allows_any(self) -> bool {
        match self {
            RejectLimit::Rows(limit) => limit > 0,
            RejectLimit::Percent(limit) => limit > 0.0,
        }
    }
}

impl FromStr for RejectLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected a number of rows, such as 100, or a percentage, such as 1%".to_owned();
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
                (0.0..=100.0).contains(&percent).then_some(RejectLimit::Percent(percent)).ok_or_else(wrong)
            }
            None => parse_count(text).map(RejectLimit::Rows).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for RejectLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RejectLimit::Rows(rows) => write!(f, "{rows}"),
            RejectLimit::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// What to do with a row whose key already exists in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnConflict {
    /// Keep the table's row. The key is the columns named, or any unique key when none is.
    Skip(Vec<String>),
    /// Give the table's row the file's values. The key is the columns named, or the primary key when none is.
    Update(Vec<String>),
}

impl FromStr for OnConflict {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (action, key) = text.split_once(':').unwrap_or((text, ""));
        let key: Vec<String> =
            key.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        match action {
            "skip" => Ok(OnConflict::Skip(key)),
            "update" => Ok(OnConflict::Update(key)),
            _ => Err("expected skip, update, or either with key columns, such as update:id".into()),
        }
    }
}

impl fmt::Display for OnConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (action, key) = match self {
            OnConflict::Skip(key) => ("skip", key),
            OnConflict::Update(key) => ("update", key),
        };
        f.write_str(action)?;
        if key.is_empty() { Ok(()) } else { write!(f, ":{}", key.join(",")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_rows_or_percentages() {
        assert_eq!("5".parse(), Ok(RejectLimit::Rows(5)));
        assert_eq!("0.5%".parse(), Ok(RejectLimit::Percent(0.5)));
        for text in ["", "-1", "101%", "x", "%", "1.5", "NaN%"] {
            assert!(text.parse::<RejectLimit>().is_err(), "{text}");
        }
        assert!(!RejectLimit::Rows(5).is_exceeded(5, 5, true));
        assert!(RejectLimit::Rows(5).is_exceeded(6, 600, false));
        assert!(!RejectLimit::Percent(1.0).is_exceeded(50, 100, false));
        assert!(RejectLimit::Percent(1.0).is_exceeded(2, 100, true));
        assert!(!RejectLimit::Percent(1.0).is_exceeded(1, 100, true));
    }

    #[test]
    fn conflict_actions_may_name_their_key() {
        assert_eq!("skip".parse(), Ok(OnConflict::Skip(vec![])));
        assert_eq!("update:id, day".parse(), Ok(OnConflict::Update(vec!["id".into(), "day".into()])));
        assert!("ignore".parse::<OnConflict>().is_err());
        assert_eq!(OnConflict::Update(vec!["id".into()]).to_string(), "update:id");
    }
}

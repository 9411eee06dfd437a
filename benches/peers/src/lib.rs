//! What the programs read.

use serde::Deserialize;

/// A row of persons.csv.
#[derive(Debug, Deserialize)]
pub struct Person {
    pub id: i32,
    pub name: String,
    pub age: i16,
    #[serde(rename = "isMarried")]
    pub is_married: bool,
    pub city: String,
    pub state: String,
    pub country: String,
}

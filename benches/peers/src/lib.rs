//! What both programs write or read.

use serde::{Deserialize, Serialize};

/// A row of persons.csv.
#[derive(Debug, Serialize, Deserialize)]
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

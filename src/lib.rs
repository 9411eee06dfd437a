//! Load CSV into PostgreSQL exactly, and measure honestly how fast a PostgreSQL server answers queries.

pub mod error;
pub mod people;
pub mod postgres;
pub mod progress;

pub use error::{Error, Result};

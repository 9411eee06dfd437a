//! Load CSV into PostgreSQL exactly, and measure honestly how fast a PostgreSQL server answers queries.

pub mod encode;
pub mod error;
pub mod people;
pub mod postgres;
pub mod progress;
pub mod source;

pub use error::{Error, Result};

//! Encoding values, checked against the server's own parsing.

mod encoders;
mod four_ways;
mod oracle;
mod oracle_datetime;

//! Every test here runs against a real PostgreSQL server.
//!
//! The folders are those of `src`; `support` holds the server and what the tests share.

mod bench;
mod cli;
mod csv;
mod documentation;
mod encode;
mod examples;
mod load;
mod page;
mod postgres;
mod query;
mod support;

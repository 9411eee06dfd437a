//! Every test here runs against a real PostgreSQL server.

mod conninfo;
mod launcher;
mod support;

//! The binary: what was typed, what it means, and what is printed. The library knows nothing of it.

pub(crate) mod args;
#[expect(dead_code, reason = "the command follows")]
mod bench;
pub(crate) mod commands;
mod config;
mod exit;
mod render;
mod terminal;

//! The binary: what was typed, what it means, and what is printed. The library knows nothing of it.

pub(crate) mod args;
mod bench;
pub(crate) mod commands;
mod config;
mod exit;
mod metrics_file;
mod page;
mod render;
pub(crate) mod terminal;

//! The command line: help, configuration, documents, and the commands other than `load` and `query`.

mod check;
mod config;
mod env_file;
mod generate;
mod help;
mod json_documents;
mod manners;
mod messages;
mod server;
mod wrong_commands;

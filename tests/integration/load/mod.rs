//! `load`: CSV files into tables.

mod columns;
mod commits;
mod conflicts;
mod connections;
mod create;
mod dates;
mod errors;
mod files;
mod imports;
mod indexes;
mod interruptions;
mod library;
mod modes;
mod ndjson;
mod null;
mod other_relations;
mod outputs;
mod partitions;
mod progress;
mod reading;
mod receipts;
mod rejects;
mod sniffing;
mod spelling;
mod sync_batching;
mod types;

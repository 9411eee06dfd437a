//! Splitting CSV into records and fields.

mod oracle;

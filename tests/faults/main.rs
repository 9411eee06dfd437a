//! The long rounds: every kill point, every cut. `cargo test --test faults` runs them; `cargo test` alone does not.

#[path = "../integration/support/mod.rs"]
#[allow(dead_code, reason = "these tests use a part of what all tests share")]
mod support;

mod imports;

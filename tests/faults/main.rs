//! The long rounds: every fault that a load may meet, every kill point, every cut. `cargo test --test faults` runs them;
//! `cargo test` alone does not.

use std::time::Duration;

/// The longest that anything may take that a test waits for, as a load that ends after a fault.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[path = "../integration/support/mod.rs"]
#[allow(dead_code, reason = "these tests use a part of what all tests share")]
mod support;

mod byte_proxy;
mod cuts;
mod disks;
mod endings;
mod imports;
mod inputs;
mod limits;
mod loads;
mod network;
mod poolers;
mod rebuilds;
mod standby;

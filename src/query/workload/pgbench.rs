//! The three workloads of pgbench, on the tables that `pgbench -i` creates.

use std::path::Path;

use crate::query::workload::Workload;
use crate::query::workload::spec::{ArgSpec, Bound, Distribution, RowsOf, StepSpec, WorkloadSpec};

/// How to create the tables of these workloads.
pub(crate) const CREATE_TABLES: &str = "create pgbench's tables: postgres-etl query --init tpcb --scale 10";

/// The accounts for each row of `pgbench_branches`, whose number of rows is the scale.
pub(crate) const ACCOUNTS: i64 = 100_000;

/// The tellers for each row of `pgbench_branches`.
pub(crate) const TELLERS: i64 = 10;

const UPDATE_ACCOUNT: (&str, &[&str]) =
    ("UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2", &["delta", "aid"]);
const SELECT_ACCOUNT: (&str, &[&str]) = ("SELECT abalance FROM pgbench_accounts WHERE aid = $1", &["aid"]);
const UPDATE_TELLER: (&str, &[&str]) =
    ("UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2", &["delta", "tid"]);
const UPDATE_BRANCH: (&str, &[&str]) =
    ("UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2", &["delta", "bid"]);
const INSERT_HISTORY: (&str, &[&str]) = (
    "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP)",
    &["tid", "bid", "aid", "delta"],
);

impl Workload {
    /// The names of the workloads that are built in: pgbench's `tpcb-like`, `simple-update` and `select-only`.
    pub const BUILT_IN: [&'static str; 3] = ["tpcb", "tpcb-simple", "select-only"];

    /// The built-in workload with this name; pgbench's own names are understood, too.
    pub fn built_in(name: &str) -> Option<Workload> {
        let transaction = |statements: &[(&str, &[&str])]| {
            let step = |(sql, args): &(&str, &[&str])| StepSpec {
                sql: (*sql).to_owned(),
                args: args
                    .iter()
                    .map(|name| ArgSpec::Distribution(Distribution::Shared((*name).into())))
                    .collect(),
                ..StepSpec::default()
            };
            let draw = ["aid", "bid", "tid", "delta"].map(|name| (name.to_owned(), value(name)));
            WorkloadSpec {
                transaction: statements.iter().map(step).collect(),
                draw: draw.into(),
                ..WorkloadSpec::default()
            }
        };
        let (name, spec) = match name {
            "tpcb" | "tpcb-like" => (
                Workload::BUILT_IN[0],
                transaction(&[UPDATE_ACCOUNT, SELECT_ACCOUNT, UPDATE_TELLER, UPDATE_BRANCH, INSERT_HISTORY]),
            ),
            "tpcb-simple" | "simple-update" => {
                (Workload::BUILT_IN[1], transaction(&[UPDATE_ACCOUNT, SELECT_ACCOUNT, INSERT_HISTORY]))
            }
            "select-only" => {
                let (sql, args) = (SELECT_ACCOUNT.0.to_owned(), vec![value("aid")]);
                (Workload::BUILT_IN[2], WorkloadSpec { sql, args, ..WorkloadSpec::default() })
            }
            _ => return None,
        };
        let workload = Workload::at(name, &place(name), &spec, Path::new(""));
        Some(workload.expect("the built-in workloads are without contradictions"))
    }

    /// Whether it is one of the workloads that are built in.
    pub fn is_built_in(&self) -> bool {
        self.place == place(&self.name)
    }
}

fn place(name: &str) -> String {
    format!("workload {name}")
}

/// What pgbench draws as the variable `name`.
fn value(name: &str) -> ArgSpec {
    let branches = |times| Bound::RowsOf(RowsOf { times, table: "pgbench_branches".into() });
    let [low, high] = match name {
        "aid" => [Bound::Number(1), branches(ACCOUNTS)],
        "tid" => [Bound::Number(1), branches(TELLERS)],
        "bid" => [Bound::Number(1), branches(1)],
        _ => [Bound::Number(-5000), Bound::Number(5000)],
    };
    ArgSpec::Distribution(Distribution::Uniform([low, high]))
}

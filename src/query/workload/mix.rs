//! A mix of workloads: which workload each query runs, and which iteration of it.

use crate::query::workload::random::RandomStream;
use crate::query::workload::values::Argument;
use crate::query::workload::{Arguments, Workload};

/// Which workload each query runs.
///
/// In every round each workload occurs in proportion to its weight, in an order drawn from the seed. So the proportions
/// are exact, and the workload and the iteration that a query runs depend on its number alone.
#[derive(Debug)]
pub(crate) struct Mix {
    /// The workloads.
    pub workloads: Vec<Workload>,
    /// The sources of the arguments of each workload.
    pub arguments: Vec<Arguments>,
    /// The workload of each query of a round, and its iteration in that round.
    round: Vec<(u32, u32)>,
    /// The iterations of each workload in a round.
    per_round: Vec<u64>,
}

/// The smallest length of a round, so that its order does not repeat soon.
const ROUND: usize = 4096;

/// The largest sum of the weights of a mix.
pub(crate) const MOST_WEIGHT: u64 = 100_000;

impl Mix {
    /// A mix of `workloads`, at least one, each with its `arguments`.
    pub(crate) fn new(workloads: Vec<Workload>, arguments: Vec<Arguments>, seed: u64) -> Mix {
        let pack: Vec<u32> = (0u32..)
            .zip(&workloads)
            .flat_map(|(workload, Workload { weight, .. })| std::iter::repeat_n(workload, *weight as usize))
            .collect();
        let (mut round, mut per_round) = (Vec::new(), vec![0; workloads.len()]);
        let packs = if workloads.len() == 1 { 1 } else { ROUND.div_ceil(pack.len()) };
        for number in 0..packs {
            let mut pack = pack.clone();
            for left in (1..pack.len()).rev() {
                let other = RandomStream::new(seed, number as u64, left).below(left as u64 + 1);
                pack.swap(left, other as usize);
            }
            for workload in pack {
                let iterations: &mut u64 = &mut per_round[workload as usize];
                round.push((workload, *iterations as u32));
                *iterations += 1;
            }
        }
        Mix { workloads, arguments, round, per_round }
    }

    /// The workload that query `index` runs, and the iteration of that workload.
    pub(crate) fn at(&self, index: u64) -> (usize, u64) {
        let length = self.round.len() as u64;
        let (workload, iteration) = self.round[(index % length) as usize];
        (workload as usize, (index / length) * self.per_round[workload as usize] + u64::from(iteration))
    }

    /// The arguments of statement number `statement` in an iteration of `workload`.
    pub(crate) fn arguments(
        &self,
        workload: usize,
        statement: usize,
        iteration: u64,
    ) -> impl ExactSizeIterator<Item = Argument<'_>> {
        self.workloads[workload].draw(&self.arguments[workload], statement, iteration)
    }

    fn all_arguments(&self, workload: usize, iteration: u64) -> impl Iterator<Item = Argument<'_>> {
        let statements = 0..self.workloads[workload].statements.len();
        statements.flat_map(move |statement| self.arguments(workload, statement, iteration))
    }

    /// The name of a workload with all arguments of an iteration, for people to read.
    pub(crate) fn describe(&self, workload: usize, iteration: u64) -> String {
        let arguments = self.all_arguments(workload, iteration);
        let arguments = arguments.map(|argument| argument.to_string()).collect::<Vec<_>>().join(", ");
        with_arguments(&self.workloads[workload].name, &arguments)
    }

    /// A key that is the same for two iterations of a workload if and only if all their arguments are.
    pub(crate) fn key(&self, workload: usize, iteration: u64) -> String {
        let arguments = self.all_arguments(workload, iteration);
        arguments.map(|argument| format!("{argument:?}")).collect::<Vec<_>>().join(",")
    }
}

/// `name`, followed by its `arguments` in parentheses if there are any.
pub fn with_arguments(name: &str, arguments: &str) -> String {
    if arguments.is_empty() { name.to_owned() } else { format!("{name} ({arguments})") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::query::workload::spec::WorkloadSpec;

    fn workload(name: &str, weight: u32) -> Workload {
        let spec = WorkloadSpec { sql: "SELECT 1".into(), weight, ..WorkloadSpec::default() };
        Workload::new(name, &spec, Path::new("")).unwrap()
    }

    #[test]
    fn a_mix_is_exact_and_counts_the_iterations_of_each_workload() {
        let mix = |seed| {
            let none = Arguments::default();
            Mix::new(vec![workload("a", 3), workload("b", 1)], vec![none.clone(), none], seed)
        };
        let first = mix(1);
        let mut iterations = [0, 0];
        for index in 0..10_000 {
            let (workload, iteration) = first.at(index);
            assert_eq!(iteration, iterations[workload], "query {index}");
            iterations[workload] += 1;
        }
        assert_eq!(iterations, [7500, 2500]);
        let order = |seed| {
            let mix = mix(seed);
            (0..100).map(|index| mix.at(index).0).collect::<Vec<_>>()
        };
        assert_ne!(order(1), order(2));
    }
}

//! The order of a file's fields, where its header differs from that of the first file.

use std::collections::HashMap;

use crate::csv::names::NameStyle;
use crate::csv::record::FieldSpan;

/// Which field of a file has each name of the first header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// For each name of the first header, the index of the file's field, or `None` if the file has none.
    positions: Vec<Option<usize>>,
    /// The number of fields in a record of the file.
    fields: usize,
    /// Whether a record may have fewer, the rest being NULL.
    pads: bool,
}

/// The header under which the records of a file stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct OwnHeader {
    /// Its bytes: those of the first header, unless the fields are in another order; empty if there is none.
    pub(crate) raw: Vec<u8>,
    /// That order; `None` if it is that of the first header.
    pub(crate) layout: Option<Layout>,
}

/// How the header of a file relates to that of the first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Relation {
    /// The same names in the same order, but perhaps for capitals.
    Same,
    /// The fields have to be put into another order.
    Reordered(Layout),
    /// Names are missing on one side, or not clear.
    Different,
}

impl Layout {
    /// Compare the names of a file's header with `first`, those of the first file. What `style` does not keep of a name
    /// matters only where names differ in nothing else.
    pub(super) fn compare(
        (first, names): (&[String], &[String]),
        style: NameStyle,
        may_miss: bool,
        pads: bool,
    ) -> Relation {
        if first == names {
            return Relation::Same;
        }
        let (exact, folded) = (index_by(names, str::trim), index_by(names, |name| style.key(name)));
        let (own_exact, own_folded) = (index_by(first, str::trim), index_by(first, |name| style.key(name)));
        let mut positions = Vec::with_capacity(first.len());
        let mut found = 0;
        for name in first {
            let name = name.trim();
            let key = style.key(name);
            // A name that occurs twice tells nothing.
            if own_exact.get(name) == Some(&None) || exact.get(name) == Some(&None) {
                return Relation::Different;
            }
            let position = match (exact.get(name), folded.get(&key), own_folded.get(&key)) {
                (Some(position), _, _) => *position,
                (None, Some(Some(position)), Some(Some(_))) => Some(*position),
                _ => None,
            };
            found += usize::from(position.is_some());
            positions.push(position);
        }
        if found < names.len() || (found < first.len() && !may_miss) {
            return Relation::Different;
        }
        if positions.iter().enumerate().all(|(index, position)| *position == Some(index)) {
            return Relation::Same;
        }
        Relation::Reordered(Layout { positions, fields: names.len(), pads })
    }

    /// Put the fields `spans` of a record into order, and return whether it has too few of them; if their number is wrong,
    /// leave them, and return the right one.
    pub(super) fn apply(&self, spans: &mut Vec<FieldSpan>) -> Result<bool, usize> {
        let is_short = spans.len() < self.fields && self.pads;
        if spans.len() != self.fields && !is_short {
            return Err(self.fields);
        }
        let ordered = self.positions.iter().map(|position| {
            position.and_then(|position| spans.get(position).copied()).unwrap_or(FieldSpan::MISSING)
        });
        *spans = ordered.collect();
        Ok(is_short)
    }

    /// For each name of the first header, the index of the file's field, or `None` if the file has none.
    pub(super) fn positions(&self) -> &[Option<usize>] {
        &self.positions
    }
}

/// The index of each of `names` by its `spelling` without blanks around it; `None` for one that occurs several times.
fn index_by<'a, S: std::hash::Hash + Eq>(
    names: &'a [String],
    spelling: impl Fn(&'a str) -> S,
) -> HashMap<S, Option<usize>> {
    let mut indexes = HashMap::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        indexes.entry(spelling(name.trim())).and_modify(|found| *found = None).or_insert(Some(index));
    }
    indexes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(first: &[&str], names: &[&str], may_miss: bool) -> Option<Vec<Option<usize>>> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        match Layout::compare((&owned(first), &owned(names)), NameStyle::AsIs, may_miss, false) {
            Relation::Same => Some(Vec::new()),
            Relation::Reordered(layout) => Some(layout.positions),
            Relation::Different => None,
        }
    }

    #[test]
    fn names_decide_and_capitals_only_where_nothing_else_does() {
        for (first, names, expected) in [
            (&["a", "b"][..], &["a", "b"][..], Some(vec![])),
            (&["a", "b"], &[" A", "B "], Some(vec![])),
            (&["a", "b"], &["B", "a"], Some(vec![Some(1), Some(0)])),
            (&["a", "A"], &["A", "a"], Some(vec![Some(1), Some(0)])),
            (&["", ""], &["", ""], Some(vec![])),
            (&["a", "A"], &["a", "b"], None),
            (&["a", "b"], &["a", "a"], None),
            (&["a", "a"], &["a", "b"], None),
            (&["a", "b"], &["a"], None),
            (&["a"], &["a", "b"], None),
        ] {
            assert_eq!(compare(first, names, false), expected, "{first:?} {names:?}");
        }
        assert_eq!(compare(&["a", "b"], &["b"], true), Some(vec![None, Some(0)]));
        assert_eq!(compare(&["a", "b"], &["b", "c"], true), None);
    }
}

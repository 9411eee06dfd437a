//! `bench`: the whole comparison, of this program's ways and of peers.

pub(crate) mod report;

//! What is drawn on a terminal while a command runs.

pub(crate) mod live_view;
pub(crate) mod progress_bar;

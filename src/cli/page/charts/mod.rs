//! The charts, one file each. Each is drawn twice, for wide windows and for phones, and says in a sentence what it shows.

pub(super) mod cost;
pub(super) mod heat;
pub(super) mod latency;
pub(super) mod latency_grid;
mod lines;
pub(super) mod phases;
pub(super) mod ratio;
pub(super) mod runs;
pub(super) mod tail;
pub(super) mod timeline;

use crate::cli::page::svg::Svg;
use crate::cli::page::table::Table;

/// A chart, with everything that stands around it.
pub(super) trait Chart {
    /// What is shown.
    fn title(&self) -> String;

    /// What it shows, in one sentence.
    fn verdict(&self) -> String;

    /// How it is drawn, for those who cannot see it.
    fn description(&self) -> String;

    /// The drawing, `width` CSS pixels wide.
    fn draw(&self, width: f64) -> Svg;

    /// The data.
    fn table(&self) -> Table;
}

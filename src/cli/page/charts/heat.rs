//! The heat map: a figure for every combination of two settings.

use crate::cli::page::charts::Chart;
use crate::cli::page::svg::{Anchor, Svg, text_width};
use crate::cli::page::table::{NOTHING, Table};

/// Cells in rows and columns; darker is more.
#[derive(Debug)]
pub(in crate::cli::page) struct HeatChart {
    pub title: String,
    pub verdict: String,
    /// The settings down and across.
    pub settings: [String; 2],
    pub down: Vec<String>,
    pub across: Vec<String>,
    /// Row by row; `None` where nothing was measured.
    pub cells: Vec<Vec<Option<HeatCell>>>,
    /// The texts of a value: in the table, and in a cell.
    pub texts: [fn(f64) -> String; 2],
    /// Whether the best cell is the largest.
    pub most_is_best: bool,
}

/// One combination.
#[derive(Debug, Clone)]
pub(in crate::cli::page) struct HeatCell {
    pub value: f64,
    /// A second line, such as a ratio; empty if there is none.
    pub note: String,
}

/// The opacity of the darkest cell, which its text must still stand out from.
const DARKEST: f64 = 0.45;

impl HeatChart {
    /// The best value, with the places of its row and its column.
    pub(in crate::cli::page) fn best(&self) -> Option<(usize, usize, f64)> {
        let cells = self.cells.iter().enumerate().flat_map(|(row, cells)| {
            let value = |cell: &Option<HeatCell>| cell.as_ref().map(|cell| cell.value);
            cells.iter().enumerate().filter_map(move |(column, cell)| Some((row, column, value(cell)?)))
        });
        let better = |a: &(usize, usize, f64), b: &(usize, usize, f64)| {
            let order = a.2.total_cmp(&b.2);
            if self.most_is_best { order } else { order.reverse() }
        };
        cells.max_by(better)
    }

    fn most(&self) -> f64 {
        let values = self.cells.iter().flatten().flatten().map(|cell| cell.value);
        values.filter(|value| value.is_finite()).fold(f64::MIN_POSITIVE, f64::max)
    }

    fn draw_cell(&self, svg: &mut Svg, cell: &HeatCell, at: (f64, f64), size: (f64, f64)) {
        let share = (cell.value / self.most()).clamp(0.0, 1.0);
        svg.shade("cell", at, size, if share.is_nan() { 0.0 } else { share * DARKEST });
        let (middle, text) = (at.0 + size.0 / 2.0, (self.texts[1])(cell.value));
        // What does not fit is in the table.
        if text_width(&text) > size.0 - 2.0 {
            return;
        }
        let has_note = !cell.note.is_empty() && text_width(&cell.note) <= size.0 - 2.0;
        let line = at.1 + size.1 / 2.0 + if has_note { -3.0 } else { 4.0 };
        svg.text("strong", (middle, line), Anchor::Middle, &text);
        if has_note {
            svg.text("", (middle, line + 16.0), Anchor::Middle, &cell.note);
        }
    }
}

impl Chart for HeatChart {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn verdict(&self) -> String {
        self.verdict.clone()
    }

    fn description(&self) -> String {
        let [down, across] = &self.settings;
        format!("A map of cells, {down} down and {across} across; darker cells have larger values.")
    }

    fn draw(&self, width: f64) -> Svg {
        let [down, across] = &self.settings;
        let left = self.down.iter().map(|text| text_width(text)).fold(24.0, f64::max) + 10.0;
        let cell = ((width - left - 2.0) / self.across.len().max(1) as f64).min(220.0);
        let (top, height) = (44.0, 46.0);
        let mut svg = Svg::new(width, top + height * self.down.len() as f64 + 6.0);
        svg.text("quiet", (0.0, 14.0), Anchor::Start, &format!("{down} ↓   {across} →"));
        let mut free = 0.0;
        for (column, text) in self.across.iter().enumerate() {
            let (middle, half) = (left + (column as f64 + 0.5) * cell, text_width(text) / 2.0);
            if middle - half >= free {
                svg.text("quiet", (middle, 36.0), Anchor::Middle, text);
                free = middle + half + 4.0;
            }
        }
        for (row, (cells, text)) in self.cells.iter().zip(&self.down).enumerate() {
            let y = top + row as f64 * height;
            svg.text("quiet", (left - 8.0, y + height / 2.0 + 4.0), Anchor::End, text);
            for (column, found) in cells.iter().enumerate() {
                let at = (left + column as f64 * cell, y);
                match found {
                    Some(found) => self.draw_cell(&mut svg, found, at, (cell, height)),
                    None => svg.text(
                        "quiet",
                        (at.0 + cell / 2.0, y + height / 2.0 + 4.0),
                        Anchor::Middle,
                        NOTHING,
                    ),
                }
            }
        }
        if let Some((row, column, _)) = self.best() {
            let at = (left + column as f64 * cell + 1.0, top + row as f64 * height + 1.0);
            svg.rect("best", at, (cell - 2.0, height - 2.0));
        }
        svg
    }

    fn table(&self) -> Table {
        let [down, across] = &self.settings;
        let mut table = Table::new(format!("{down} down, {across} across"), [""]);
        table.head.extend(self.across.iter().map(|text| format!("{across} {text}")));
        for (cells, text) in self.cells.iter().zip(&self.down) {
            let mut row = vec![format!("{down} {text}")];
            row.extend(cells.iter().map(|cell| match cell {
                Some(HeatCell { value, note }) if note.is_empty() => (self.texts[0])(*value),
                Some(HeatCell { value, note }) => format!("{} ({note})", (self.texts[0])(*value)),
                None => NOTHING.to_owned(),
            }));
            table.rows.push(row);
        }
        table
    }
}

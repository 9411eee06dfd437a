//! Tables of aligned columns, which fit into a terminal.

/// The width of a terminal, unless a row has more numbers than that.
const WIDTH: usize = 80;

/// What precedes each row.
const INDENT: usize = 2;

/// A row: its name, and a number for each column; `None` where there is none.
pub(super) type Row = (String, Vec<Option<String>>);

/// The lines of a table of `rows`, with the names of its columns of numbers, in two lines where they have two words. A column
/// without any number is left out, and a name for which there is no room has a line of its own.
pub(super) fn table(names: &[&str], rows: &[Row]) -> Vec<String> {
    let shown: Vec<usize> =
        (0..names.len()).filter(|column| rows.iter().any(|(_, cells)| cells[*column].is_some())).collect();
    let split = |column: &usize| names[*column].split_once(' ').unwrap_or(("", names[*column]));
    let (above, below): (Vec<&str>, Vec<&str>) = shown.iter().map(split).unzip();
    let of = |cells: &[Option<String>]| -> Vec<String> {
        shown.iter().map(|column| cells[*column].clone().unwrap_or_else(|| "-".to_owned())).collect()
    };
    let rows: Vec<(&str, Vec<String>)> =
        rows.iter().map(|(name, cells)| (name.as_str(), of(cells))).collect();
    let length = |text: &str| text.chars().count();
    let width = |column: usize| {
        let cells = rows.iter().map(|(_, cells)| length(&cells[column]));
        cells.chain([length(above[column]), length(below[column])]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..shown.len()).map(width).collect();
    let longest = rows.iter().map(|(name, _)| length(name)).max().unwrap_or_default();
    let numbers = INDENT + widths.iter().sum::<usize>();
    let room = |gap: usize| WIDTH.saturating_sub(numbers + gap * widths.len());
    let gap = if room(2) >= longest { 2 } else { 1 };
    let room = longest.min(room(gap));
    let line = |name: &str, cells: Vec<&str>| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{:gap$}{cell:>width$}", ""));
        format!("{:INDENT$}{name:<room$}{}", "", cells.collect::<String>())
    };
    let mut lines = Vec::new();
    if above.iter().any(|word| !word.is_empty()) {
        lines.push(line("", above).trim_end().to_owned());
    }
    lines.push(line("", below));
    for (name, cells) in &rows {
        let is_long = length(name) > room;
        lines.extend(is_long.then(|| format!("{:INDENT$}{name}", "")));
        lines.push(line(if is_long { "" } else { name }, cells.iter().map(String::as_str).collect()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_long_names_stand_alone() {
        let row = |name: &str, first: &str, second: Option<&str>| {
            (name.to_owned(), vec![Some(first.to_owned()), second.map(str::to_owned), None])
        };
        let mut rows = vec![row("copy", "1,000", Some("2")), row("ä", "7", None)];
        let names = ["all rows", "most", "nothing"];
        let expected = ["          all", "         rows  most", "  copy  1,000     2", "  ä         7     -"];
        assert_eq!(table(&names, &rows), expected);
        assert_eq!(
            table(
                &names[1..],
                &rows.iter().map(|(name, cells)| (name.clone(), cells[1..].into())).collect::<Vec<_>>()
            )[0],
            "        most"
        );
        let long = "a name for which there is no room beside the numbers, however wide they are drawn";
        rows.push(row(long, "8", None));
        let lines = table(&names, &rows);
        assert_eq!(lines[4], format!("  {long}"));
        assert!(lines.iter().all(|line| line.contains(long) || line.chars().count() <= WIDTH), "{lines:#?}");
        assert!(lines[5].ends_with("8    -") && lines[5].trim_start().starts_with('8'), "{lines:#?}");
    }
}

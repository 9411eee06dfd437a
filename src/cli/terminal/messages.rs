//! What is printed for people: folded to the terminal's width, and in colour where that is wanted.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};
use postgres_etl::escape::escape_lines;
use rustix::fd::AsFd;

use crate::cli::args::Color;
use crate::cli::terminal::fold::fold;
use crate::cli::terminal::screen::beside_drawing;

/// As clap prints them.
const LABELS: [(&str, Style); 3] = [
    ("error:", AnsiColor::Red.on_default().bold()),
    ("warning:", AnsiColor::Yellow.on_default().bold()),
    ("help:", AnsiColor::Green.on_default()),
];

/// What begins a report.
const HEADLINE: Style = Style::new().bold();

/// Use colour as `color` says, in clap's messages too.
pub(crate) fn choose_color(color: Color) {
    let choice = match color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

/// Print `text` to standard error; if that is closed or full, nothing can be done.
pub(crate) fn say(text: &str) {
    let text = escape_lines(text);
    // What continues "error: " and "  help: " begins below their text.
    let indent = |line: &str| {
        let blanks = line.len() - line.trim_start().len();
        let label = LABELS.iter().find(|(label, _)| line[blanks..].starts_with(label));
        blanks + label.map_or(2, |(label, _)| label.len() + 1)
    };
    let text = match width(&io::stderr()) {
        Some(width) => fold(&text, width, indent),
        None => text.into_owned(),
    };
    let painted = text.lines().map(paint_label).collect::<Vec<_>>().join("\n");
    beside_drawing(|| _ = writeln!(anstream::stderr().lock(), "{painted}"));
}

/// Print the report `text`, whose lines have their values at `column`, to standard output.
///
/// # Errors
/// When that cannot be written to.
pub(crate) fn print_report(text: &str, column: usize) -> io::Result<()> {
    let text = escape_lines(text);
    let indent = |line: &str| (line.len() - line.trim_start().len()).max(column);
    let text = match width(&io::stdout()) {
        Some(width) => fold(&text, width, indent),
        None => text.into_owned(),
    };
    let (headline, rest) = text.split_at(text.find('\n').unwrap_or(text.len()));
    beside_drawing(|| {
        let mut out = anstream::stdout().lock();
        writeln!(out, "{HEADLINE}{headline}{HEADLINE:#}{rest}").and_then(|()| out.flush())
    })
}

/// The width of the terminal that `stream` leads to; `None` if it leads elsewhere.
fn width(stream: &(impl AsFd + io::IsTerminal)) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok().filter(|_| stream.is_terminal())?;
    // A terminal whose size is not known has none.
    Some(usize::from(size.ws_col)).filter(|width| *width > 0)
}

/// `line` with the label that it begins with in its colour.
fn paint_label(line: &str) -> String {
    let start = line.len() - line.trim_start().len();
    let (blanks, text) = line.split_at(start);
    let mut painted = String::from(blanks);
    match LABELS.iter().find_map(|(label, style)| Some((label, style, text.strip_prefix(label)?))) {
        Some((label, style, rest)) => _ = write!(painted, "{style}{label}{style:#}{rest}"),
        None => painted.push_str(text),
    }
    painted
}

//! A small builder of SVG. Colours are classes, which the style sheet resolves for light, dark and print.

use std::fmt::Write as _;

/// The width of drawings for wide windows and for paper, in CSS pixels.
pub(super) const WIDE: f64 = 720.0;

/// The width of drawings for phones. They are drawn apart, as a wide one reduced to this would be illegible.
pub(super) const NARROW: f64 = 350.0;

/// The number of classes of series, `s0` and so on.
pub(super) const SERIES: usize = 8;

/// How much wider bold text is.
pub(super) const BOLD: f64 = 1.12;

/// A drawing.
#[derive(Debug)]
pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Which end of a text is at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Svg {
        Svg { width, height, body: String::new() }
    }

    /// Whether it is drawn for phones.
    pub(super) fn is_narrow(width: f64) -> bool {
        width < 500.0
    }

    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = write!(self.body, r#"<path class="{class}" d="M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}"/>"#);
    }

    /// A line through `points`.
    pub(super) fn polyline(&mut self, class: &str, points: &[(f64, f64)]) {
        let mut path = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
        }
        let _ = write!(self.body, r#"<path class="{class}" d="{path}"/>"#);
    }

    pub(super) fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        let _ = write!(
            self.body,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{:.1}" height="{height:.1}"/>"#,
            width.max(0.0)
        );
    }

    /// A rectangle through which what is behind it is seen, less with a larger `opacity`, from 0 to 1.
    pub(super) fn shade(
        &mut self,
        class: &str,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        opacity: f64,
    ) {
        let _ = write!(
            self.body,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill-opacity="{opacity:.3}"/>"#
        );
    }

    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        let _ = write!(
            self.body,
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        );
    }

    /// The marker of the series numbered `series`, around a point: shapes tell series apart where colours do not.
    pub(super) fn marker(&mut self, series: usize, (x, y): (f64, f64)) {
        let shape = match series % 4 {
            0 => format!("M{:.1} {y:.1}a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0Z", x - 3.5),
            1 => format!("M{:.1} {:.1}h6.4v6.4h-6.4Z", x - 3.2, y - 3.2),
            2 => format!("M{x:.1} {:.1}l4.2 7.2h-8.4Z", y - 4.6),
            _ => format!("M{x:.1} {:.1}l4.4 4.4l-4.4 4.4l-4.4 -4.4Z", y - 4.4),
        };
        let _ = write!(self.body, r#"<path class="fill s{}" d="{shape}"/>"#, series % SERIES);
    }

    /// The element, of the class `class`, named by `title` and described by `description` to those who cannot see it;
    /// `id` has to be unique in the document.
    pub(super) fn finish(self, class: &str, id: &str, title: &str, description: &str) -> String {
        let Svg { width, height, body } = self;
        let (title, description) = (escape(title), escape(description));
        format!(
            r#"<svg class="{class}" viewBox="0 0 {width:.0} {height:.0}" role="img" aria-labelledby="{id}t {id}d"><title id="{id}t">{title}</title><desc id="{id}d">{description}</desc>{body}</svg>"#
        )
    }
}

/// The classes of the line of the series numbered `series`; dashes tell series apart where colours do not.
pub(super) fn line_class(series: usize) -> String {
    format!("line s{} d{}", series % SERIES, series / 4 % 3)
}

/// About how wide `text` is, in CSS pixels.
pub(super) fn text_width(text: &str) -> f64 {
    text.chars().map(character_width).sum()
}

/// About how wide `c` is in labels, which are 12 pixels high. Some fonts are narrower, hardly any is wider.
fn character_width(c: char) -> f64 {
    match c {
        ' ' | '\u{a0}' | '.' | ',' | ':' | ';' | 'i' | 'j' | 'l' | '\'' => 4.2,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '×' | '−' | '+' | '=' | '<' | '>' | '…' => 11.8,
        'a'..='z' | '0'..='9' => 7.7,
        c if is_wide(c) => 14.0,
        _ => 8.4,
    }
}

/// Whether `c` is about as wide as it is high, as those of Chinese, Japanese and Korean are.
fn is_wide(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{1f300}'..)
}

/// `text`, shortened to at most `width` CSS pixels.
pub(super) fn shorten(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        if text_width(&kept) + 20.0 > width {
            break;
        }
        kept.push(c);
    }
    kept.trim_end().to_owned() + "…"
}

/// `text` as content or an attribute of HTML and XML: without markup, control characters and characters that change the
/// direction of writing.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in postgres_etl::escape::escape_lines(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // No XML.
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        assert_eq!(
            escape(r#"<script>"a" & 'b'</script>"#),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;"
        );
        assert_eq!(escape("a\u{0}\u{1b}\u{202e}\u{ffff}東"), "a\\u{0}\\u{1b}\\u{202e}\u{fffd}東");
    }

    #[test]
    fn long_labels_are_shortened() {
        assert_eq!(shorten("copy", 100.0), "copy");
        let short = shorten("a very long name of a contender", 100.0);
        assert!(short.ends_with('…') && text_width(&short) <= 100.0, "{short}");
        assert!(text_width("東京") > text_width("ab"));
    }
}

//! The fields of the examined records, stored together: there are many of them, in every reading of a sample.

/// A field of an examined record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell<'a> {
    /// The value, unquoted; empty for NULL.
    pub text: &'a str,
    /// Whether quotes enclose it.
    pub quoted: bool,
}

/// Records and their fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rows {
    /// The values, one after another.
    texts: String,
    /// Of each field, where its value ends in `texts`, times 2, and 1 more if quotes enclose it. A sample is far shorter than
    /// what would not fit.
    cells: Vec<u32>,
    /// Of each record, where its fields end in `cells`.
    ends: Vec<u32>,
}

impl Rows {
    /// Add a field to the record that [`Rows::end_row`] ends.
    pub(super) fn push(&mut self, cell: Cell<'_>) {
        self.texts.push_str(cell.text);
        self.cells.push((self.texts.len() as u32) << 1 | u32::from(cell.quoted));
    }

    /// End a record.
    pub(super) fn end_row(&mut self) {
        self.ends.push(self.cells.len() as u32);
    }

    /// Remove the last record.
    pub(super) fn pop(&mut self) {
        self.ends.pop();
        self.cells.truncate(self.ends.last().map_or(0, |end| *end as usize));
        self.texts.truncate(self.text_end(self.cells.len()));
    }

    /// Free the memory that is not used.
    pub(super) fn shrink(&mut self) {
        self.texts.shrink_to_fit();
        self.cells.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// The number of records.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The number of fields of all records.
    pub(super) fn cells(&self) -> usize {
        self.cells.len()
    }

    /// The records.
    pub(super) fn iter(&self) -> impl Iterator<Item = Row<'_>> + Clone {
        (0..self.ends.len()).map(|index| self.row(index))
    }

    /// The first record, if there is any.
    pub(super) fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }

    /// A copy of the first `count` records.
    pub(super) fn head(&self, count: usize) -> Rows {
        let mut head = Rows::default();
        for row in self.iter().take(count) {
            row.iter().for_each(|cell| head.push(cell));
            head.end_row();
        }
        head
    }

    /// Where the values of the first `count` fields end.
    fn text_end(&self, count: usize) -> usize {
        count.checked_sub(1).map_or(0, |last| (self.cells[last] >> 1) as usize)
    }

    fn row(&self, index: usize) -> Row<'_> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Row { rows: self, start, end: self.ends[index] as usize }
    }
}

/// A record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    rows: &'a Rows,
    /// Where its fields begin and end in the cells of all rows.
    start: usize,
    end: usize,
}

impl<'a> Row<'a> {
    /// The field at `index`, from 0; `None` beyond the last one.
    pub(super) fn get(self, index: usize) -> Option<Cell<'a>> {
        let at = self.start + index;
        (at < self.end).then(|| {
            let (start, end) = (self.rows.text_end(at), self.rows.text_end(at + 1));
            Cell { text: &self.rows.texts[start..end], quoted: self.rows.cells[at] & 1 == 1 }
        })
    }

    /// The fields.
    pub(super) fn iter(self) -> impl Iterator<Item = Cell<'a>> + Clone {
        (0..self.end - self.start).filter_map(move |index| self.get(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_what_was_added() {
        let added = [&["a", "", "é"][..], &[], &["b"], &["last", "one"]];
        let mut rows = Rows::default();
        for texts in added {
            for text in texts {
                rows.push(Cell { text, quoted: text.is_empty() });
            }
            rows.end_row();
        }
        let texts = |rows: &Rows| -> Vec<Vec<String>> {
            rows.iter().map(|row| row.iter().map(|cell| cell.text.to_owned()).collect()).collect()
        };
        assert_eq!(texts(&rows), added);
        assert_eq!((rows.len(), rows.cells()), (4, 6));
        assert_eq!(texts(&rows.head(3)), added[..3]);
        let first = rows.first().unwrap();
        assert_eq!(first.get(1), Some(Cell { text: "", quoted: true }));
        assert_eq!(first.get(3), None);
        let head = rows.head(3);
        rows.pop();
        assert_eq!(rows, head);
    }
}

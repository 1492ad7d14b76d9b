//! Plain tables for a terminal.

/// Where the cells of a column stand.
#[derive(Clone, Copy, PartialEq)]
pub enum Align {
    /// For text.
    Left,
    /// For numbers.
    Right,
}

/// Rows of cells under a header.
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: &[(&'static str, Align)]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let length = |text: &str| text.chars().count();
        let widths: Vec<usize> = (self.columns.iter().enumerate())
            .map(|(i, (header, _))| {
                let cells = self.rows.iter().filter_map(|row| row.get(i));
                cells.map(|cell| length(cell)).chain([length(header)]).max().unwrap_or(0)
            })
            .collect();
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut text = String::new();
            for ((cell, width), (_, align)) in cells.zip(&widths).zip(&self.columns) {
                let space = " ".repeat(width.saturating_sub(length(cell)));
                match align {
                    Align::Left => text.extend([cell, &space]),
                    Align::Right => text.extend([&space, cell]),
                }
                text.push_str("  ");
            }
            writeln!(f, "{}", text.trim_end())
        };
        line(&mut self.columns.iter().map(|(header, _)| *header))?;
        let rules: Vec<String> = widths.iter().map(|&width| "─".repeat(width)).collect();
        line(&mut rules.iter().map(String::as_str))?;
        for row in &self.rows {
            line(&mut row.iter().map(String::as_str))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("name", Align::Left), ("n", Align::Right)]);
        table.row(["é".to_owned(), "1".to_owned()]);
        table.row(["longer".to_owned(), "10".to_owned()]);
        assert_eq!(table.to_string(), "name     n\n──────  ──\né        1\nlonger  10\n");
    }
}

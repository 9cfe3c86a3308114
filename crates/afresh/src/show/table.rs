//! Plain tables: columns, no lines, fit for `awk` too.

use console::measure_text_width;

/// Empty cells are shown as `-`, so that columns can be counted. An end of a line in a cell would forge a row.
pub fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut all = vec![head.iter().map(|h| h.to_uppercase()).collect::<Vec<_>>()];
    let filled = |cell: String| if cell.is_empty() { "-".to_string() } else { cell.replace('\n', "?") };
    all.extend(rows.into_iter().map(|row| row.into_iter().map(filled).collect()));
    let width = |column: usize| all.iter().filter_map(|row| row.get(column)).map(|cell| measure_text_width(cell)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell}{}", " ".repeat(width - measure_text_width(cell))));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up_and_empty_cells_are_told() {
        let text = super::table(&["name", "n"], vec![vec!["web".into(), "3".into()], vec!["background".into(), String::new()]]);
        assert_eq!(text, "NAME        N\nweb         3\nbackground  -");
        assert_eq!(super::table(&["name"], vec![vec!["web\nforged".into()]]), "NAME\nweb?forged");
    }
}

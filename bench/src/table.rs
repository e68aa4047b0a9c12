//! What was measured, as a table in Markdown.

use std::fmt;

/// Figures by what they are of and by whose they are, in the order they first came.
pub struct Table<K> {
    rows: Vec<(String, Cells<K>)>,
    compared: Vec<(K, K)>,
}

/// The figures of each.
type Cells<K> = Vec<(K, Vec<f64>)>;

impl<K: Copy + PartialEq + fmt::Display> Table<K> {
    /// An empty one that also shows how much of the second's figure the first's is, for each of these.
    pub fn comparing(compared: &[(K, K)]) -> Table<K> {
        Table { rows: Vec::new(), compared: compared.to_vec() }
    }

    /// One more figure.
    pub fn add(&mut self, what: &str, kind: K, figure: f64) {
        let row = match self.rows.iter().position(|(name, _)| name == what) {
            Some(row) => row,
            None => {
                self.rows.push((what.to_owned(), Vec::new()));
                self.rows.len() - 1
            }
        };
        let cells = &mut self.rows[row].1;
        match cells.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, figures)) => figures.push(figure),
            None => cells.push((kind, vec![figure])),
        }
    }

    fn kinds(&self) -> Vec<K> {
        let mut kinds = Vec::new();
        for (kind, _) in self.rows.iter().flat_map(|(_, cells)| cells) {
            if !kinds.contains(kind) {
                kinds.push(*kind);
            }
        }
        kinds
    }
}

impl<K: Copy + PartialEq + fmt::Display> fmt::Display for Table<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.kinds();
        write!(f, "| |")?;
        kinds.iter().try_for_each(|kind| write!(f, " {kind} |"))?;
        let both = |(one, other): &&(K, K)| kinds.contains(one) && kinds.contains(other);
        let compared: Vec<_> = self.compared.iter().filter(both).collect();
        compared.iter().try_for_each(|(one, other)| write!(f, " {one} : {other} |"))?;
        writeln!(f)?;
        write!(f, "|---|")?;
        (0..kinds.len() + compared.len()).try_for_each(|_| write!(f, "---:|"))?;
        writeln!(f)?;
        for (what, cells) in &self.rows {
            let figures =
                |kind: K| cells.iter().find(|(other, _)| *other == kind).map(|(_, figures)| figures);
            write!(f, "| {what} |")?;
            for kind in &kinds {
                match figures(*kind) {
                    Some(figures) => write!(f, " {} |", spread(figures))?,
                    None => write!(f, " – |")?,
                }
            }
            for (one, other) in &compared {
                match (figures(*one), figures(*other)) {
                    (Some(ours), Some(theirs)) => write!(f, " {:.1} |", median(ours) / median(theirs))?,
                    _ => write!(f, " – |")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

fn spread(figures: &[f64]) -> String {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(0.0, f64::max);
    format!("{} ({}–{})", grouped(median(figures)), grouped(least), grouped(most))
}

/// `12,345`, `4.2`
fn grouped(figure: f64) -> String {
    if figure < 10.0 {
        return format!("{figure:.1}");
    }
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stacks::Kind;

    #[test]
    fn a_table_shows_medians_ranges_and_ratios() {
        let mut table = Table::comparing(&[(Kind::Embedded, Kind::Express)]);
        for figure in [1000.0, 3000.0, 2000.0] {
            table.add("reads", Kind::Embedded, figure);
        }
        table.add("reads", Kind::Express, 500.0);

        assert_eq!(
            table.to_string(),
            "| | Carmel, SQLite | Express | Carmel, SQLite : Express |\n|---|---:|---:|---:|\n\
             | reads | 2,000 (1,000–3,000) | 500 (500–500) | 4.0 |\n"
        );
    }
}

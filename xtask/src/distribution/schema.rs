//! The tables, as the migrations in the source make them.

use super::words::words;
use crate::{shell::Done, sql::scans};

/// A table, as far as it matters here.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub name: String,
    /// The columns of its primary key.
    pub key: Vec<String>,
    /// What is unique besides.
    pub unique: Vec<Vec<String>>,
    /// Columns that refer to a table.
    pub references: Vec<(String, String)>,
}

/// Every table that a migration of a service makes.
pub fn tables() -> Done<Vec<Table>> {
    let mut found = Vec::new();
    let scans = scans()?;
    scans.iter().flat_map(|scan| &scan.migrations).for_each(|sql| made_by(sql, &mut found));
    Ok(found)
}

/// The tables that one migration makes, and what it makes unique in them.
fn made_by(sql: &str, tables: &mut Vec<Table>) {
    for statement in sql.split(';') {
        match words(statement).as_slice() {
            ["CREATE", "TABLE", name, "(", rest @ ..] => tables.push(table(name, rest)),
            ["CREATE", "UNIQUE", "INDEX", _, "ON", name, rest @ ..] => {
                if let Some(table) = tables.iter_mut().find(|table| table.name == *name) {
                    table.unique.push(columns(rest));
                }
            }
            _ => {}
        }
    }
}

fn table(name: &str, words: &[&str]) -> Table {
    let mut table = Table { name: name.to_owned(), ..Table::default() };
    let (mut depth, mut first) = (0, "");
    for (at, word) in words.iter().enumerate() {
        let begins = at == 0 || depth == 0 && words[at - 1] == ",";
        if begins {
            first = word;
        }
        // Behind a column it is that column, at the beginning it names its own.
        let these =
            |after: usize| if begins { columns(&words[at + after..]) } else { vec![first.to_owned()] };
        match *word {
            "(" => depth += 1,
            ")" => depth -= 1,
            "PRIMARY" if depth == 0 => table.key = these(2),
            "REFERENCES" => table.references.push((first.to_owned(), words[at + 1].to_owned())),
            "UNIQUE" if depth == 0 => table.unique.push(these(1)),
            _ => {}
        }
    }
    table
}

/// `(a, b)`
fn columns(words: &[&str]) -> Vec<String> {
    let inside = words.iter().skip(1).take_while(|word| **word != ")");
    inside.filter(|word| **word != ",").map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_off_a_migration() {
        let sql = "CREATE TABLE a (id UUID PRIMARY KEY, mail TEXT NOT NULL UNIQUE, n BIGINT REFERENCES b (x) CHECK (n > 0));
             CREATE TABLE b (x TEXT, y TEXT DEFAULT 'a, (b', PRIMARY KEY (x, y), UNIQUE (y, x));
             CREATE UNIQUE INDEX i ON a (n, mail) WHERE n > 1;";
        let mut found = Vec::new();

        made_by(sql, &mut found);

        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!((found[0].key.clone(), found[1].key.clone()), (list(&["id"]), list(&["x", "y"])));
        assert_eq!(found[0].unique, [list(&["mail"]), list(&["n", "mail"])]);
        assert_eq!(found[0].references, [("n".to_owned(), "b".to_owned())]);
        assert_eq!(found[1].unique, [list(&["y", "x"])]);
    }
}

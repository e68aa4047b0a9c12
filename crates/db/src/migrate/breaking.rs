//! What the version before may not survive, found in the text of a migration.

use super::translate::pieces;

/// The first words that take something away from those who know only the tables
/// of before. What a migration makes itself it may change as it likes.
pub(super) fn find(sql: &str) -> Option<String> {
    let mut made: Vec<String> = Vec::new();
    sql_statements(sql).into_iter().find_map(|words| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["CREATE", "TABLE", "IF", "NOT", "EXISTS", table, ..] | ["CREATE", "TABLE", table, ..] => {
                made.push((*table).to_owned());
                None
            }
            ["CREATE", "UNIQUE", "INDEX", name, "ON", table, ..] if !has(&made, table) => {
                Some(format!("CREATE UNIQUE INDEX {name}"))
            }
            ["DROP", "INDEX", ..] => None, // slower, and right
            ["DROP", what, ..] => Some(format!("DROP {what}")),
            ["ALTER", "TABLE", table, change @ ..] if !has(&made, table) => of_table(change),
            _ => None,
        }
    })
}

fn has(made: &[String], table: &str) -> bool {
    made.iter().any(|name| name == table)
}

/// What a change of a table takes away.
fn of_table(change: &[&str]) -> Option<String> {
    // Changes of one table are separated by commas.
    change.split(|word| *word == ",").find_map(|words| match words {
        ["ADD", rule @ ("CONSTRAINT" | "UNIQUE" | "CHECK" | "PRIMARY" | "FOREIGN"), ..] => {
            Some(format!("ADD {rule}"))
        }
        ["ADD", column @ ..] => {
            let must_be_given = column.windows(2).any(|pair| pair == ["NOT", "NULL"]);
            let is_given = column.contains(&"DEFAULT");
            (must_be_given && !is_given).then(|| "ADD COLUMN … NOT NULL without a DEFAULT".to_owned())
        }
        ["ALTER", "COLUMN", _, "SET", "DEFAULT", ..] | ["ALTER", "COLUMN", _, "DROP", "NOT", "NULL"] => None,
        [first @ ("DROP" | "RENAME" | "ALTER"), second, ..] => Some(format!("{first} {second}")),
        _ => None,
    })
}

/// Statements, each in words; what can be written small or large is large. What
/// is within brackets is one word, so that a comma in there separates nothing.
fn sql_statements(sql: &str) -> Vec<Vec<String>> {
    let mut statements = vec![Vec::new()];
    let mut depth = 0;
    for piece in pieces(sql) {
        match piece {
            _ if piece.starts_with(char::is_whitespace)
                || piece.starts_with("--")
                || piece.starts_with("/*") => {}
            "(" => depth += 1,
            ")" => depth -= 1,
            _ if depth > 0 => {}
            ";" => statements.push(Vec::new()),
            _ => {
                let statement = statements.last_mut().expect("there is always one");
                statement.push(piece.to_ascii_uppercase());
            }
        }
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_away_is_found_and_what_adds_is_not() {
        for (sql, found) in [
            ("CREATE TABLE t (id BIGINT, n BIGINT NOT NULL); CREATE UNIQUE INDEX i ON t (n)", None),
            ("CREATE TABLE t (id BIGINT); ALTER TABLE t ADD CONSTRAINT c CHECK (id > 0)", None),
            ("CREATE INDEX i ON t (n); DROP INDEX j", None),
            ("ALTER TABLE t ADD COLUMN n BIGINT", None),
            ("ALTER TABLE t ADD COLUMN n BIGINT NOT NULL DEFAULT 0", None),
            ("ALTER TABLE t ALTER COLUMN n DROP NOT NULL; UPDATE t SET n = 1", None),
            ("INSERT INTO t (id) VALUES ('DROP TABLE t'); -- DROP TABLE t\n", None),
            ("alter table t add column n bigint not null", Some("ADD COLUMN … NOT NULL without a DEFAULT")),
            ("ALTER TABLE t ADD n BIGINT, DROP COLUMN m", Some("DROP COLUMN")),
            ("ALTER TABLE t RENAME COLUMN n TO m", Some("RENAME COLUMN")),
            ("ALTER TABLE t ALTER COLUMN n SET NOT NULL", Some("ALTER COLUMN")),
            ("ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0)", Some("ADD CONSTRAINT")),
            ("ALTER TABLE t ADD CHECK (n > 0)", Some("ADD CHECK")),
            ("CREATE TABLE u (id BIGINT); drop table t", Some("DROP TABLE")),
            ("CREATE UNIQUE INDEX i ON t (n)", Some("CREATE UNIQUE INDEX I")),
        ] {
            assert_eq!(find(sql).as_deref(), found, "{sql}");
        }
    }
}

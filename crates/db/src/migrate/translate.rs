//! From the text of a migration to the engine's own.

use crate::Engine;

/// The text as the engine wants it. Types are recognised where a type can
/// stand: behind a name or behind `AS`, outside of quotes and comments.
pub(super) fn translate(sql: &str, engine: Engine) -> String {
    let mut out = String::with_capacity(sql.len() + 64);
    let mut statement: Vec<&str> = Vec::new(); // its first words, in order
    let mut previous = "";
    let mut end = 0; // of the statement, before the comments that follow it
    let pieces = pieces(sql);
    for (place, &piece) in pieces.iter().enumerate() {
        if piece.starts_with(char::is_whitespace) || piece.starts_with("--") || piece.starts_with("/*") {
            out.push_str(piece);
            continue;
        }
        if piece == ";" {
            finish(&mut out, end, &statement, engine);
            statement.clear();
        } else if statement.len() < 3 {
            statement.push(piece);
        }
        let next = pieces[place + 1..].iter().find(|piece| !piece.starts_with(char::is_whitespace));
        out.push_str(&typed(piece, previous, next.copied().unwrap_or_default(), &statement, engine));
        previous = piece;
        end = out.len();
    }
    finish(&mut out, end, &statement, engine);
    out
}

/// Ends a statement: a table of SQLite is a strict one.
fn finish(out: &mut String, end: usize, statement: &[&str], engine: Engine) {
    if engine == Engine::Sqlite && begins(statement, &["CREATE", "TABLE"]) {
        out.insert_str(end, " STRICT");
    }
}

/// The piece, or the engine's name for the type that it is.
fn typed(piece: &str, previous: &str, next: &str, statement: &[&str], engine: Engine) -> String {
    let behind_name = previous.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"')
        && !["AND", "OR", "NOT", "IN", "BY"].iter().any(|word| previous.eq_ignore_ascii_case(word));
    if !behind_name {
        return piece.to_owned();
    }
    let cast = previous.eq_ignore_ascii_case("AS");
    let table = begins(statement, &["CREATE", "TABLE"]) || begins(statement, &["ALTER", "TABLE"]);
    let own = match (engine, piece.to_ascii_uppercase().as_str()) {
        (Engine::Sqlite, "UUID" | "BYTEA") => "BLOB",
        (Engine::Sqlite, "BOOLEAN" | "BIGINT") => "INTEGER",
        (Engine::Postgres, "TEXT") if table && !cast && !next.eq_ignore_ascii_case("COLLATE") => {
            "TEXT COLLATE \"C\""
        }
        _ => piece,
    };
    own.to_owned()
}

fn begins(statement: &[&str], words: &[&str]) -> bool {
    statement.len() >= words.len() && statement.iter().zip(words).all(|(a, b)| a.eq_ignore_ascii_case(b))
}

/// Words, quoted texts, comments, spaces and single signs, in order and complete.
pub(super) fn pieces(sql: &str) -> Vec<&str> {
    let mut rest = sql;
    let mut pieces = Vec::new();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            _ if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            c if c.is_whitespace() => rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len()),
            c if c.is_alphanumeric() || c == '_' => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            c => c.len_utf8(),
        };
        let (piece, after) = rest.split_at(length);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_gets_the_types_of_its_engine() {
        let sql = "CREATE TABLE t (id UUID PRIMARY KEY, text TEXT NOT NULL DEFAULT 'a UUID; it''s', \
                   n BIGINT, ok BOOLEAN, b BYTEA, uuid UUID) -- BIGINT; no\n; \
                   CREATE INDEX t_text ON t (text);";

        assert_eq!(
            translate(sql, Engine::Sqlite),
            "CREATE TABLE t (id BLOB PRIMARY KEY, text TEXT NOT NULL DEFAULT 'a UUID; it''s', \
             n INTEGER, ok INTEGER, b BLOB, uuid BLOB) STRICT -- BIGINT; no\n; \
             CREATE INDEX t_text ON t (text);"
        );
        assert_eq!(translate(sql, Engine::Postgres), sql.replace("text TEXT", "text TEXT COLLATE \"C\""));
    }

    #[test]
    fn text_that_is_cast_or_already_ordered_stays() {
        let sql = "ALTER TABLE t ADD COLUMN s TEXT COLLATE \"C\" CHECK (CAST(n AS TEXT) <> '')";

        assert_eq!(translate(sql, Engine::Postgres), sql);
    }
}

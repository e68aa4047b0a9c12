//! Finds the SQL texts of one source file.

use std::collections::BTreeMap;

use crate::{
    lexer::{Token, Word, tokens},
    sql::Text,
};

/// What one file holds.
#[derive(Default)]
pub struct Scan {
    /// What was found.
    pub texts: Vec<Text>,
    /// Texts that make tables.
    pub migrations: Vec<String>,
    /// Where a text could not be read, and why.
    pub unreadable: Vec<String>,
    /// `#[cfg(test)] mod name;`
    pub test_modules: Vec<String>,
}

/// Looks through one file, tests left out.
pub fn scan(krate: &str, file: &str, source: &str) -> Scan {
    let mut found = Scan::default();
    let tokens = without_tests(tokens(source), &mut found.test_modules);
    let constants = constants(&tokens);
    for token in &tokens {
        if let Word::Text(text) = &token.word
            && text.contains("CREATE TABLE ")
        {
            found.migrations.push(text.clone());
        }
    }
    for at in 0..tokens.len() {
        let Some(wanted) = call(&tokens, at) else { continue };
        let line = tokens[at].line;
        match texts(&tokens[at + 2..], wanted, &constants) {
            Some(said) => found.texts.push(Text {
                krate: krate.into(),
                file: file.into(),
                line,
                sqlite: said[0].clone(),
                postgres: said[wanted - 1].clone(),
            }),
            None => found.unreadable.push(format!(
                "{file}:{line}: the SQL is neither a text in quotes nor a constant of this file, so it cannot be checked"
            )),
        }
    }
    found
}

/// How many texts the call that begins here takes, if it is `query(`,
/// `query_for(` or `many(`, by itself or of `db`: not a method, not a definition.
fn call(tokens: &[Token], at: usize) -> Option<usize> {
    let wanted = match &tokens[at].word {
        Word::Name(name) if name == "query" => 1,
        Word::Name(name) if name == "query_for" || name == "many" => 2,
        _ => return None,
    };
    let sign = |at: usize, sign| tokens.get(at).is_some_and(|token| token.word == Word::Sign(sign));
    let name =
        |at: usize, name: &str| tokens.get(at).is_some_and(|token| token.word == Word::Name(name.into()));
    let before = at.checked_sub(1);
    let foreign = before.is_some_and(|before| {
        let of_path = sign(before, ':') && !(before >= 2 && name(before - 2, "db"));
        sign(before, '.') || name(before, "fn") || of_path
    });
    (sign(at + 1, '(') && !foreign).then_some(wanted)
}

/// The first arguments of a call, each a text, `concat!` of texts or a constant.
fn texts(tokens: &[Token], wanted: usize, constants: &BTreeMap<String, String>) -> Option<Vec<String>> {
    let mut said = Vec::new();
    let mut rest = tokens;
    while said.len() < wanted {
        let (text, after) = value(rest, constants)?;
        said.push(text);
        match rest.get(after).map(|token| &token.word) {
            Some(Word::Sign(',')) => rest = &rest[after + 1..],
            Some(Word::Sign(')')) if said.len() == wanted => break,
            _ => return None,
        }
    }
    Some(said)
}

/// A text and how many tokens it takes.
fn value(tokens: &[Token], constants: &BTreeMap<String, String>) -> Option<(String, usize)> {
    match &tokens.first()?.word {
        Word::Text(text) => Some((text.clone(), 1)),
        Word::Name(name) if name == "concat" => {
            let mut said = String::new();
            for (at, token) in tokens.iter().enumerate().skip(3) {
                match &token.word {
                    Word::Text(text) => said.push_str(text),
                    Word::Sign(',') => {}
                    Word::Sign(')') => return Some((said, at + 1)),
                    _ => return None,
                }
            }
            None
        }
        Word::Name(name) => Some((constants.get(name)?.clone(), 1)),
        _ => None,
    }
}

/// `const NAME: &str = "…";` anywhere in the file.
fn constants(tokens: &[Token]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for at in 0..tokens.len() {
        if tokens[at].word != Word::Name("const".into()) {
            continue;
        }
        let Some(Token { word: Word::Name(name), .. }) = tokens.get(at + 1) else {
            continue;
        };
        let rest = &tokens[at + 2..];
        let Some(equals) = rest.iter().take(8).position(|token| token.word == Word::Sign('=')) else {
            continue;
        };
        if let Some((text, _)) = value(&rest[equals + 1..], &found) {
            found.insert(name.clone(), text);
        }
    }
    found
}

/// Leaves out whatever stands under `#[cfg(test)]`, and notes modules of that
/// kind which have a file of their own.
fn without_tests(tokens: Vec<Token>, modules: &mut Vec<String>) -> Vec<Token> {
    let marks = ["#", "[", "cfg", "(", "test", ")", "]"];
    let is_mark = |at: usize| {
        marks.iter().enumerate().all(|(offset, mark)| {
            match tokens.get(at + offset).map(|token| &token.word) {
                Some(Word::Name(name)) => name == mark,
                Some(Word::Sign(sign)) => mark.len() == 1 && mark.starts_with(*sign),
                _ => false,
            }
        })
    };
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if !is_mark(at) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += marks.len();
        let mut depth = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token.word {
                Word::Sign('{') => depth += 1,
                Word::Sign('}') => depth -= 1,
                Word::Sign(';') if depth == 0 => {
                    if let [.., Token { word: Word::Name(key), .. }, Token { word: Word::Name(name), .. }] =
                        &tokens[..at - 1]
                        && key == "mod"
                    {
                        modules.push(name.clone());
                    }
                    break;
                }
                _ => continue,
            }
            if depth == 0 {
                break;
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sql::module_files;

    fn found(source: &str) -> Vec<(usize, String, String)> {
        let scan = scan("shop", "crates/shop/src/store.rs", source);
        assert_eq!(scan.unreadable, Vec::<String>::new());
        scan.texts.into_iter().map(|text| (text.line, text.sqlite, text.postgres)).collect()
    }

    #[test]
    fn every_form_of_a_query_is_found() {
        let table = [
            (r#"query("SELECT 1").execute(tx)"#, 1, "SELECT 1", "SELECT 1"),
            ("db::query(\n  \"SELECT 1\",\n)", 1, "SELECT 1", "SELECT 1"),
            ("\n query_for(\n  // SQLite has one writer.\n \"A\",\n \"B\",\n )", 2, "A", "B"),
            ("let find = many(\n \"A\",\n \"B\",\n);", 1, "A", "B"),
            ("const ALL: &str = \"SELECT a\"; fn f() { query(ALL) }", 1, "SELECT a", "SELECT a"),
            ("query(concat!(\"SELECT \", \"a\"))", 1, "SELECT a", "SELECT a"),
            ("query(r#\"SELECT \"a\"\"#)", 1, "SELECT \"a\"", "SELECT \"a\""),
        ];
        for (source, line, sqlite, postgres) in table {
            assert_eq!(found(source), [(line, sqlite.into(), postgres.into())], "{source}");
        }
    }

    #[test]
    fn what_only_looks_like_a_query_is_left_alone() {
        let sources = [
            "uri.query()",
            "fn query(sql: &'static str) {}",
            "reqwest::query(a)",
            "// query(\"a\")",
            "let query = 1;",
            "\"query(1)\"",
            "#[cfg(test)]\nmod tests { fn f() { query(\"x\"); { query(y) } } }",
        ];
        for source in sources {
            assert_eq!(found(source), [], "{source}");
        }
        assert_eq!(found("#[cfg(test)] mod t { } fn f() { query(\"a\") }").len(), 1);
    }

    #[test]
    fn a_text_that_cannot_be_read_off_the_source_is_refused() {
        for source in
            ["query(&sql)", "query(format!(\"a\"))", "query_for(\"a\", other)", "query(\"a\".trim())"]
        {
            let scan = scan("shop", "crates/shop/src/store.rs", source);

            assert!(scan.texts.is_empty(), "{source}");
            assert!(scan.unreadable[0].starts_with("crates/shop/src/store.rs:1: "), "{source}");
        }
    }

    #[test]
    fn modules_of_tests_in_their_own_files_are_known() {
        let scan =
            scan("shop", "crates/shop/src/a.rs", "#[cfg(test)]\n#[allow(unused)]\nmod tests;\nmod other;");

        assert_eq!(scan.test_modules, ["tests"]);
        let files = module_files(Path::new("src/a.rs"), "tests");
        assert_eq!(files, [Path::new("src/a/tests.rs"), Path::new("src/a/tests")]);
        assert_eq!(module_files(Path::new("src/lib.rs"), "tests")[0], Path::new("src/tests.rs"));
    }
}

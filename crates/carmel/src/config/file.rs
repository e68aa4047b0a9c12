//! Reads `carmel.toml`: each value with the line it stands on.

use std::path::Path;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    declare::Key,
    kind::Found,
    load::Given,
    origin::{Origin, Problem, meant},
};

/// What a settings file gives and what is wrong with it. `path` is how the
/// file is called in messages.
pub(super) fn read(path: &Path, text: &str, keys: &[Key]) -> (Vec<Given>, Vec<Problem>) {
    let mut reader = Reader { path, text, keys, given: Vec::new(), problems: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        // Only the message: the line itself may hold a secret.
        let at = reader.origin(error.span().map_or(0, |span| span.start));
        reader.problems.push(Problem::new(at, format!("is not TOML: {}", one_line(error.message()))));
    }
    // What could be made out of a broken file would only be guessed at.
    if errors.is_empty() {
        for (name, value) in document.get_ref() {
            reader.section(name, value);
        }
    }
    (reader.given, reader.problems)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    keys: &'a [Key],
    given: Vec<Given>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn section(&mut self, name: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let (start, written) = (name.span().start, name.get_ref().as_ref());
        let keys = self.keys;
        let known = keys.iter().any(|key| key.section() == written);
        match value.get_ref() {
            DeValue::Table(table) if known => {
                for (leaf, value) in table {
                    self.leaf(written, leaf, value);
                }
            }
            DeValue::Table(_) => {
                let mut sections: Vec<_> = keys.iter().map(Key::section).collect();
                sections.dedup();
                let hint = match meant(written, '.', sections.iter().copied()) {
                    Some(section) => format!("did you mean [{section}]?"),
                    None => format!("the sections are {}", sections.join(", ")),
                };
                self.problem(start, format!("[{written}]: no such section; {hint}"));
            }
            _ if known => {
                self.problem(
                    start,
                    format!("{written}: is a section; [{written}] with its keys below would be right"),
                );
            }
            _ => {
                let hint = match meant(written, '.', keys.iter().map(|key| key.name)) {
                    Some(name) => format!("did you mean {name}?"),
                    None => "every key stands in a section, such as port in [server]".into(),
                };
                self.problem(start, format!("{written}: no such setting; {hint}"));
            }
        }
    }

    fn leaf(
        &mut self,
        section: &str,
        leaf: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let written = format!("{section}.{}", leaf.get_ref());
        let keys = self.keys;
        match keys.iter().position(|key| key.name == written) {
            Some(key) => {
                let origin = self.origin(leaf.span().start);
                self.given.push(Given { key, origin, found: found(value.get_ref()) });
            }
            None => {
                let hint = match meant(&written, '.', keys.iter().map(|key| key.name)) {
                    Some(name) => format!("did you mean {name}?"),
                    None => {
                        let leaves: Vec<_> =
                            keys.iter().filter(|key| key.section() == section).map(Key::leaf).collect();
                        format!("[{section}] has {}", leaves.join(", "))
                    }
                };
                self.problem(leaf.span().start, format!("{written}: no such setting; {hint}"));
            }
        }
    }

    fn problem(&mut self, start: usize, message: String) {
        self.problems.push(Problem::new(self.origin(start), message));
    }

    fn origin(&self, start: usize) -> Origin {
        let before = &self.text.as_bytes()[..start.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Origin::File { path: self.path.to_owned(), line }
    }
}

fn found(value: &DeValue<'_>) -> Found {
    match value {
        DeValue::String(text) => Found::Quoted(text.to_string()),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(whole) => Found::Whole(whole),
            Err(_) => Found::Other(number.to_string()),
        },
        DeValue::Float(number) => Found::Other(number.to_string()),
        DeValue::Boolean(flag) => Found::Flag(*flag),
        DeValue::Datetime(time) => Found::Other(time.to_string()),
        DeValue::Array(parts) => Found::List(parts.iter().map(|part| found(part.get_ref())).collect()),
        DeValue::Table(_) => Found::Other("a table".into()),
    }
}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}

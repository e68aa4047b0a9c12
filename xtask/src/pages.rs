//! Pages that are made by the program itself, so that they cannot be wrong.

use std::fs;

use crate::shell::{Done, carmel, output, root};

/// Each page and what the program is asked for it.
const PAGES: &[(&str, &[&str])] = &[
    ("docs/settings.md", &["config", "reference", "--markdown"]),
    ("carmel.sample.toml", &["config", "reference", "--toml"]),
    ("docs/openapi.json", &["openapi"]),
];

/// Fails with the pages that are not what the program says now.
pub fn check() -> Done {
    let mut stale = Vec::new();
    for (page, arguments) in PAGES {
        let made = output(carmel()?.args(*arguments))?;
        let there = fs::read_to_string(root().join(page)).unwrap_or_default();
        if let Some(line) = first_difference(&there, &made) {
            stale.push(format!("{page} is out of date from line {line} on"));
        }
    }
    if stale.is_empty() {
        Ok(())
    } else {
        Err(format!("{}; `cargo xtask pages` writes them anew", stale.join(", ")))
    }
}

/// Writes every page anew.
pub fn write() -> Done {
    for (page, arguments) in PAGES {
        let made = output(carmel()?.args(*arguments))?;
        fs::write(root().join(page), made).map_err(|error| format!("{page} cannot be written: {error}"))?;
    }
    Ok(())
}

fn first_difference(one: &str, other: &str) -> Option<usize> {
    let differs = one.lines().zip(other.lines()).position(|(one, other)| one != other);
    let shorter = one.lines().count().min(other.lines().count());
    (one != other).then(|| differs.unwrap_or(shorter) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_named() {
        let table = [
            ("a\nb\n", "a\nb\n", None),
            ("a\nb\n", "a\nc\n", Some(2)),
            ("", "a\n", Some(1)),
            ("a\n", "a\nb\n", Some(2)),
            ("a\n", "a", Some(2)),
        ];
        for (one, other, line) in table {
            assert_eq!(first_difference(one, other), line, "{one:?} {other:?}");
        }
    }
}

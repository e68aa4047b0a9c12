//! Finds every SQL text of the crates and has both engines prepare it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use crate::{
    postgres::Server,
    scan::{Scan, scan},
    shell::{Done, carmel, root, run, target},
};

/// A statement in the two forms it has, mostly the same. A form that is empty
/// is never run on that engine: what is written for PostgreSQL only says so as
/// `query_for("", "…")`.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    /// The crate it stands in.
    pub krate: String,
    /// The file, from the root of the workspace.
    pub file: String,
    /// From 1.
    pub line: usize,
    pub sqlite: String,
    pub postgres: String,
}

/// What is not looked through: `db` asks the engines themselves and tests it
/// on both; the test kit has no tables.
const EXEMPT: [&str; 2] = ["db", "testkit"];

/// Has the program prepare every text on both engines, against an empty shop.
pub fn check(server: &Server) -> Done {
    let texts = list()?;
    let folder = target()?.join("sql");
    let io = |error: std::io::Error| format!("{}: {error}", folder.display());
    // A shop of an earlier run is not empty.
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(io)?;
    }
    fs::create_dir_all(&folder).map_err(io)?;
    let on = |engine: &str, form: fn(&Text) -> &str, program: &mut Command| {
        let texts: Vec<_> = texts.iter().filter(|text| !form(text).is_empty()).cloned().collect();
        let file = folder.join(format!("{engine}.json"));
        fs::write(&file, json(&texts)?).map_err(io)?;
        eprintln!("{} texts on {engine}", texts.len());
        // Not in the workspace, where a developer's own carmel.toml may lie.
        run(program.current_dir(&folder).args(["internal", "prepare-sql"]).arg(&file))
    };
    // Both engines in any case, so that one run names all that is wrong.
    let sqlite = on("SQLite", |text| &text.sqlite, &mut carmel()?);
    let postgres = server
        .with_database(|url| on("PostgreSQL", |text| &text.postgres, carmel()?.env("DATABASE_URL", url)));
    sqlite.and(postgres)
}

/// As the program reads them: `[{"crate", "file", "line", "sqlite", "postgres"}]`.
pub fn json(texts: &[Text]) -> Done<String> {
    let list: Vec<_> = texts
        .iter()
        .map(|text| {
            let Text { krate, file, line, sqlite, postgres } = text;
            json!({"crate": krate, "file": file, "line": line, "sqlite": sqlite, "postgres": postgres})
        })
        .collect();
    serde_json::to_string_pretty(&list).map_err(|error| error.to_string())
}

/// Every text under `crates/*/src`. Fails where one cannot be read off the
/// source, for it could not be checked either.
pub fn list() -> Done<Vec<Text>> {
    let scans = scans()?;
    let unreadable: Vec<_> = scans.iter().flat_map(|scan| scan.unreadable.clone()).collect();
    let texts = scans.into_iter().flat_map(|scan| scan.texts).collect();
    if unreadable.is_empty() { Ok(texts) } else { Err(unreadable.join("\n  ")) }
}

/// What stands in each file under `crates/*/src`, those of tests left out.
pub fn scans() -> Done<Vec<Scan>> {
    let crates = root().join("crates");
    let mut names: Vec<String> = fs::read_dir(&crates)
        .map_err(|error| format!("{} cannot be read: {error}", crates.display()))?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !EXEMPT.contains(&name.as_str()))
        .collect();
    names.sort();
    let mut scans = Vec::new();
    for name in &names {
        let mut files = Vec::new();
        sources(&crates.join(name).join("src"), &mut files)?;
        let (mut found, mut tests) = (Vec::new(), Vec::new());
        for (path, source) in &files {
            let file = path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned();
            let scan = scan(name, &file, source);
            tests.extend(scan.test_modules.iter().flat_map(|module| module_files(path, module)));
            found.push((path, scan));
        }
        let kept = found.into_iter().filter(|(path, _)| !tests.iter().any(|test| path.starts_with(test)));
        scans.extend(kept.map(|(_, scan)| scan));
    }
    Ok(scans)
}

fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) -> Done {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            found.push((path, text));
        }
    }
    Ok(())
}

/// Where `mod name;` in a file may have its content.
pub fn module_files(declared_in: &Path, module: &str) -> [PathBuf; 2] {
    let folder = declared_in.parent().unwrap_or(declared_in);
    let stem = declared_in.file_stem().unwrap_or_default();
    let own = ["lib", "main", "mod"].iter().any(|name| stem == *name);
    let folder = if own { folder.to_owned() } else { folder.join(stem) };
    [folder.join(format!("{module}.rs")), folder.join(module)]
}

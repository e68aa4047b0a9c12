//! A crate uses the floors below it, never its own floor and never one above.

use std::{collections::BTreeMap, fs, path::Path};

use crate::shell::{Done, root};

/// The floors from the ground up.
const FLOORS: [&[&str]; 6] = [
    &["kernel"],
    &["db"],
    &["cache", "bus", "jobs", "rpc", "web", "load"],
    &["contracts"],
    &["users", "catalog", "inventory", "orders", "payments", "notifications", "live", "gateway", "console"],
    &["carmel"],
];

/// Stand beside the building: they may use everything, and only their like and
/// tests may use them.
const BESIDE: [&str; 3] = ["testkit", "sim", "fuzz"];

/// Fails with every dependency that goes sideways or up.
pub fn check() -> Done {
    let breaches = breaches(&root().join("crates"))?;
    if breaches.is_empty() { Ok(()) } else { Err(breaches.join("\n  ")) }
}

fn breaches(crates: &Path) -> Done<Vec<String>> {
    let manifests = manifests(crates)?;
    let mut found = Vec::new();
    for (name, manifest) in &manifests {
        if BESIDE.contains(&name.as_str()) {
            continue;
        }
        let Some(own) = floor(name) else {
            found.push(format!("crates/{name} stands on no floor; name it in xtask/src/floors.rs"));
            continue;
        };
        for used in uses(manifest).into_iter().filter(|used| manifests.contains_key(used)) {
            if BESIDE.contains(&used.as_str()) {
                found.push(format!("{name} uses {used}, which is for tests: it belongs to dev-dependencies"));
            } else if floor(&used).is_none_or(|floor| floor >= own) {
                let floor = floor(&used).map_or("no floor".into(), |floor| format!("floor {floor}"));
                found.push(format!(
                    "{name} (floor {own}) uses {used} ({floor}); only floors below are allowed"
                ));
            }
        }
    }
    Ok(found)
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|crates| crates.contains(&name)).map(|at| at + 1)
}

/// Every crate by the name it has as a package.
fn manifests(crates: &Path) -> Done<BTreeMap<String, toml::Table>> {
    let mut found = BTreeMap::new();
    let entries =
        fs::read_dir(crates).map_err(|error| format!("{} cannot be read: {error}", crates.display()))?;
    for entry in entries.flatten() {
        let path = entry.path().join("Cargo.toml");
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let manifest: toml::Table = text.parse().map_err(|error| format!("{}: {error}", path.display()))?;
        let name =
            manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
        let name = name.ok_or_else(|| format!("{} names no package", path.display()))?;
        found.insert(name.to_owned(), manifest);
    }
    Ok(found)
}

/// The packages that a crate itself needs, for any platform; not what its tests need.
fn uses(manifest: &toml::Table) -> Vec<String> {
    const KINDS: [&str; 2] = ["dependencies", "build-dependencies"];
    let platforms = manifest.get("target").and_then(toml::Value::as_table);
    let platforms =
        platforms.into_iter().flat_map(|platforms| platforms.values().filter_map(toml::Value::as_table));
    let tables = std::iter::once(manifest).chain(platforms);
    let lists = tables.flat_map(|table| KINDS.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    lists
        .flatten()
        .map(|(name, how)| how.get("package").and_then(toml::Value::as_str).unwrap_or(name).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Crates by name with what follows `[package]` in their manifest.
    fn told(crates: &[(&str, &str)]) -> Vec<String> {
        let folder = std::env::temp_dir().join(format!("floors-{}-{}", std::process::id(), crates.len()));
        for (name, rest) in crates {
            fs::create_dir_all(folder.join(name)).unwrap();
            let text = format!("[package]\nname = \"{name}\"\n{rest}");
            fs::write(folder.join(name).join("Cargo.toml"), text).unwrap();
        }
        let found = breaches(&folder).unwrap();
        fs::remove_dir_all(folder).unwrap();
        found
    }

    #[test]
    fn the_workspace_keeps_its_floors() {
        assert_eq!(check(), Ok(()));
    }

    #[test]
    fn only_floors_below_may_be_used() {
        let found = told(&[
            ("kernel", "[dependencies]\nserde = \"1\"\nstock = { package = \"inventory\", path = \"\" }"),
            (
                "inventory",
                "[dependencies]\nkernel.workspace = true\n[dev-dependencies]\ncarmel.workspace = true",
            ),
            ("orders", "[dependencies]\ninventory.workspace = true\ntestkit.workspace = true"),
            ("web", "[target.'cfg(unix)'.dependencies]\ncarmel.workspace = true"),
            ("carmel", "[dependencies]\norders.workspace = true"),
            ("testkit", "[dependencies]\ncarmel.workspace = true"),
            ("attic", ""),
        ]);

        assert_eq!(
            found,
            [
                "crates/attic stands on no floor; name it in xtask/src/floors.rs",
                "kernel (floor 1) uses inventory (floor 5); only floors below are allowed",
                "orders (floor 5) uses inventory (floor 5); only floors below are allowed",
                "orders uses testkit, which is for tests: it belongs to dev-dependencies",
                "web (floor 3) uses carmel (floor 6); only floors below are allowed",
            ]
        );
    }
}

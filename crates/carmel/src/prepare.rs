//! `carmel internal prepare-sql FILE`: prepares every SQL text of the program
//! on an empty shop, for `cargo xtask check`.

use std::{collections::HashMap, path::Path};

use db::{Db, Engine};
use kernel::{Error, Result, World};
use serde::Deserialize;

use crate::{config::Config, databases::open, part::Part};

/// One text in the source, in both its forms.
#[derive(Deserialize)]
struct Text {
    #[serde(rename = "crate")]
    owner: String,
    file: String,
    line: u32,
    sqlite: String,
    postgres: String,
}

/// Prepares the texts listed in a JSON file; returns how many there were, or
/// one sentence per text that the engine refuses.
pub async fn prepare(
    config: &Config,
    world: &World,
    file: &Path,
) -> Result<std::result::Result<usize, Vec<String>>> {
    let json = std::fs::read_to_string(file).map_err(Error::internal)?;
    let texts: Vec<Text> = serde_json::from_str(&json).map_err(Error::internal)?;
    let mut databases: HashMap<&str, Db> = HashMap::new();
    for service in Part::services() {
        databases.insert(service.as_str(), open(config, world, service).await?);
    }
    let mut refused = Vec::new();
    for text in &texts {
        // Texts of the floors below run in every service; any of them will do.
        let db = databases.get(text.owner.as_str()).unwrap_or(&databases["orders"]);
        let sql = match db.engine() {
            Engine::Sqlite => &text.sqlite,
            Engine::Postgres => &text.postgres,
        };
        if let Err(error) = db.check(sql).await {
            refused.push(format!("{}:{}: {}", text.file, text.line, error.chain()));
        }
    }
    Ok(if refused.is_empty() { Ok(texts.len()) } else { Err(refused) })
}

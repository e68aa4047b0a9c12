//! What is wrong with the jobs of a database.
use db::Db;
use kernel::Result;
/// Breaches, each a sentence.
pub async fn audit(db: &Db) -> Result<Vec<String>> { let _ = db; todo!() }

//! One table after the other, in the order of its key. How far an earlier run
//! came is read off the table itself: its last row.

use db::{
    Db,
    table::{self, Table},
};
use kernel::{Error, Kind, Result};
use sha2::{Digest, Sha256};

/// Rows that are held in memory and kept together.
const BATCH: u32 = 500;

/// The tables of a service, as they are over there. Fails when the two
/// databases do not have the same.
pub async fn tables(from: &Db, to: &Db) -> Result<Vec<Table>> {
    let here: Result<_> = db::read!(from, async |tx| { table::tables(tx).await });
    let there: Result<_> = db::read!(to, async |tx| { table::tables(tx).await });
    let (here, there): (Vec<Table>, Vec<Table>) = (here?, there?);
    let (own, other) = (shapes(&here), shapes(&there));
    if own != other {
        let message = format!(
            "the tables here are {own:?}, there {other:?}: run this again with the program that began it"
        );
        return Err(Error::new(Kind::Internal, "tables_differ", message));
    }
    Ok(there)
}

/// Names of tables, each with the names of its columns.
fn shapes(tables: &[Table]) -> Vec<(&str, Vec<&str>)> {
    tables
        .iter()
        .map(|table| (table.name.as_str(), table.columns.iter().map(|column| column.name.as_str()).collect()))
        .collect()
}

/// Copies what is not there yet; returns how many rows that was, and tells
/// `after` with every batch.
pub async fn copy(from: &Db, to: &Db, table: &Table, after: impl Fn(u64)) -> Result<u64> {
    let mut copied = 0;
    let mut last = db::read!(to, async |tx| { table.last(tx).await })?;
    loop {
        let rows = db::read!(from, async |tx| { table.page(tx, last.as_ref(), BATCH).await })?;
        let Some(end) = rows.last() else { return Ok(copied) };
        db::write!(to, async |tx| { table.append(tx, &rows).await })?;
        copied += rows.len() as u64;
        last = Some(end.clone());
        after(copied);
    }
}

/// What a table holds.
#[derive(Debug, PartialEq)]
pub struct Sum {
    /// How many rows.
    pub rows: u64,
    /// SHA-256 over all of them, in the order of the key.
    hash: Vec<u8>,
}

/// Reads a table from its beginning to its end.
pub async fn sum(db: &Db, table: &Table) -> Result<Sum> {
    let (mut rows, mut hash) = (0, Sha256::new());
    let mut last = None;
    loop {
        let page = db::read!(db, async |tx| { table.page(tx, last.as_ref(), BATCH).await })?;
        page.iter().for_each(|row| hash.update(table::line(row)));
        rows += page.len() as u64;
        let Some(end) = page.last() else { return Ok(Sum { rows, hash: hash.finalize().to_vec() }) };
        last = Some(end.clone());
    }
}

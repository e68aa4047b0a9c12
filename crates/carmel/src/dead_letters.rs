//! `carmel jobs`: the work that was given up, and how a person brings it back.

use db::Db;
use kernel::{Error, JobId, Kind, Result};

use crate::shop::Shop;

/// The most dead letters that are listed of each service.
const LISTED: i64 = 200;

/// Prints the dead letters of every service, oldest first.
pub async fn list(shop: &Shop) -> Result<()> {
    let mut count = 0;
    for (service, db) in &shop.databases {
        for job in of(db).await? {
            count += 1;
            let why = job.last_error.as_deref().unwrap_or("for no reason that was kept");
            println!("{}  {service}  {}  after {} attempts: {why}", job.id, job.name, job.attempt);
        }
    }
    println!(
        "{count} dead letters{}",
        if count > 0 { "; `carmel jobs retry ID` or `--all` brings them back" } else { "" }
    );
    Ok(())
}

/// Gives one dead letter, or with no id all of them, their attempts again.
/// Returns how many. Not found: `no_such_dead_letter`.
pub async fn retry(shop: &Shop, id: Option<JobId>) -> Result<usize> {
    let mut count = 0;
    for (_, db) in &shop.databases {
        for job in of(db).await?.iter().filter(|job| id.is_none_or(|id| id == job.id)) {
            let retried: Result<()> = db::write!(db, async |tx| { jobs::retry(tx, job.id).await });
            match retried {
                Ok(()) => count += 1,
                // Somebody else was quicker, or the same work waits already.
                Err(error) if error.kind == Kind::Conflict => {
                    tracing::warn!(job.id = %job.id, error = error.message)
                }
                Err(error) => return Err(error),
            }
        }
    }
    match (count, id) {
        (0, Some(id)) => Err(Error::not_found(
            "no_such_dead_letter",
            format!("{id} is no dead letter that can be retried"),
        )),
        _ => Ok(count),
    }
}

async fn of(db: &Db) -> Result<Vec<jobs::JobView>> {
    db::read!(db, async |tx| { jobs::dead(tx, LISTED).await })
}

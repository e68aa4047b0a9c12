//! The rows.
use db::{Migration, Tx};
use kernel::{JobId, Result, Time};

use crate::{Job, JobView, Options};
/// The tables.
pub const MIGRATIONS: &[Migration] = &[];
/// Adds a job.
pub async fn add<J: Job>(tx: &mut Tx, job: &J) -> Result<JobId> { add_with(tx, job, Options::default()).await }
/// Adds a job.
pub async fn add_with<J: Job>(tx: &mut Tx, job: &J, options: Options) -> Result<JobId> { let _ = (tx, job, options); todo!() }
/// Finds one.
pub async fn find(tx: &mut Tx, id: JobId) -> Result<Option<JobView>> { let _ = (tx, id); todo!() }
/// Dead letters.
pub async fn dead(tx: &mut Tx, limit: i64) -> Result<Vec<JobView>> { let _ = (tx, limit); todo!() }
/// Repeats a dead letter.
pub async fn retry(tx: &mut Tx, id: JobId) -> Result<()> { let _ = (tx, id); todo!() }
/// Pauses a queue.
pub async fn pause(tx: &mut Tx, queue: &str) -> Result<()> { let _ = (tx, queue); todo!() }
/// Resumes a queue.
pub async fn resume(tx: &mut Tx, queue: &str) -> Result<()> { let _ = (tx, queue); todo!() }
/// Paused queues.
pub async fn paused(tx: &mut Tx) -> Result<Vec<String>> { let _ = tx; todo!() }
/// Unfinished and not dead.
pub async fn pending(tx: &mut Tx) -> Result<i64> { let _ = tx; todo!() }
pub(crate) async fn renew(tx: &mut Tx, id: JobId, token: i64, until: Time) -> Result<bool> { let _ = (tx, id, token, until); todo!() }
pub(crate) async fn finish(tx: &mut Tx, id: JobId, token: i64) -> Result<bool> { let _ = (tx, id, token); todo!() }
pub(crate) async fn progress(tx: &mut Tx, id: JobId, token: i64, percent: i64) -> Result<bool> { let _ = (tx, id, token, percent); todo!() }

//! Queues that take jobs from others, who know BullMQ and nothing of the rows:
//! `queue.add('catalog.import', {…})` in any language.

use kernel::{Error, JobId, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Options, attempt::Crew, store};

/// A BullMQ job that somebody else added.
pub(crate) struct Foreign<'a> {
    pub queue: &'a str,
    pub id: &'a str,
    pub name: &'a str,
    pub data: &'a Value,
    /// When it was added, in milliseconds.
    pub added_at_ms: u64,
    pub priority: u32,
}

/// Writes its row, once however often it comes. The BullMQ job is over then:
/// it has brought the work, and the attempts at it are the row's. (Would it end
/// with the work, its adder would have to tell a failed attempt from a failed
/// job, and a Redis that forgets it would take the answer with it.)
pub(crate) async fn write_down(crew: &Crew, foreign: &Foreign<'_>) -> Result<JobId> {
    let kind = crew.kinds.get(foreign.name).filter(|kind| kind.queue == foreign.queue);
    let Some(kind) = kind else {
        return Err(Error::invalid("job_unknown", format!("nobody here does {}", foreign.name)));
    };
    let draft = (kind.draft)(foreign.data)?;
    let id = foreign.row();
    let priority = i32::try_from(foreign.priority).unwrap_or(i32::MAX);
    db::write!(crew.db, async |tx| {
        if store::find(tx, id).await?.is_some() {
            return Ok(id);
        }
        let options = Options { priority, ..Options::default() };
        store::insert_as(tx, id, draft.clone(), options).await
    })
}

impl Foreign<'_> {
    /// The row's id follows from what BullMQ knows of the job. Its id alone
    /// would not do: in a Redis that was emptied, BullMQ counts from 1 again.
    fn row(&self) -> JobId {
        let text = format!("{}\n{}\n{}", self.queue, self.id, self.added_at_ms);
        let hash = Sha256::digest(text.as_bytes());
        let chance = hash[..10].try_into().expect("a hash is longer than ten bytes");
        let made = uuid::Builder::from_unix_timestamp_millis(self.added_at_ms, &chance);
        JobId::from_uuid(made.into_uuid())
    }
}

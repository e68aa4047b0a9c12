//! What must always be true of messages.

use db::Db;
use jobs::State as JobState;
use kernel::{MessageId, Result};

use crate::store;

const PAGE: i64 = 500;

/// Breaches, each a sentence: a message that nobody will send, and one that
/// was never sent though its job says it is done.
pub async fn audit(db: &Db) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    let mut after = MessageId::from_uuid(Default::default());
    loop {
        let (page, last): (Vec<String>, Option<MessageId>) = db::snapshot!(db, async |tx| {
            let queued = store::queued(tx, after, PAGE).await?;
            let last = queued.last().map(|(id, _)| *id);
            let mut found = Vec::new();
            for (id, job) in queued {
                let job = match job {
                    Some(job) => ::jobs::find(tx, job).await?,
                    None => None,
                };
                match job {
                    None => found.push(format!("message {id} is queued and no job will send it")),
                    Some(job) if job.state == JobState::Done => {
                        found.push(format!("message {id} is queued and its job {} is done", job.id));
                    }
                    Some(_) => {}
                }
            }
            Ok::<_, kernel::Error>((found, last))
        })?;
        breaches.extend(page);
        match last {
            Some(last) => after = last,
            None => return Ok(breaches),
        }
    }
}

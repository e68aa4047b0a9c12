//! Saving mails, and that they were sent: many at once.

use std::sync::Arc;

use contracts::notifications::Queued;
use db::{Db, Gather, Tx};
use jobs::Run;
use kernel::{Email, Error, MessageId, OrderId, Result, UserId};

use crate::{Deliver, Message, State, Subject, store};

/// At most so many in one transaction.
const MOST: usize = 64;

/// A mail that somebody wants sent; checked.
pub struct Draft {
    pub key: String,
    pub order: Option<OrderId>,
    pub asked_by: Option<UserId>,
    pub to: Email,
    pub subject: Subject,
    pub text: String,
    pub html: Option<String>,
}

/// Gathers what the jobs of this service save at their end. Cheap to clone.
#[derive(Clone)]
pub struct Mails {
    written: Gather<Arc<(Draft, Run)>, ()>,
    sent: Gather<(MessageId, Run), bool>,
}

impl Mails {
    pub fn new(db: &Db) -> Mails {
        let written = Gather::writing(db, MOST, |tx, written: &[Arc<(Draft, Run)>]| {
            Box::pin(async move {
                queue(tx, &written.iter().map(|written| &written.0).collect::<Vec<_>>()).await?;
                Run::finish_all(tx, &written.iter().map(|written| &written.1).collect::<Vec<_>>()).await?;
                Ok(written.iter().map(|_| Ok(())).collect())
            })
        });
        let sent = Gather::writing(db, MOST, |tx, sent: &[(MessageId, Run)]| {
            Box::pin(async move {
                let ids: Vec<MessageId> = sent.iter().map(|(id, _)| *id).collect();
                let marked = store::mark_sent(tx, &ids).await?;
                Run::finish_all(tx, &sent.iter().map(|(_, run)| run).collect::<Vec<_>>()).await?;
                Ok(ids.iter().map(|id| Ok(marked.contains(id))).collect())
            })
        });
        Mails { written, sent }
    }

    /// Queues a mail and ends the job that wrote it.
    pub async fn write(&self, draft: Draft, run: &Run) -> Result<()> {
        self.written.call(Arc::new((draft, run.clone()))).await
    }

    /// Notes that a mail was sent and ends the job that sent it. Returns
    /// whether it was still to be sent.
    pub async fn mark_sent(&self, id: MessageId, run: &Run) -> Result<bool> {
        self.sent.call((id, run.clone())).await
    }
}

/// Saves mails with the jobs that send them. The same key is the same mail.
pub async fn queue(tx: &mut Tx, drafts: &[&Draft]) -> Result<Vec<Queued>> {
    let messages: Vec<Message> =
        drafts.iter().map(|draft| message(MessageId::new(tx.world()), draft)).collect();
    let new = store::insert(tx, &messages).await?;
    let new: Vec<MessageId> =
        messages.iter().map(|message| message.id).filter(|id| new.contains(id)).collect();
    let deliveries: Vec<Deliver> = new.iter().map(|id| Deliver { message: *id }).collect();
    let jobs = ::jobs::add_many(tx, &deliveries).await?;
    let of: Vec<_> = new.into_iter().zip(jobs).collect();
    store::set_jobs(tx, &of).await?;
    let mut of = of.into_iter().peekable();
    let mut queued = Vec::with_capacity(drafts.len());
    for message in messages {
        let job = match of.next_if(|(id, _)| *id == message.id) {
            Some((_, job)) => Some(job),
            None => store::find_by_key(tx, &message.key).await?.and_then(|before| before.job_id),
        };
        let job = job.ok_or_else(|| Error::internal("a message was saved without its job"))?;
        queued.push(Queued { job });
    }
    Ok(queued)
}

/// The same of one.
pub async fn queue_one(tx: &mut Tx, draft: &Draft) -> Result<Queued> {
    let queued = queue(tx, &[draft]).await?.pop();
    queued.ok_or_else(|| Error::internal("a mail was not queued"))
}

fn message(id: MessageId, draft: &Draft) -> Message {
    Message {
        id,
        key: draft.key.clone(),
        order_id: draft.order,
        asked_by: draft.asked_by,
        job_id: None,
        recipient: draft.to.clone(),
        subject: draft.subject.clone(),
        text: draft.text.clone(),
        html: draft.html.clone(),
        state: State::Queued,
    }
}

//! What can be done: write a mail, queue it, send it.

use std::{path::PathBuf, sync::Arc};

use contracts::{
    notifications::{Queued, SendMail},
    orders::{GetOrder, Orders},
    users::{GetUser, Users},
};
use db::Db;
use jobs::{JobView, Run};
use kernel::{Email, Error, JobId, MessageId, Result, UserId};
use web::{Answer, Caller, IdempotencyKey, Role};

use crate::{
    Message, State, Subject, Tell,
    mails::{self, Draft, Mails},
    post::Post,
    store,
    templates::{Mail, Templates},
};

/// How long a mail may be, text and HTML each.
const LONGEST_BYTES: usize = 256 * 1024;

/// What notifications needs to start.
pub struct Needs {
    /// Its own tables.
    pub db: Db,
    /// Who knows orders.
    pub orders: Arc<dyn Orders>,
    /// Who knows users.
    pub users: Arc<dyn Users>,
    /// How mails leave.
    pub settings: Settings,
}

/// How mails leave.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The mail server, `smtp://host[:port]`; one on this machine may have a
    /// `user:password@` before it. Without one, mails go into `folder`. May hold
    /// a secret.
    pub smtp_url: Option<String>,
    /// Where mails go when there is no mail server.
    pub folder: PathBuf,
    /// Who mails are from: `Carmel <shop@localhost>`.
    pub from: String,
    /// What the shop is called in mails.
    pub shop: String,
    /// Where customers find the shop, for links in mails.
    pub shop_url: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            smtp_url: None,
            folder: "data/mail".into(),
            from: "Carmel <shop@localhost>".into(),
            shop: "Carmel".into(),
            shop_url: "http://localhost:3000".into(),
        }
    }
}

/// Tells people what concerns them. Cheap to clone.
#[derive(Clone)]
pub struct Notifications {
    pub(crate) db: Db,
    orders: Arc<dyn Orders>,
    users: Arc<dyn Users>,
    mails: Mails,
    post: Arc<Post>,
    templates: Arc<Templates>,
}

impl Notifications {
    /// Ready to tell. Fails (`invalid_smtp_url`, `invalid_sender`) on settings
    /// that cannot be.
    pub fn new(needs: Needs) -> Result<Notifications> {
        let Needs { db, orders, users, settings } = needs;
        let post = Arc::new(Post::new(&settings)?);
        let templates = Arc::new(Templates::new(&settings));
        let mails = Mails::new(&db);
        Ok(Notifications { db, orders, users, mails, post, templates })
    }

    /// Writes the mail about an order and queues it, once per order and occasion.
    pub(crate) async fn tell(&self, job: Tell, run: &Run) -> Result<()> {
        let order = self.orders.order(GetOrder { id: job.order }).await?;
        let user = self.users.user(GetUser { id: order.customer }).await?;
        let mail = Mail { name: &user.name, order: &order, reason: job.reason.as_deref() };
        let (text, html) = self.templates.render(job.occasion, &mail)?;
        let subject = job.occasion.subject(&order.number);
        let mut key = format!("order:{}:{}", job.order, job.occasion);
        if self.db.world().planted("inbox_forgets") {
            key.push_str(&run.id.to_string()); // or the second mail would be harmless all the same
        }
        let draft = Draft {
            key,
            order: Some(job.order),
            asked_by: None,
            to: user.email,
            subject: subject.parse().map_err(|error: String| Error::internal(error))?,
            text,
            html: Some(html),
        };
        self.mails.write(draft, run).await
    }

    /// Queues a mail that a member of staff wrote; once per idempotency key.
    pub async fn send_for(
        &self,
        sender: UserId,
        key: Option<IdempotencyKey>,
        (to, subject, text): (Email, Subject, String),
    ) -> Result<Answer<Queued>> {
        let id = MessageId::new(self.db.world());
        let key_of_mail = format!("mail:{id}"); // what makes the second time harmless is the idempotency key
        let draft =
            Draft { key: key_of_mail, order: None, asked_by: Some(sender), to, subject, text, html: None };
        check_size("/body", &draft.text)?;
        web::once!(self.db, key, async |tx| { mails::queue_one(tx, &draft).await })
    }

    /// A job of this service, for staff and for who asked for its mail;
    /// `no_such_job` for everybody else.
    pub async fn job(&self, id: JobId, caller: Caller) -> Result<JobView> {
        let missing = || Error::not_found("no_such_job", format!("there is no job {id}"));
        db::read!(self.db, async |tx| {
            let job = ::jobs::find(tx, id).await?.ok_or_else(missing)?;
            let asked_by = store::find_by_job(tx, id).await?.and_then(|message| message.asked_by);
            if caller.role == Role::Customer && asked_by != Some(caller.id) {
                return Err(missing());
            }
            Ok(job)
        })
    }

    /// Sends a message unless it was sent. Noted after it is sent: when the
    /// process dies between the two it is sent again, under the same `Message-ID`.
    pub(crate) async fn deliver(&self, id: MessageId, run: &Run) -> Result<()> {
        let message: Option<Message> = db::read!(self.db, async |tx| { store::find(tx, id).await })?;
        let message = message
            .ok_or_else(|| Error::not_found("no_such_message", format!("there is no message {id}")))?;
        if message.state == State::Queued {
            self.post.send(self.db.world(), &message).await?;
        }
        if self.mails.mark_sent(id, run).await? {
            tracing::info!(message.id = %id, order.id = message.order_id.map(tracing::field::display), "mail sent");
        }
        Ok(())
    }
}

#[rpc::async_trait]
impl contracts::notifications::Notifications for Notifications {
    async fn send(&self, ask: SendMail) -> Result<Queued> {
        let subject = ask.subject.parse().map_err(|why: String| Error::invalid_field("/subject", why))?;
        check_size("/text", &ask.text)?;
        check_size("/html", ask.html.as_deref().unwrap_or_default())?;
        let key = format!("asked:{}", ask.key); // so that no other service can take the key of an order's mail
        let draft =
            Draft { key, order: None, asked_by: None, to: ask.to, subject, text: ask.text, html: ask.html };
        db::write!(self.db, async |tx| {
            tx.repeatable();
            mails::queue_one(tx, &draft).await
        })
    }
}

fn check_size(pointer: &str, text: &str) -> Result<()> {
    if text.len() <= LONGEST_BYTES {
        return Ok(());
    }
    Err(Error::invalid_field(pointer, format!("a mail has at most {LONGEST_BYTES} bytes")))
}

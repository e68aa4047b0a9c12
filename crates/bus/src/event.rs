//! What is announced, and who listens.

use async_trait::async_trait;
use db::{Db, Tx};
use kernel::{Error, EventId, Result, Time};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What is announced. One struct per payload; several topics may share it.
pub trait Event: Serialize + DeserializeOwned + Send + Sync {
    /// The service that announces it: `orders`.
    const SOURCE: &'static str;
    /// What happened, in the past tense: `orders.confirmed`.
    fn topic(&self) -> String;
    /// What it happened to: `ord_…`. Order is kept per entity.
    fn entity(&self) -> String;
    /// The entity's version after the change. An entity announces a topic at
    /// most once per version.
    fn version(&self) -> i64;
}

/// An event on its way: the attributes of CloudEvents 1.0 around its payload
/// (`version`, the entity's, is an extension).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Unique; the same when it is heard again.
    pub id: EventId,
    /// The service that announced it.
    pub source: String,
    /// What happened: CloudEvents `type`.
    #[serde(rename = "type")]
    pub topic: String,
    /// What it happened to.
    pub subject: String,
    /// The version of that after the change.
    pub version: i64,
    /// When it was saved.
    pub time: Time,
    /// The trace it belongs to (W3C), if its announcer gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The payload.
    pub data: serde_json::Value,
}

impl Envelope {
    /// As it travels: CloudEvents 1.0 in JSON, structured mode.
    pub(crate) fn to_json(&self) -> Result<String> {
        let sent = Sent { specversion: "1.0", datacontenttype: "application/json", event: self };
        serde_json::to_string(&sent).map_err(Error::internal)
    }

    /// Reads what [`Envelope::to_json`] wrote.
    pub(crate) fn from_json(text: &[u8]) -> Result<Envelope> {
        serde_json::from_slice(text).map_err(Error::internal)
    }

    /// The payload as its type; one that does not fit is a fault of ours.
    pub fn payload<E: DeserializeOwned>(&self) -> Result<E> {
        E::deserialize(&self.data).map_err(|error| {
            let event = format!("the payload of {} ({}) cannot be read", self.id, self.topic);
            Error::internal(error).because(event)
        })
    }
}

/// What other readers of CloudEvents want to see beside it.
#[derive(Serialize)]
struct Sent<'a> {
    specversion: &'static str,
    datacontenttype: &'static str,
    #[serde(flatten)]
    event: &'a Envelope,
}

/// Somebody who does something when others announce something.
#[async_trait]
pub trait Consumer: Send + Sync + 'static {
    /// Its name in the inbox and at the broker (its group), service first:
    /// `notifications.mail`. Never changes.
    fn name(&self) -> &'static str;
    /// The topics it hears, each in full, service first: `orders.confirmed`.
    fn topics(&self) -> &'static [&'static str];
    /// Where its effect and its inbox are.
    fn db(&self) -> &Db;
    /// Saves the effect in `tx`, beside the inbox row: called once per event
    /// that takes effect. Like every body of a transaction it may run again
    /// after a rollback and touches nothing but `tx`.
    async fn hear(&self, tx: &mut Tx, event: &Envelope) -> Result<()>;
    /// Saves the effect of many, in the order in which they came. When one of
    /// them is refused, each is heard by itself.
    async fn hear_all(&self, tx: &mut Tx, events: &[&Envelope]) -> Result<()> {
        for event in events {
            self.hear(tx, event).await?;
        }
        Ok(())
    }
}

//! What can be done: ask, decide, save.

mod accounts;
mod keys;
mod registrations;
mod sessions;

use std::{sync::Arc, time::Duration};

use cache::Remembered;
use contracts::users as contract;
use db::{Db, Gather};
use kernel::{Error, Kind, Result, UserId};
use tokio::sync::Mutex;

use crate::{Needs, Settings, model::Account, password::Hasher, store};

pub use accounts::Change;
use keys::Signer;
use registrations::Registrations;
pub use sessions::Tokens;

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    pub(crate) db: Db,
    pub(crate) settings: Arc<Settings>,
    pub(crate) hasher: Hasher,
    pub(crate) remembered: Remembered<UserId, Account>,
    registrations: Registrations,
    signer: Arc<Mutex<Option<Signer>>>,
}

/// How many accounts are remembered.
const REMEMBERED: u64 = 100_000;
/// How many reads become one statement.
const GATHERED: usize = 64;

impl Users {
    /// The service on its tables, which must be migrated.
    pub fn new(needs: Needs) -> Users {
        let Needs { db, shared, settings } = needs;
        Users {
            hasher: Hasher::new(db.world(), settings.cost, settings.hashing, settings.hashing_queue),
            remembered: remembered(&db, settings.remember).shared("users", shared.as_ref()),
            registrations: Registrations::new(&db),
            signer: Arc::default(),
            settings: Arc::new(settings),
            db,
        }
    }

    /// Sees to it that there is a key to sign with.
    pub async fn start(&self) -> Result<()> {
        self.signer().await.map(drop)
    }

    /// An account, as it is or was remembered; never older than a change that
    /// was answered here, nor, where processes share what they remember, than
    /// one that was answered elsewhere 50 ms ago.
    pub async fn find(&self, id: UserId) -> Result<Option<Account>> {
        self.remembered.get(&id).await
    }
}

#[rpc::async_trait]
impl contract::Users for Users {
    async fn keys(&self, _: contract::Keys) -> Result<Vec<contract::PublicKey>> {
        self.public_keys().await
    }

    async fn user(&self, ask: contract::GetUser) -> Result<contract::User> {
        let found = self.find(ask.id).await?;
        let Account { id, name, email, .. } = found.ok_or_else(|| {
            Error::new(Kind::NotFound, "no_such_user", format!("there is no user {}", ask.id))
        })?;
        Ok(contract::User { id, name: name.as_str().to_owned(), email })
    }
}

/// Accounts by id, remembered for a while.
fn remembered(db: &Db, keep: Duration) -> Remembered<UserId, Account> {
    let reads = reads(db);
    Remembered::new(db.world(), REMEMBERED, keep, move |id| {
        let reads = reads.clone();
        async move { reads.call(id).await }
    })
}

/// Accounts by id: of many who ask at once, one statement.
fn reads(db: &Db) -> Gather<UserId, Option<Account>> {
    let db = db.clone();
    Gather::new(db.clone().world(), GATHERED, move |ids: Vec<UserId>| {
        let db = db.clone();
        Box::pin(async move {
            let found: Result<Vec<Account>> = db::read!(db, async |tx| { store::find_all(tx, &ids).await });
            let found = found?;
            let answer = |id: &UserId| found.iter().find(|account| account.id == *id).cloned();
            Ok(ids.iter().map(|id| Ok(answer(id))).collect())
        })
    })
}

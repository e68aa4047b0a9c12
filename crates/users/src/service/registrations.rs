//! Making accounts, many at once: each with the news of it and the answer to
//! its key, or nothing of it.

use std::sync::Arc;

use bus::outbox;
use contracts::users::UserChange;
use db::{Db, Gather, Tx};
use kernel::Result;
use web::{Answer, IdempotencyKey, idempotency};

use crate::{model::Account, store};

/// At most so many in one transaction.
const MOST: usize = 64;

/// Gathers accounts that are to be made. Cheap to clone.
#[derive(Clone)]
pub struct Registrations {
    /// Those with a key: should the fate of a commit be unknown, they are asked for again.
    keyed: Gather<Arc<Registration>, Made>,
    /// Those without.
    plain: Gather<Arc<Registration>, Made>,
}

/// The account as it was made, now or before; nothing if its address has another.
type Made = Option<Answer<Account>>;

struct Registration {
    key: Option<IdempotencyKey>,
    account: Account,
    password_hash: Option<String>,
}

impl Registrations {
    pub fn new(db: &Db) -> Registrations {
        let gather = || Gather::writing(db, MOST, |tx, all| Box::pin(register(tx, all)));
        // Whoever repeats a request waits until it is known whether its key was used.
        let keyed = gather().one_of_each(|one: &Arc<Registration>| one.key.clone());
        Registrations { keyed, plain: gather() }
    }

    /// Makes it, once per key.
    pub async fn register(
        &self,
        key: Option<&IdempotencyKey>,
        account: Account,
        password_hash: Option<String>,
    ) -> Result<Made> {
        let gather = if key.is_some() { &self.keyed } else { &self.plain };
        gather.call(Arc::new(Registration { key: key.cloned(), account, password_hash })).await
    }
}

/// Makes those whose key is new and whose address is free. A key whose account
/// was not made can be used again.
async fn register(tx: &mut Tx, all: &[Arc<Registration>]) -> Result<Vec<Result<Made>>> {
    let keys: Vec<&IdempotencyKey> = all.iter().filter_map(|one| one.key.as_ref()).collect();
    let claimed = if keys.is_empty() { Vec::new() } else { idempotency::claim_all(tx, &keys).await? };
    let mut claimed = claimed.into_iter();
    let is_new: Vec<bool> =
        all.iter().map(|one| one.key.is_none() || claimed.next().unwrap_or_default()).collect();
    let new: Vec<&Registration> =
        all.iter().zip(&is_new).filter(|(_, is_new)| **is_new).map(|(one, _)| &**one).collect();

    let rows: Vec<_> = new.iter().map(|one| (&one.account, one.password_hash.as_deref())).collect();
    let inserted = store::insert(tx, &rows).await?;
    let (made, taken): (Vec<&Registration>, Vec<&Registration>) =
        new.into_iter().partition(|one| inserted.contains(&one.account.id));
    let events: Vec<_> = made.iter().map(|one| one.account.event(UserChange::Registered)).collect();
    outbox::add_many(tx, events.iter().map(|event| (event, None))).await?;
    let answers: Vec<_> = made.iter().filter_map(|one| Some((one.key.as_ref()?, &one.account))).collect();
    idempotency::answer_all(tx, &answers).await?;
    let unused: Vec<_> = taken.iter().filter_map(|one| one.key.as_ref()).collect();
    idempotency::give_back(tx, &unused).await?;

    let mut outcomes = Vec::with_capacity(all.len());
    for (one, is_new) in all.iter().zip(is_new) {
        outcomes.push(match &one.key {
            Some(key) if !is_new => idempotency::again(tx, key).await.map(Some),
            _ => Ok(inserted.contains(&one.account.id).then(|| Answer::first(one.account.clone()))),
        });
    }
    Ok(outcomes)
}

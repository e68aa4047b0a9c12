//! Making and changing accounts.

use bus::outbox;
use cache::Remembered;
use contracts::users::UserChange;
use db::Tx;
use kernel::{Email, Error, Result, UserId};
use web::{Answer, Caller, IdempotencyKey, IfMatch, List, Page, Role, idempotency};

use super::Users;
use crate::{
    model::{
        Account, AccountChange, ChangeError, Name, NewAccount, Password, RegisterError, may_change, may_see,
    },
    store::{self, Secrets},
};

/// Which change of which account, by whom.
pub struct Change<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// Whose account.
    pub id: UserId,
    /// The version that the caller looked at.
    pub if_match: IfMatch,
    /// What to change.
    pub change: AccountChange,
}

impl Users {
    /// Makes an account for a customer.
    pub async fn register(
        &self,
        new: NewAccount,
        key: Option<&IdempotencyKey>,
    ) -> Result<Answer<Account>, RegisterError> {
        let hash = self.hashed(new.password.as_ref()).await?;
        let account = self.account(new.name, new.email, Role::Customer);
        let email = account.email.clone();
        let made = self.registrations.register(key, account, hash).await?;
        made.ok_or(RegisterError::EmailTaken(email))
    }

    /// Changes an account, if the caller may.
    pub async fn change(
        &self,
        ask: Change<'_>,
        key: Option<&IdempotencyKey>,
    ) -> Result<Answer<Account>, ChangeError> {
        if let Some(key) = key
            && let Some(before) = idempotency::find(&self.db, key).await?
        {
            return Ok(before); // The version it was asked for is not the current one any more.
        }
        let Change { caller, id, if_match, change } = &ask;
        if change.is_empty() {
            return Err(ChangeError::Nothing);
        }
        let before = self.secrets(*id).await?;
        change.allowed(caller, &before.account)?;
        self.prove_password(change, &before).await?;
        let hash = self.hashed(change.password.as_ref()).await?;

        let changing = self.changing(*id);
        let outcome: Result<Answer<Account>, ChangeError> = web::once!(self.db, key, async |tx| {
            let now = store::take(tx, *id).await?.ok_or(ChangeError::NoSuchUser(*id))?;
            if_match.check(now.account.version - 1)?;
            change.allowed(caller, &now.account)?;
            if hash.is_some() && now.password_hash != before.password_hash {
                return Err(ChangeError::PasswordChanged);
            }
            if hash.is_some() {
                store::end_sessions(tx, *id, Some(caller.session)).await?;
            }
            let account = now.account.changed(change);
            save(tx, &account, hash.as_deref().or(now.password_hash.as_deref())).await?;
            Ok(account)
        });
        changing.done().await;
        match (outcome, &change.email) {
            // Two took one address at once: the database let one of them have
            // it, and its refusal does not say which column it was about.
            (Err(ChangeError::Other(error)), Some(email)) if !self.is_theirs(email, *id).await? => {
                tracing::debug!(user.id = %id, error = error.chain(), "an address was taken meanwhile");
                Err(ChangeError::EmailTaken(email.clone()))
            }
            (outcome, _) => outcome,
        }
    }

    /// Sets the password of an account that cannot set it itself, and ends its
    /// sessions. Staff do it for customers, administrators for everybody.
    pub async fn set_password(
        &self,
        caller: &Caller,
        id: UserId,
        password: &Password,
    ) -> Result<(), ChangeError> {
        may_change(caller, &self.secrets(id).await?.account)?;
        let hash = self.hasher.hash(password.as_bytes()).await?;
        let changing = self.changing(id);
        let saved = db::write!(self.db, async |tx| {
            let now = store::take(tx, id).await?.ok_or(ChangeError::NoSuchUser(id))?;
            may_change(caller, &now.account)?;
            store::end_sessions(tx, id, None).await?;
            save(tx, &now.account, Some(&hash)).await
        });
        changing.done().await;
        saved
    }

    /// An account that the caller may see.
    pub async fn get(&self, caller: &Caller, id: UserId) -> Result<Account, ChangeError> {
        let found = if may_see(caller, id) { self.find(id).await? } else { None };
        found.ok_or(ChangeError::NoSuchUser(id))
    }

    /// Accounts, the newest first; of one address if given.
    pub async fn list(&self, email: Option<&Email>, page: &Page) -> Result<List<Account>> {
        let before = page.after.as_ref().map(|cursor| cursor.key(0)).transpose()?;
        let rows: Result<Vec<Account>> =
            db::read_near!(self.db, async |tx| { store::list(tx, email, before, page.limit + 1).await });
        Ok(List::page(rows?, page, |account| web::Cursor::of(&[account.id])))
    }

    /// Sees to it that there is an administrator with this address and this
    /// password. Returns the account and whether it is new.
    pub async fn ensure_admin(
        &self,
        email: &Email,
        name: &Name,
        password: &Password,
    ) -> Result<(Account, bool), ChangeError> {
        let hash = self.hasher.hash(password.as_bytes()).await?;
        let new = self.account(name.clone(), email.clone(), Role::Admin);
        let saved: Result<(Account, bool), ChangeError> = db::write!(self.db, async |tx| {
            if store::insert(tx, &[(&new, Some(&hash))]).await?.contains(&new.id) {
                outbox::add(tx, &new.event(UserChange::Registered)).await?;
                return Ok((new.clone(), true));
            }
            let taken = match store::find_by_email(tx, email).await? {
                Some(found) => store::take(tx, found.account.id).await?,
                None => None,
            };
            let found = taken.ok_or_else(|| {
                Error::unavailable("user_changed", format!("{email} is just being changed"))
            })?;
            let account =
                Account { name: name.clone(), email: email.clone(), role: Role::Admin, ..found.account };
            store::end_sessions(tx, account.id, None).await?;
            save(tx, &account, Some(&hash)).await?;
            Ok((account, false))
        });
        if let Ok((account, _)) = &saved {
            self.remembered.changed(&account.id).await;
        }
        saved
    }

    /// The hash of a password, to be given to many accounts by [`Users::insert_many`].
    pub async fn hash_password(&self, password: &Password) -> Result<String> {
        self.hasher.hash(password.as_bytes()).await
    }

    /// Makes many customers with one password hash (or none), for sample data.
    /// Addresses that have an account are left out. Returns those made.
    pub async fn insert_many(
        &self,
        people: &[(Name, Email)],
        password_hash: Option<&str>,
    ) -> Result<Vec<Account>> {
        let mut made = Vec::with_capacity(people.len());
        for some in people.chunks(200) {
            let accounts: Vec<Account> = some
                .iter()
                .map(|(name, email)| self.account(name.clone(), email.clone(), Role::Customer))
                .collect();
            let inserted: Result<Vec<Account>> = db::write!(self.db, async |tx| {
                let rows: Vec<_> = accounts.iter().map(|account| (account, password_hash)).collect();
                let new = store::insert(tx, &rows).await?;
                let inserted: Vec<Account> =
                    accounts.iter().filter(|account| new.contains(&account.id)).cloned().collect();
                let events: Vec<_> =
                    inserted.iter().map(|account| account.event(UserChange::Registered)).collect();
                outbox::add_many(tx, events.iter().map(|event| (event, None))).await?;
                Ok(inserted)
            });
            made.extend(inserted?);
        }
        Ok(made)
    }

    fn account(&self, name: Name, email: Email, role: Role) -> Account {
        let world = self.db.world();
        Account { id: UserId::new(world), name, email, role, version: 1, created_at: world.now() }
    }

    async fn hashed(&self, password: Option<&Password>) -> Result<Option<String>> {
        match password {
            Some(password) => self.hasher.hash(password.as_bytes()).await.map(Some),
            None => Ok(None),
        }
    }

    /// Who changes a password shows the old one, so that an open laptop is not
    /// enough. Where there is none yet there is nothing to show.
    async fn prove_password(&self, change: &AccountChange, before: &Secrets) -> Result<(), ChangeError> {
        let (Some(_), Some(hash)) = (&change.password, &before.password_hash) else {
            return Ok(());
        };
        let shown = change.current_password.as_deref().unwrap_or_default();
        let fits = self.hasher.verify(shown.as_bytes(), Some(hash)).await?;
        if fits { Ok(()) } else { Err(ChangeError::WrongPassword) }
    }

    async fn secrets(&self, id: UserId) -> Result<Secrets, ChangeError> {
        let found: Result<Option<Secrets>> =
            db::read!(self.db, async |tx| { store::find_secrets(tx, id).await });
        found?.ok_or(ChangeError::NoSuchUser(id))
    }

    /// Whether this address is free, or that of this account.
    async fn is_theirs(&self, email: &Email, id: UserId) -> Result<bool> {
        let found: Result<Option<Secrets>> =
            db::read!(self.db, async |tx| { store::find_by_email(tx, email).await });
        Ok(found?.is_none_or(|secrets| secrets.account.id == id))
    }

    fn changing(&self, id: UserId) -> Changing {
        Changing(Some((self.remembered.clone(), id)))
    }
}

/// A change under way. The account is forgotten in all processes when it is
/// done, before the answer leaves, and also when nobody waits for that any more.
struct Changing(Option<(Remembered<UserId, Account>, UserId)>);

impl Changing {
    async fn done(mut self) {
        if let Some((remembered, id)) = self.0.take() {
            remembered.changed(&id).await;
        }
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        if let Some((remembered, id)) = self.0.take() {
            remembered.forget(&id);
        }
    }
}

/// Saves a taken account and the news of it.
async fn save(tx: &mut Tx, account: &Account, password_hash: Option<&str>) -> Result<(), ChangeError> {
    if !store::update(tx, account, password_hash).await? {
        return Err(ChangeError::EmailTaken(account.email.clone()));
    }
    outbox::add(tx, &account.event(UserChange::Changed)).await?;
    Ok(())
}

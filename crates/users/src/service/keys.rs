//! The keys that access tokens are signed with.

use std::{sync::Arc, time::Duration};

use contracts::users::PublicKey;
use kernel::{Result, SessionId, Time};
use web::auth::{Claims, sign};

use super::Users;
use crate::{
    model::Account,
    store,
    token::{self, Key},
};

/// How long another process may go on signing with a key after it was retired.
const RELOAD: Duration = Duration::from_secs(60);
/// How much longer than its last token a retired key is shown: for clocks that differ.
const SLACK: Duration = Duration::from_secs(5 * 60);

/// The key that signs now, ready to sign.
#[derive(Clone)]
pub(super) struct Signer {
    kid: String,
    pkcs8: Arc<[u8]>,
    until: Time,
}

impl Users {
    /// Signs with a new key from now on. The old one is shown as long as a
    /// token of its may be alive. Returns the name of the new one.
    pub async fn rotate_keys(&self) -> Result<String> {
        let key = Key::new(self.db.world());
        let rotated: Result<()> = db::write!(self.db, async |tx| {
            store::retire_key(tx).await?;
            // Of two who rotate at once one has no effect: there is a new key.
            store::insert_key(tx, &key).await?;
            Ok(())
        });
        rotated?;
        *self.signer.lock().await = None;
        let kid = self.signer().await?.kid;
        tracing::info!(key.id = %kid, "access tokens are signed with a new key");
        Ok(kid)
    }

    /// The public keys: of the key that signs, and of those whose tokens may be alive.
    pub(crate) async fn public_keys(&self) -> Result<Vec<PublicKey>> {
        let since = self.db.world().now() - self.keys_kept();
        let keys: Result<Vec<Key>> = db::read!(self.db, async |tx| { store::keys(tx, since).await });
        Ok(keys?.into_iter().map(|key| PublicKey { kid: key.kid, x: key.public_key }).collect())
    }

    /// How long a retired key is shown.
    pub(crate) fn keys_kept(&self) -> Duration {
        self.settings.access_token + RELOAD + SLACK
    }

    /// An access token for a session of this account.
    pub(super) async fn access_token(&self, account: &Account, session: SessionId) -> Result<String> {
        let now = self.db.world().now();
        let seconds = |time: Time| time.micros() / 1_000_000;
        let claims = Claims {
            sub: account.id,
            role: account.role,
            sid: session,
            iat: seconds(now),
            exp: seconds(now + self.settings.access_token),
            iss: self.settings.issuer.clone(),
        };
        let signer = self.signer().await?;
        sign(&claims, &signer.kid, &signer.pkcs8)
    }

    /// The key that signs now; made when there is none.
    pub(super) async fn signer(&self) -> Result<Signer> {
        // Held while it is read, so that it is read once however many need it.
        let mut held = self.signer.lock().await;
        let now = self.db.world().now();
        if let Some(signer) = held.as_ref().filter(|signer| signer.until > now) {
            return Ok(signer.clone());
        }
        let key = self.current_key().await?;
        let signer = Signer { pkcs8: key.pkcs8()?.into(), kid: key.kid, until: now + RELOAD };
        *held = Some(signer.clone());
        Ok(signer)
    }

    async fn current_key(&self) -> Result<token::Key> {
        let found: Result<Option<Key>> = db::read!(self.db, async |tx| { store::current_key(tx).await });
        if let Some(key) = found? {
            return Ok(key);
        }
        let new = Key::new(self.db.world());
        db::write!(self.db, async |tx| {
            if store::insert_key(tx, &new).await? {
                tracing::info!(key.id = %new.kid, "the first signing key was made");
                return Ok(new.clone());
            }
            // Another process was first.
            let theirs = store::current_key(tx).await?;
            theirs.ok_or_else(|| {
                kernel::Error::unavailable("no_signing_key", "the signing key is just being changed")
            })
        })
    }
}

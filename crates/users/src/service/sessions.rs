//! Signing in, staying signed in, signing out.

use kernel::{Email, Result, SessionId};
use web::Caller;

use super::Users;
use crate::{
    model::{Account, SignInError},
    store::{self, EndReason, FoundToken, Secrets},
    token::{self, RefreshToken},
};

/// What somebody who signed in gets.
pub struct Tokens {
    /// For every call: a JWT.
    pub access_token: String,
    /// For the next tokens; good once.
    pub refresh_token: String,
    /// Who signed in.
    pub account: Account,
}

impl Users {
    /// Signs somebody in. Unknown addresses, accounts without a password and
    /// wrong passwords are one answer, after the same time.
    pub async fn sign_in(&self, email: &Email, password: &str) -> Result<Tokens, SignInError> {
        let found: Result<Option<Secrets>> =
            db::read!(self.db, async |tx| { store::find_by_email(tx, email).await });
        let found = found?;
        let hash = found.as_ref().and_then(|secrets| secrets.password_hash.as_deref());
        let fits = self.hasher.verify(password.as_bytes(), hash).await?;
        let (Some(Secrets { account, password_hash: Some(hash) }), true) = (found, fits) else {
            return Err(SignInError::WrongCredentials);
        };
        let world = self.db.world();
        let session = SessionId::new(world);
        let refresh = RefreshToken::new(world);
        let expires_at = world.now() + self.settings.session;
        let saved: Result<(), SignInError> = db::write!(self.db, async |tx| {
            if !store::sign_in(tx, account.id, &hash).await? {
                return Err(SignInError::WrongCredentials);
            }
            store::insert_session(tx, session, account.id, expires_at).await?;
            store::insert_token(tx, session, &refresh.hash()).await?;
            Ok(())
        });
        saved?;
        self.tokens(account, session, refresh).await
    }

    /// Exchanges a refresh token for new ones.
    ///
    /// A token is good once. One that comes again ends its session, because
    /// two now have it and one of them stole it (RFC 9700, 4.14.2). Of two
    /// exchanges of one token at the same time one wins; the other is refused
    /// with `refresh_token_raced` and the session lives on. "At the same time"
    /// means: the token was not used yet when the loser looked at it.
    pub async fn refresh(&self, token: &str) -> Result<Tokens, SignInError> {
        let hash = token::hash(token);
        let found: Result<Option<FoundToken>> =
            db::read!(self.db, async |tx| { store::find_token(tx, &hash).await });
        let found = found?.ok_or(SignInError::UnknownToken)?;
        if found.used_at.is_some() {
            return self.end_family(&found).await;
        }
        let world = self.db.world();
        if found.ended_at.is_some() || found.expires_at <= world.now() {
            return Err(SignInError::SessionEnded);
        }
        let refresh = RefreshToken::new(world);
        let expires_at = world.now() + self.settings.session;
        let account: Result<Account, SignInError> = db::write!(self.db, async |tx| {
            if !store::prolong(tx, found.session_id, expires_at).await? {
                return Err(SignInError::SessionEnded);
            }
            if !store::use_token(tx, &hash).await? {
                return Err(SignInError::TokenRaced);
            }
            store::insert_token(tx, found.session_id, &refresh.hash()).await?;
            // The role of now, not of when the session began.
            let secrets = store::find_secrets(tx, found.user_id).await?;
            secrets.map(|secrets| secrets.account).ok_or(SignInError::SessionEnded)
        });
        self.tokens(account?, found.session_id, refresh).await
    }

    /// Ends the session that the caller's token belongs to. Its access token
    /// is good until it expires, its refresh token no more.
    pub async fn sign_out(&self, caller: &Caller) -> Result<()> {
        let ended: Result<bool> = db::write!(self.db, async |tx| {
            store::end_session(tx, caller.session, EndReason::Logout).await
        });
        ended.map(drop)
    }

    async fn end_family(&self, found: &FoundToken) -> Result<Tokens, SignInError> {
        let ended: Result<bool> = db::write!(self.db, async |tx| {
            store::end_session(tx, found.session_id, EndReason::Reused).await
        });
        if ended? {
            tracing::warn!(
                user.id = %found.user_id, session.id = %found.session_id,
                "a refresh token was used twice, so its session was ended"
            );
        }
        Err(SignInError::TokenReused)
    }

    async fn tokens(
        &self,
        account: Account,
        session: SessionId,
        refresh: RefreshToken,
    ) -> Result<Tokens, SignInError> {
        Ok(Tokens {
            access_token: self.access_token(&account, session).await?,
            refresh_token: refresh.reveal(),
            account,
        })
    }
}

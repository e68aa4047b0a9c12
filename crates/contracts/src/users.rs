//! Who somebody is.

use bus::Event;
use kernel::{Email, UserId, words};
use serde::{Deserialize, Serialize};

rpc::service! {
    /// What other services may ask of users.
    pub trait Users, UsersClient, users_routes = "users" {
        /// The public keys that tokens are signed with, retired ones included
        /// as long as a token of theirs may be alive.
        #[read]
        async fn keys(Keys) -> Vec<PublicKey>;
        /// An account. Errors: not found `no_such_user`.
        #[read]
        async fn user(GetUser) -> User;
    }
}

/// Asks for the public keys.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Keys {}

/// An Ed25519 public key (RFC 8032).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// What a token names it by.
    pub kid: String,
    /// Its 32 bytes in base64url without padding (the `x` of RFC 8037).
    pub x: String,
}

/// Asks for an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GetUser {
    /// Whose.
    pub id: UserId,
}

/// An account as other services see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Whose.
    pub id: UserId,
    /// What to call them.
    pub name: String,
    /// Where to write to.
    pub email: Email,
}

words! {
    /// What became of an account.
    pub enum UserChange {
        /// It was made.
        Registered = "registered",
        /// Its name, address, password, role or state changed.
        Changed = "changed",
    }
}

/// `users.registered`, `users.changed`. Holds no personal data: who needs it asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserEvent {
    /// What became of it.
    pub change: UserChange,
    /// Whose account.
    pub user: UserId,
    /// The account's version after it.
    pub version: i64,
}

impl Event for UserEvent {
    const SOURCE: &'static str = "users";
    fn topic(&self) -> String {
        format!("users.{}", self.change)
    }
    fn entity(&self) -> String {
        self.user.to_string()
    }
    fn version(&self) -> i64 {
        self.version
    }
}

//! Who somebody is: accounts, sign-in, tokens.
//!
//! Needs a database and nobody else. [`Users::start`] makes the first signing
//! key; without it nobody can sign in.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod audit;
mod events;
mod http;
mod jobs;
mod model;
mod password;
mod service;
mod store;
mod token;

use std::time::Duration;

use cache::Shared;
use db::{Db, Migration};

pub use audit::{audit, breaches, deeds};
pub use events::consumers;
pub use http::{ChangeUser, LogIn, RefreshTokens, Register, SetPassword, SignedIn, UserReply, routes};
pub use jobs::runner;
pub use model::{
    Account, AccountChange, ChangeError, Name, NewAccount, Password, RegisterError, SignInError,
};
pub use password::Cost;
pub use service::{Tokens, Users};

/// What the service needs to start.
pub struct Needs {
    /// Where its tables are.
    pub db: Db,
    /// Where accounts are remembered for all processes; without it each
    /// process remembers its own.
    pub shared: Option<Shared>,
    /// How it behaves.
    pub settings: Settings,
}

/// How the service behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who says so in a token: its `iss`.
    pub issuer: String,
    /// How long an access token is valid. What a role may do ends this late at
    /// the latest after it was taken away.
    pub access_token: Duration,
    /// How long a session lives without a refresh.
    pub session: Duration,
    /// How long a session that is over is kept, for questions that come late.
    pub ended_kept: Duration,
    /// What hashing one password costs.
    pub cost: Cost,
    /// How many passwords are hashed at once.
    pub hashing: usize,
    /// How many more may wait to be hashed; who comes then is told to come later.
    pub hashing_queue: usize,
    /// How long an account that was read is remembered; zero: not at all.
    pub remember: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            issuer: "carmel".into(),
            access_token: Duration::from_secs(15 * 60),
            session: Duration::from_secs(30 * 24 * 3600),
            ended_kept: Duration::from_secs(30 * 24 * 3600),
            cost: Cost::default(),
            hashing: 2,
            hashing_queue: 100,
            remember: Duration::from_secs(5 * 60),
        }
    }
}

/// All tables of this service, those of the floors below included.
pub fn migrations() -> Vec<Migration> {
    [bus::MIGRATIONS, ::jobs::MIGRATIONS, web::idempotency::MIGRATIONS, store::MIGRATIONS].concat()
}

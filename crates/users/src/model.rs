//! Accounts, and who may do what with them.

use std::{fmt, str::FromStr};

use contracts::users::{UserChange, UserEvent};
use kernel::{Email, Error, Kind, Time, UserId};
use serde::{Deserialize, Deserializer, Serialize};
use web::{Caller, Role};

/// An account, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Whose.
    pub id: UserId,
    /// What to call them.
    pub name: Name,
    /// Where to write to; nobody else has it.
    pub email: Email,
    /// What they may do.
    pub role: Role,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was made.
    pub created_at: Time,
}

db::from_row!(Account { id, name, email, role, version, created_at });

impl Account {
    /// What is announced of it.
    pub fn event(&self, change: UserChange) -> UserEvent {
        UserEvent { change, user: self.id, version: self.version }
    }

    /// The account after a change of what is not secret. Its version was
    /// raised when it was taken.
    pub fn changed(self, change: &AccountChange) -> Account {
        Account {
            name: change.name.clone().unwrap_or(self.name),
            email: change.email.clone().unwrap_or(self.email),
            role: change.role.unwrap_or(self.role),
            ..self
        }
    }
}

/// What becomes an account.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// What to call them.
    pub name: Name,
    /// Where to write to.
    pub email: Email,
    /// Without one nobody can sign in until one is set.
    pub password: Option<Password>,
}

/// What to change of an account; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct AccountChange {
    /// What to call them.
    pub name: Option<Name>,
    /// Where to write to.
    pub email: Option<Email>,
    /// The new password.
    pub password: Option<Password>,
    /// The one it replaces: the owner proves that it is he who sits there.
    pub current_password: Option<String>,
    /// What they may do.
    pub role: Option<Role>,
}

impl AccountChange {
    /// Whether `caller` may make this change to `account`: an owner does not
    /// change what he may do, and nobody changes his own role, so that the
    /// last administrator cannot lock everybody out.
    pub fn allowed(&self, caller: &Caller, account: &Account) -> Result<(), ChangeError> {
        let own = caller.id == account.id;
        may_change(caller, account)?;
        if self.password.is_some() && !own {
            return Err(ChangeError::PasswordOfAnother);
        }
        match self.role {
            Some(role) if role == account.role => Ok(()),
            Some(_) if caller.role != Role::Admin => Err(ChangeError::RoleByAdmin),
            Some(_) if own => Err(ChangeError::OwnRole),
            _ => Ok(()),
        }
    }

    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.name.is_none() && self.email.is_none() && self.password.is_none() && self.role.is_none()
    }
}

/// Whether `caller` may look at the account of `id`.
pub fn may_see(caller: &Caller, id: UserId) -> bool {
    caller.id == id || matches!(caller.role, Role::Staff | Role::Admin)
}

/// Whether `caller` may change `account`: everybody himself, staff customers,
/// administrators everybody. To customers, others do not exist.
pub fn may_change(caller: &Caller, account: &Account) -> Result<(), ChangeError> {
    match caller.role {
        _ if caller.id == account.id => Ok(()),
        Role::Admin => Ok(()),
        Role::Staff if account.role == Role::Customer => Ok(()),
        Role::Staff => Err(ChangeError::NotTheirs(account.id)),
        Role::Customer => Err(ChangeError::NoSuchUser(account.id)),
    }
}

/// What to call somebody: 1 to 100 characters, none of them a control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;
    fn from_str(text: &str) -> Result<Name, String> {
        let text = text.trim();
        let fits = (1..=100).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        fits.then(|| Name(text.to_owned()))
            .ok_or_else(|| "a name is 1 to 100 characters on one line".to_owned())
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Name, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl kernel::ToValue for Name {
    fn to_value(self) -> kernel::Value {
        kernel::Value::Text(self.0)
    }
}

impl kernel::FromValue for Name {
    fn from_value(value: kernel::ValueRef<'_>) -> Result<Name, String> {
        value.text()?.parse()
    }
}

/// A password somebody chose: 8 to 200 characters (NIST SP 800-63B asks for a
/// minimum, a generous maximum, and no rules of composition). Never shown.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// The bytes to hash.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for Password {
    type Err = String;
    fn from_str(text: &str) -> Result<Password, String> {
        let fits = (8..=200).contains(&text.chars().count());
        fits.then(|| Password(text.to_owned())).ok_or_else(|| "a password has 8 to 200 characters".to_owned())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Password, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why an account was not made.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The address has an account.
    #[error("{0} has an account already")]
    EmailTaken(Email),
    /// Anything else.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<RegisterError> for Error {
    fn from(error: RegisterError) -> Error {
        match error {
            RegisterError::EmailTaken(_) => Error::conflict("email_taken", error.to_string()),
            RegisterError::Other(error) => error,
        }
    }
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// No such account, no password, or another one: which, is not told.
    #[error("the e-mail address or the password is wrong")]
    WrongCredentials,
    /// The token was never given out, or long ago.
    #[error("this refresh token is not known")]
    UnknownToken,
    /// The session was ended or has expired.
    #[error("this session has ended")]
    SessionEnded,
    /// The token was exchanged before: its session is ended now.
    #[error("this refresh token was used before, so its session is ended")]
    TokenReused,
    /// Another call exchanged the token while this one was under way.
    #[error("another call exchanged this refresh token at the same time, and got the new one")]
    TokenRaced,
    /// Anything else.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<SignInError> for Error {
    fn from(error: SignInError) -> Error {
        let unauthenticated = |code: &'static str| Error::new(Kind::Unauthenticated, code, error.to_string());
        match error {
            SignInError::WrongCredentials => unauthenticated("wrong_credentials"),
            SignInError::UnknownToken => unauthenticated("refresh_token_unknown"),
            SignInError::SessionEnded => unauthenticated("session_ended"),
            SignInError::TokenReused => unauthenticated("refresh_token_reused"),
            SignInError::TokenRaced => Error::conflict("refresh_token_raced", error.to_string()),
            SignInError::Other(error) => error,
        }
    }
}

/// Why an account was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is none, or the caller may not know of it.
    #[error("there is no user {0}")]
    NoSuchUser(UserId),
    /// Staff change customers only.
    #[error("only an administrator changes {0}, who is staff")]
    NotTheirs(UserId),
    /// Roles are given by administrators.
    #[error("only an administrator gives a role")]
    RoleByAdmin,
    /// Nobody changes his own role.
    #[error("nobody changes their own role")]
    OwnRole,
    /// Only the owner changes a password here.
    #[error("a password of somebody else is set with POST /users/{{id}}/password")]
    PasswordOfAnother,
    /// The proof of the old password does not hold.
    #[error("current_password is not the password of this account")]
    WrongPassword,
    /// The password was changed by somebody else meanwhile.
    #[error("the password was changed by another call at the same time")]
    PasswordChanged,
    /// The address has another account.
    #[error("{0} has an account already")]
    EmailTaken(Email),
    /// Nothing was asked for.
    #[error("there is nothing to change: give name, email, password or role")]
    Nothing,
    /// Anything else.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<ChangeError> for Error {
    fn from(error: ChangeError) -> Error {
        let message = error.to_string();
        match error {
            ChangeError::NoSuchUser(_) => Error::not_found("no_such_user", message),
            ChangeError::NotTheirs(_) => Error::new(Kind::Forbidden, "not_a_customer", message),
            ChangeError::RoleByAdmin => Error::new(Kind::Forbidden, "role_by_admin", message),
            ChangeError::OwnRole => Error::conflict("own_role", message),
            ChangeError::PasswordOfAnother => Error::new(Kind::Forbidden, "password_of_another", message),
            ChangeError::WrongPassword => Error::new(Kind::Forbidden, "wrong_password", message),
            ChangeError::PasswordChanged => Error::conflict("password_changed", message),
            ChangeError::EmailTaken(_) => Error::conflict("email_taken", message),
            ChangeError::Nothing => Error::invalid("nothing_to_change", message),
            ChangeError::Other(error) => error,
        }
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;

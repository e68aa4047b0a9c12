//! The arguments that say who is calling.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;
use kernel::{Error, Kind, SessionId, UserId};

use super::Role;
use crate::Failure;

/// Whoever signed in, whatever he may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub id: UserId,
    /// What he may do.
    pub role: Role,
    /// The session that his token belongs to.
    pub session: SessionId,
}

/// Anybody signed in, acting for himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Customer {
    /// Who.
    pub id: UserId,
}

/// Somebody who serves customers: staff or an administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staff {
    /// Who.
    pub id: UserId,
    /// Staff or admin.
    pub role: Role,
}

/// An administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Who.
    pub id: UserId,
}

/// Whoever is calling, signed in or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaybeCaller(pub Option<Caller>);

fn caller(parts: &Parts) -> Result<Caller, Error> {
    let caller = parts.extensions.get::<Caller>().copied();
    caller.ok_or_else(|| {
        Error::new(Kind::Unauthenticated, "unauthenticated", "sign in first: this needs a token")
    })
}

fn forbidden(who: &str) -> Error {
    Error::new(Kind::Forbidden, "forbidden", format!("only {who} may do this"))
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Failure> {
        Ok(caller(parts)?)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Customer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Customer, Failure> {
        Ok(Customer { id: caller(parts)?.id })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Staff {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Staff, Failure> {
        let Caller { id, role, .. } = caller(parts)?;
        match role {
            Role::Staff | Role::Admin => Ok(Staff { id, role }),
            Role::Customer => Err(forbidden("staff").into()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Admin, Failure> {
        let Caller { id, role, .. } = caller(parts)?;
        match role {
            Role::Admin => Ok(Admin { id }),
            Role::Staff | Role::Customer => Err(forbidden("an administrator").into()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for MaybeCaller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<MaybeCaller, Infallible> {
        Ok(MaybeCaller(caller(parts).ok()))
    }
}

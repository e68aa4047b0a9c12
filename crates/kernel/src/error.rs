//! The one error that crosses every border.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

/// What a failure means to whoever called. `web` is the only place that turns
/// it into an HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The request cannot be understood or breaks a rule of form.
    Invalid,
    /// Nobody is signed in, or the proof of it does not hold.
    Unauthenticated,
    /// Somebody is signed in who may not do this.
    Forbidden,
    /// There is no such thing, or the caller may not know of it.
    NotFound,
    /// The state of the thing does not allow this now.
    Conflict,
    /// The caller looked at an older version than the one that is there.
    Stale,
    /// The same key was used before for something else.
    Mismatch,
    /// Too much was asked for, in number or in size.
    TooMany,
    /// It took longer than it may; whether it was done is unknown.
    TimedOut,
    /// Something that is needed is away; trying again later makes sense.
    Unavailable,
    /// A fault of ours.
    Internal,
}

/// Why something was not done: a [`Kind`] to branch on, a stable `code`, a
/// message for people, and, for bad input, the fields at fault.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Error {
    /// What the failure means to the caller.
    pub kind: Kind,
    /// Never changes once published.
    pub code: Cow<'static, str>,
    /// Lower case, no full stop, names the thing.
    pub message: String,
    /// Which parts of the request are at fault, if it is about parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldError>,
    /// What it came from: for the log, never sent out.
    #[source]
    #[serde(skip)]
    pub cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// One field at fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Where it stands in the body, as a JSON Pointer (RFC 6901).
    pub pointer: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl Error {
    /// A failure of a kind, with its stable code and a message for people.
    pub fn new(kind: Kind, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Error {
        Error { kind, code: code.into(), message: message.into(), fields: Vec::new(), cause: None }
    }

    /// The request breaks a rule of form.
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Error {
        Error::new(Kind::Invalid, code, message)
    }

    /// One field is at fault; `pointer` is a JSON Pointer such as `/lines/0/sku`.
    pub fn invalid_field(pointer: impl Into<String>, message: impl Into<String>) -> Error {
        let message = message.into();
        Error {
            fields: vec![FieldError { pointer: pointer.into(), message: message.clone() }],
            ..Error::new(Kind::Invalid, "invalid_request", message)
        }
    }

    /// There is no such thing.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Error {
        Error::new(Kind::NotFound, code, message)
    }

    /// The state of the thing does not allow this.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Error {
        Error::new(Kind::Conflict, code, message)
    }

    /// Something that is needed is away.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Error {
        Error::new(Kind::Unavailable, code, message)
    }

    /// A fault of ours: the cause is for the log, the caller learns nothing of it.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::new(Kind::Internal, "internal", "something went wrong on our side").because(cause)
    }

    /// Keeps what it came from, for the log.
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.cause = Some(Arc::from(cause.into()));
        self
    }

    /// The message and, behind it, every cause: for the log.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, Kind::TimedOut | Kind::Unavailable | Kind::TooMany | Kind::Internal)
    }
}

impl PartialEq for Error {
    fn eq(&self, other: &Error) -> bool {
        (self.kind, &self.code, &self.message, &self.fields)
            == (other.kind, &other.code, &other.message, &other.fields)
    }
}

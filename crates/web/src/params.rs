//! What stands in the path and behind the question mark.

use axum::{
    extract::FromRequestParts,
    extract::rejection::{PathRejection, QueryRejection},
};
use http::request::Parts;
use kernel::Error;
use serde::de::DeserializeOwned;

use crate::Failure;

/// The parts of the path, as `/orders/{id}` names them.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Failure> {
        let found = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        found.map(|axum::extract::Path(value)| Path(value)).map_err(|rejection| match rejection {
            PathRejection::FailedToDeserializePathParams(why) => {
                invalid("invalid_path", "the address", "Invalid URL: ", &why.body_text())
            }
            other => Error::internal(other).into(),
        })
    }
}

/// The parameters behind the question mark.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>, Failure> {
        let found = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        found.map(|axum::extract::Query(value)| Query(value)).map_err(|rejection| match rejection {
            QueryRejection::FailedToDeserializeQueryString(why) => invalid(
                "invalid_query",
                "the query",
                "Failed to deserialize query string: ",
                &why.body_text(),
            ),
            other => invalid("invalid_query", "the query", "", &other.body_text()),
        })
    }
}

/// The framework's words without its own preface.
fn invalid(code: &'static str, what: &str, preface: &str, said: &str) -> Failure {
    let why = said.strip_prefix(preface).unwrap_or(said);
    Error::invalid(code, format!("{what} is not right: {why}")).into()
}

//! A provider behind HTTP: the sandbox where it runs on its own.

use async_trait::async_trait;
use kernel::{AttemptId, Error, Result};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Serialize;

use super::{Change, Charge, Outcome, Provider};

/// Asks a sandbox at an address. Whoever calls limits how long it may take.
#[derive(Clone)]
pub struct HttpProvider {
    address: String,
    http: Client,
}

impl HttpProvider {
    /// At this base address, such as `http://127.0.0.1:3009`.
    pub fn new(address: &str) -> HttpProvider {
        HttpProvider { address: address.trim_end_matches('/').to_owned(), http: Client::new() }
    }

    async fn ask(&self, path: &str, ask: &impl Serialize) -> Outcome {
        let request = self.http.post(format!("{}/sandbox/{path}", self.address)).json(ask);
        // Whatever is no clear answer may have been done all the same.
        match answer(request).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Outcome::Unknown { why: "there is no provider at this address".into() },
            Err(why) => Outcome::Unknown { why },
        }
    }
}

async fn answer(request: RequestBuilder) -> Result<Option<Outcome>, String> {
    let response = request.send().await.map_err(|error| error.to_string())?;
    match response.status() {
        StatusCode::OK => response.json().await.map(Some).map_err(|error| error.to_string()),
        StatusCode::NOT_FOUND => Ok(None),
        status => Err(format!("the provider answered {status}")),
    }
}

#[async_trait]
impl Provider for HttpProvider {
    async fn authorise(&self, charge: &Charge) -> Outcome {
        self.ask("authorise", charge).await
    }

    async fn capture(&self, change: &Change) -> Outcome {
        self.ask("capture", change).await
    }

    async fn void(&self, change: &Change) -> Outcome {
        self.ask("void", change).await
    }

    async fn refund(&self, change: &Change) -> Outcome {
        self.ask("refund", change).await
    }

    async fn find(&self, key: AttemptId) -> Result<Option<Outcome>> {
        let request = self.http.get(format!("{}/sandbox/calls/{key}", self.address));
        let unreachable =
            |why| Error::unavailable("provider_unreachable", "the provider cannot be reached").because(why);
        answer(request).await.map_err(unreachable)
    }
}

//! Whether the process lives and is ready to be asked.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::future::join_all;
use http::{HeaderValue, StatusCode, header};
use kernel::{BoxFuture, Result, World};
use serde::Serialize;

use crate::Json;

/// Longer than this no check may take.
const LIMIT: Duration = Duration::from_secs(2);

/// What must answer for this process to be ready.
#[derive(Clone)]
pub struct Health {
    world: World,
    checks: Vec<Check>,
    draining: Arc<AtomicBool>,
}

#[derive(Clone)]
struct Check {
    name: &'static str,
    run: Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>,
}

impl Health {
    /// Nothing to be checked yet.
    pub fn new(world: World) -> Health {
        Health { world, checks: Vec::new(), draining: Arc::new(AtomicBool::new(false)) }
    }

    /// One more thing that must answer, within two seconds.
    #[must_use]
    pub fn check<F>(mut self, name: &'static str, run: impl Fn() -> F + Send + Sync + 'static) -> Health
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.checks.push(Check { name, run: Arc::new(move || Box::pin(run())) });
        self
    }

    /// One database that must answer.
    #[must_use]
    pub fn database(self, name: &'static str, db: db::Db) -> Health {
        self.check(name, move || {
            let db = db.clone();
            async move { db.time().await.map(drop) }
        })
    }

    /// From now on not ready: whoever balances load sends nothing new.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// `GET /livez`, `GET /readyz` and `GET /readyz?verbose`.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/livez", get(async || plain(StatusCode::OK, "ok")))
            .route("/readyz", get(readyz))
            .with_state(self)
    }

    async fn report(&self) -> Report {
        let checks = join_all(self.checks.iter().map(|check| self.run(check))).await;
        let ready = !self.draining.load(Ordering::Relaxed) && checks.iter().all(|check| check.ok);
        Report { ready, draining: self.draining.load(Ordering::Relaxed), checks }
    }

    async fn run(&self, check: &Check) -> Checked {
        let began = self.world.now();
        let outcome = self.world.timeout(LIMIT, (check.run)()).await;
        let took = self.world.now().since(began);
        let error = match outcome {
            None => Some("no answer in time".to_owned()),
            Some(outcome) => outcome.err().map(|error| {
                tracing::warn!(check = check.name, error = error.chain(), "a check of readiness failed");
                error.message
            }),
        };
        Checked { name: check.name, ok: error.is_none(), ms: took.as_secs_f64() * 1000.0, error }
    }
}

#[derive(Serialize)]
struct Report {
    ready: bool,
    draining: bool,
    checks: Vec<Checked>,
}

#[derive(Serialize)]
struct Checked {
    name: &'static str,
    ok: bool,
    ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

async fn readyz(State(health): State<Health>, RawQuery(query): RawQuery) -> Response {
    let report = health.report().await;
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose =
        query.is_some_and(|query| query.split('&').any(|part| part.split('=').next() == Some("verbose")));
    if verbose {
        (status, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(report))
            .into_response()
    } else {
        plain(status, if report.ready { "ok" } else { "not ready" })
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], text).into_response()
}

//! Numbers for Prometheus.

use std::{sync::Mutex, time::Duration};

use axum::{Router, routing::get};
use http::header;
use kernel::{Error, Result, World};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Seconds, from a cached read to a purchase that was waited for.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The numbers counted in this process.
#[derive(Clone)]
pub struct Handle(PrometheusHandle);

/// The `metrics` library counts for the whole process, so that this can be
/// done once; whoever comes later gets the same numbers.
static INSTALLED: Mutex<Option<Handle>> = Mutex::new(None);

/// Starts counting, and tidying up behind the counting.
pub fn install(world: &World) -> Result<Handle> {
    let mut installed = INSTALLED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(handle) = &*installed {
        return Ok(handle.clone());
    }
    let builder = PrometheusBuilder::new();
    let builder = builder
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
        .map_err(Error::internal)?;
    let handle = Handle(builder.install_recorder().map_err(Error::internal)?);
    *installed = Some(handle.clone());
    let (ticks, numbers) = (world.clone(), handle.clone());
    drop(world.spawn(async move {
        loop {
            ticks.sleep(Duration::from_secs(5)).await;
            // Otherwise every measurement since the last scrape is kept.
            numbers.0.run_upkeep();
        }
    }));
    Ok(handle)
}

impl Handle {
    /// All numbers in the text format of Prometheus.
    pub fn render(&self) -> String {
        let asked = db::counts();
        metrics::counter!("db_statements_total").absolute(asked.statements);
        metrics::counter!("db_round_trips_total").absolute(asked.trips);
        metrics::counter!("db_commits_total").absolute(asked.commits);
        self.0.render()
    }

    /// `GET /metrics`.
    pub fn routes(self) -> Router {
        let text = move || {
            let text = self.render();
            async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text) }
        };
        Router::new().route("/metrics", get(text))
    }
}

//! What is known of every request.

use std::{
    io,
    sync::{Arc, Mutex},
};

use axum::{Router, routing::get};
use kernel::World;
use web::{edge, telemetry};

use crate::client::ask;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn app() -> Router {
    Router::new()
        .route("/trace/{name}", get(async || telemetry::traceparent().unwrap_or_default()))
        .layer(edge::requests(World::real()))
}

#[tokio::test]
async fn a_request_keeps_a_sane_id_and_gets_one_otherwise() {
    let app = app();
    let id_of = async |id: &str| {
        ask(&app, "GET /trace/a", &[("x-request-id", id)], "").await.header("x-request-id").to_owned()
    };

    assert_eq!(id_of("req-7.a_b:c/d+e=").await, "req-7.a_b:c/d+e=");
    let long = "x".repeat(129);
    for id in ["", "a b", "a\tb", "<script>", &long] {
        let made = id_of(id).await;
        assert!(made.len() == 32 && made.bytes().all(|b| b.is_ascii_hexdigit()), "{id}: {made}");
    }
    assert_ne!(id_of("").await, id_of("").await);
}

#[tokio::test]
async fn a_trace_goes_on_and_one_begins_where_none_was() {
    let app = app();

    let on = ask(&app, "GET /trace/a", &[("traceparent", TRACE)], "").await.body;
    let fresh = ask(&app, "GET /trace/a", &[("traceparent", "00-0-0-01")], "").await.body;

    assert_eq!((&on[..36], on.len()), (&TRACE[..36], 55));
    assert_ne!(on, TRACE, "our step is not the caller's");
    assert!(fresh.len() == 55 && fresh[..36] != TRACE[..36]);
    assert_eq!(telemetry::traceparent(), None);
    let trace = telemetry::Trace::parse(TRACE).unwrap();
    assert_eq!(telemetry::within(trace, async { telemetry::traceparent() }).await.as_deref(), Some(TRACE));
}

#[tokio::test]
async fn a_request_leaves_one_line_without_secrets() {
    let lines = Lines::default();
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_writer({
        let lines = lines.clone();
        move || lines.clone()
    });
    let _guard = tracing::subscriber::set_default(log.finish());

    let headers = [("authorization", "Bearer s3cret"), ("x-request-id", "req-7"), ("traceparent", TRACE)];
    let mut text = String::new();
    // Another test that logs there for the first time at this moment hides the place from this log.
    for _ in 0..10 {
        tracing::callsite::rebuild_interest_cache();
        ask(&app(), "GET /trace/ann@example.com?token=s3cret", &headers, "").await;
        text = String::from_utf8(std::mem::take(&mut *lines.0.lock().unwrap())).unwrap();
        if !text.is_empty() {
            break;
        }
    }
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&line["method"], &line["route"], &line["status"]),
        (&"GET".into(), &"/trace/{name}".into(), &200.into())
    );
    assert_eq!((&line["request.id"], &line["trace.id"]), (&"req-7".into(), &TRACE[3..35].into()));
    assert!(line["ms"].is_number());
    assert!(!text.contains("s3cret") && !text.contains("ann@"), "{text}");
}

#[tokio::test]
async fn a_caller_that_hangs_up_is_counted_too() {
    let world = World::real();
    let numbers = web::metrics::install(&world).unwrap();
    let app =
        Router::new().route("/left", get(std::future::pending::<&'static str>)).layer(edge::requests(world));

    {
        let asking = ask(&app, "GET /left", &[], "");
        tokio::pin!(asking);
        assert!(futures::poll!(&mut asking).is_pending());
    }

    let line = "http_requests_total{route=\"/left\",method=\"GET\",status=\"499\"} 1";
    assert!(numbers.render().contains(line), "{}", numbers.render());
}

/// What was logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

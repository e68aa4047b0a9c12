//! The bare limit of the machine: the same bytes as an account has, on the same
//! HTTP server, with nothing done for them.

use axum::{Router, routing::get};
use http::header;

const ACCOUNT: &str = r#"{"id":"usr_01890a5d-ac96-774b-bcce-b302099a8057","name":"Buyer","email":"buyer-1234@example.com","role":"customer","version":1,"created_at":"2026-11-30T13:52:54.123456Z"}"#;

/// What to answer.
#[derive(clap::Args)]
pub struct Bare {
    /// On this port of loopback.
    #[arg(long)]
    port: u16,
}

/// Answers until it is killed.
pub async fn serve(bare: &Bare) {
    let routes = Router::new()
        .route("/users/{id}", get(async || ([(header::CONTENT_TYPE, "application/json")], ACCOUNT)));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", bare.port)).await.expect("the port is free");
    axum::serve(listener, routes).await.expect("serving goes on");
}

//! `GET /`: hello, and proof that there is a database behind it.

use axum::extract::State;
use db::{Db, Engine};
use kernel::Time;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{Json, Result};

#[derive(Clone)]
struct Greeting {
    db: Db,
    message: String,
}

/// `GET /`, for the service that the routing table sends it to.
pub fn greeting(db: Db, shop: &str) -> OpenApiRouter {
    let greeting = Greeting { db, message: format!("Hello from {shop}") };
    OpenApiRouter::new().routes(routes!(greet)).with_state(greeting)
}

/// A greeting.
#[derive(Debug, Serialize, ToSchema)]
struct GreetingReply {
    message: String,
    /// What the clock of the database says.
    #[schema(inline)]
    time: Time,
    /// Which database it is: `sqlite` or `postgres`.
    database: &'static str,
}

/// `GET /` says hello and tells the database's time.
#[utoipa::path(
    get, path = "/", tag = "gateway",
    responses((status = 200, body = GreetingReply), web::openapi::Problems),
)]
async fn greet(State(greeting): State<Greeting>) -> Result<Json<GreetingReply>> {
    let time = greeting.db.time().await?;
    let database = match greeting.db.engine() {
        Engine::Sqlite => "sqlite",
        Engine::Postgres => "postgres",
    };
    Ok(Json(GreetingReply { message: greeting.message, time, database }))
}

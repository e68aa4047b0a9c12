//! What must be answered: a measurement of a shop that does not is none.

use std::net::SocketAddr;

use load::Ask;
use serde_json::Value;

/// Sends one request on a connection of its own: status and body.
pub async fn ask(address: SocketAddr, ask: Ask) -> (u16, Value) {
    let answer = load::ask(address, ask).await.expect("the server answers");
    (answer.status, answer.json())
}

/// Sends many, so many at once; returns the answers in their order.
pub async fn ask_all(address: SocketAddr, connections: usize, asks: Vec<Ask>) -> Vec<Value> {
    load::ask_all(address, connections, asks).await.unwrap_or_else(|error| panic!("{error}"))
}

//! WebSockets: after the 101 both sides send bytes as they like.

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, HeaderValue, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kernel::World;

use super::{connections::Answer, headers};

/// A request to go on as a WebSocket.
pub struct Upgrade(OnUpgrade);

impl Upgrade {
    /// Whether that is asked for. No other protocol is passed on: `h2c` would
    /// carry requests past every layer.
    pub fn asked_for(request: &mut Request) -> Option<Upgrade> {
        let is_websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
        if !request.headers().get(header::UPGRADE).is_some_and(is_websocket) {
            return None;
        }
        Some(Upgrade(hyper::upgrade::on(request)))
    }

    /// Says so in a message: that asks for it, and that agrees to it.
    pub fn say(headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }

    /// Connects the two sides for as long as both are there.
    pub fn connect(self, mut response: http::Response<Answer>, world: &World) -> Response {
        let service = hyper::upgrade::on(&mut response);
        response.body_mut().drive_apart();
        drop(world.spawn(async move {
            let (client, service) = match tokio::try_join!(self.0, service) {
                Ok(both) => both,
                Err(error) => return tracing::debug!(%error, "a connection did not become a WebSocket"),
            };
            let (mut client, mut service) = (TokioIo::new(client), TokioIo::new(service));
            if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut service).await {
                tracing::debug!(%error, "a WebSocket broke off");
            }
        }));
        let (mut head, _) = response.into_parts();
        headers::incoming(&mut head.headers);
        Upgrade::say(&mut head.headers);
        Response::from_parts(head, Body::empty())
    }
}

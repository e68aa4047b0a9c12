//! A connection that is used again as long as it holds (HTTP/1.1).

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::Ask;

/// A connection that is made when it is needed, and again when it broke.
pub struct Connection {
    address: SocketAddr,
    open: Option<SendRequest<Full<Bytes>>>,
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// As it came.
    pub body: Bytes,
}

impl Answer {
    /// Whether it is 2xx.
    pub fn is_done(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; nothing when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// There was no answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer: {0}")]
pub struct Broken(#[from] Box<dyn std::error::Error + Send + Sync>);

impl From<hyper::Error> for Broken {
    fn from(error: hyper::Error) -> Broken {
        Broken(error.into())
    }
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Broken {
        Broken(error.into())
    }
}

impl Connection {
    /// Made when it is needed.
    pub fn to(address: SocketAddr) -> Connection {
        Connection { address, open: None }
    }

    /// Sends one request and waits for its answer.
    pub async fn send(&mut self, ask: Ask) -> Result<Answer, Broken> {
        let mut open = match self.open.take() {
            Some(open) if !open.is_closed() => open,
            _ => connect(self.address).await?,
        };
        open.ready().await?;
        let answer = open.send_request(ask.request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        self.open = Some(open);
        Ok(Answer { status, body })
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Broken> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

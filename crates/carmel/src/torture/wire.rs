//! The network between two parts, as bad as it is wanted.

use std::{net::SocketAddr, time::Duration};

use kernel::{Error, Result};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::Instant,
};

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// It carries everything at once.
    Good,
    /// It carries everything, this much later, each way.
    Slow(Duration),
    /// It carries nothing and says nothing: what is sent arrives when it is good again.
    Cut,
    /// It carries what is asked and no answers.
    Deaf,
    /// It ends every connection with a reset, those that come, too.
    Reset,
}

/// A port of loopback, and a line from there to where it leads.
pub struct Wire {
    /// Where to connect to.
    pub address: SocketAddr,
    line: watch::Sender<Line>,
    carrying: JoinHandle<()>,
}

impl Wire {
    /// A good one to this port of loopback, whether somebody listens there yet or not.
    pub async fn to(port: u16) -> Result<Wire> {
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Error::internal)?;
        let address = listener.local_addr().map_err(Error::internal)?;
        let (line, watched) = watch::channel(Line::Good);
        let carrying = tokio::spawn(async move {
            let mut connections = JoinSet::new(); // they end with this task
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(carry(near, target, watched.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Wire { address, line, carrying })
    }

    /// Makes it good or bad, for the connections that there are, too.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

/// Carries a connection to its end. Nobody at the other end is a reset.
async fn carry(near: TcpStream, target: SocketAddr, line: watch::Receiver<Line>) {
    let mut resets = line.clone();
    let mut waiting = line.clone();
    let connected = async {
        until(&mut waiting, |line| line != Line::Cut).await;
        TcpStream::connect(target).await
    };
    let far = tokio::select! {
        () = until(&mut resets, |line| line == Line::Reset) => None,
        far = connected => far.ok(),
    };
    let Some(far) = far else { return reset(&near) };
    for end in [&near, &far] {
        if let Err(error) = end.set_nodelay(true) {
            tracing::debug!(%error, "a connection ended before it was carried");
        }
    }
    let (mut near, mut far) = (near, far);
    let was_reset = {
        let (mut from_near, mut to_near) = near.split();
        let (mut from_far, mut to_far) = far.split();
        tokio::select! {
            () = until(&mut resets, |line| line == Line::Reset) => true,
            _ = async {
                tokio::join!(
                    pump(&mut from_near, &mut to_far, line.clone(), |line| line != Line::Cut),
                    pump(&mut from_far, &mut to_near, line.clone(), |line| !matches!(line, Line::Cut | Line::Deaf)),
                )
            } => false,
        }
    };
    if was_reset {
        reset(&near);
        reset(&far);
    }
}

fn reset(end: &TcpStream) {
    if let Err(error) = end.set_zero_linger() {
        tracing::debug!(%error, "a connection ended before it was reset");
    }
}

/// Waits until the line is so.
async fn until(line: &mut watch::Receiver<Line>, so: impl Fn(Line) -> bool) {
    if line.wait_for(|line| so(*line)).await.is_err() {
        std::future::pending().await // the wire is gone, and this task with it
    }
}

/// Carries one direction while the line lets it. Several pieces are on their
/// way at once: a slow line is long, not thin.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut line: watch::Receiver<Line>,
    open: impl Fn(Line) -> bool,
) {
    let (sent, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let looked_at = line.clone();
    let reading = async move {
        let mut piece = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut piece).await {
            let late = match *looked_at.borrow() {
                Line::Slow(late) => late,
                _ => Duration::ZERO,
            };
            if sent.send((Instant::now() + late, piece[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = under_way.recv().await {
            tokio::time::sleep_until(due).await;
            until(&mut line, &open).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        // The other side may have hung up first: then there is nobody to tell.
        to.shutdown().await.ok();
    };
    tokio::join!(reading, writing);
}

//! The network between two programs, as a test wants it to be.

use std::{net::SocketAddr, time::Duration};

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
    /// It ends every connection with a reset, those that come, too.
    Reset,
}

/// A port of loopback, and a line from there to wherever it leads. Whoever
/// shall be disturbed connects to [`Wire::address`].
pub struct Wire {
    address: SocketAddr,
    line: watch::Sender<Line>,
    target: watch::Sender<Option<SocketAddr>>,
    carrying: JoinHandle<()>,
}

impl Wire {
    /// A good one that leads nowhere yet: who connects waits.
    pub async fn new() -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (line, watched) = watch::channel(Line::Good);
        let (target, leads_to) = watch::channel(None);
        let carrying = tokio::spawn(async move {
            let mut connections = JoinSet::new(); // they end with this task
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(carry(near, leads_to.clone(), watched.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Wire { address, line, target, carrying }
    }

    /// A good one to this address.
    pub async fn to(target: SocketAddr) -> Wire {
        let wire = Wire::new().await;
        wire.lead_to(target);
        wire
    }

    /// Leads to this address from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }

    /// Where one end of it is.
    pub fn address(&self) -> SocketAddr {
        self.address
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

/// Carries a connection to its end.
async fn carry(
    mut near: TcpStream,
    mut leads_to: watch::Receiver<Option<SocketAddr>>,
    line: watch::Receiver<Line>,
) {
    let mut resets = line.clone();
    let connected = async {
        let target = leads_to.wait_for(Option::is_some).await.ok().and_then(|target| *target)?;
        uncut(&mut line.clone()).await;
        let far = TcpStream::connect(target).await.ok()?;
        far.set_nodelay(true).ok()?;
        near.set_nodelay(true).ok()?;
        Some(far)
    };
    let far = tokio::select! {
        () = reset(&mut resets) => None,
        far = connected => far,
    };
    let Some(mut far) = far else {
        drop(near.set_zero_linger());
        return;
    };
    let was_reset = {
        let (mut from_near, mut to_near) = near.split();
        let (mut from_far, mut to_far) = far.split();
        tokio::select! {
            () = reset(&mut resets) => true,
            _ = async {
                tokio::join!(
                    pump(&mut from_near, &mut to_far, line.clone()),
                    pump(&mut from_far, &mut to_near, line.clone()),
                )
            } => false,
        }
    };
    if was_reset {
        drop((near.set_zero_linger(), far.set_zero_linger()));
    }
}

/// Waits until it is not cut.
async fn uncut(line: &mut watch::Receiver<Line>) {
    drop(line.wait_for(|line| *line != Line::Cut).await);
}

/// Waits until it ends all connections.
async fn reset(line: &mut watch::Receiver<Line>) {
    drop(line.wait_for(|line| *line == Line::Reset).await);
}

/// Carries one direction. Several pieces are on their way at once: a slow line
/// is long, not thin.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut line: watch::Receiver<Line>,
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
            uncut(&mut line).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        drop(to.shutdown().await);
    };
    tokio::join!(reading, writing);
}

//! Who is really asking, and how, when there are proxies in between.

use std::{
    fmt::Write,
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{extract::Request, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;
use kernel::{Error, Result};

use super::around::{Answer, Around, layer};
use crate::Failure;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// What proxies say of those whom they speak for. Nobody else may.
static SAID_BY_PROXIES: [HeaderName; 6] = [
    header::FORWARDED,
    FOR,
    PROTO,
    HOST,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-real-ip"),
];

/// The other end of the connection, told with every request (as an extension)
/// by whoever accepts connections.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        // A listener on all of IPv6 sees 10.0.0.7 as ::ffff:10.0.0.7.
        Peer(address.ip().to_canonical())
    }
}

/// Finds out who asks and by which scheme and host, and tells it as the
/// extension [`Forwarded`]. What the request itself says of that
/// (`Forwarded`, `X-Forwarded-…`) is believed if it comes from one of these
/// networks (`10.0.0.0/8`, `127.0.0.1`) and removed in any case. Of both,
/// `X-Forwarded-For` is believed first: nearly every balancer writes it, and
/// many pass on a `Forwarded` that a stranger wrote.
pub fn forwarded(trusted: &[String]) -> Result<ForwardedLayer> {
    Ok(ForwardedLayer { trusted: trusted.iter().map(|network| parse(network)).collect::<Result<_>>()? })
}

fn parse(network: &str) -> Result<IpNet> {
    let alone = || network.parse::<IpAddr>().map(IpNet::from).ok();
    network.parse().ok().or_else(alone).ok_or_else(|| {
        let message = format!("a network looks like 10.0.0.0/8 or 127.0.0.1, not {network:?}");
        Error::invalid("invalid_network", message)
    })
}

/// See [`forwarded`].
#[derive(Clone)]
pub struct ForwardedLayer {
    trusted: Arc<[IpNet]>,
}

layer!(ForwardedLayer);

impl Around for ForwardedLayer {
    type Kept = ();

    fn before(&self, request: &mut Request) -> std::result::Result<(), Failure> {
        let peer = request.extensions().get::<Peer>().map(|Peer(address)| *address);
        let headers = request.headers_mut();
        let forwarded = if peer.is_some_and(|peer| self.trusts(peer)) {
            self.believe(peer, headers)
        } else {
            Forwarded { peer, client: peer, ..Forwarded::default() }
        };
        for name in &SAID_BY_PROXIES {
            headers.remove(name);
        }
        request.extensions_mut().insert(forwarded);
        Ok(())
    }

    fn around((): (), answer: Answer<'_>) -> impl Future<Output = Response> + Send {
        answer
    }
}

impl ForwardedLayer {
    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }

    fn believe(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Forwarded {
        let standard = joined(headers, &header::FORWARDED);
        let chain = joined(headers, &FOR);
        let before = if chain.is_empty() { nodes(pairs(&standard, "for")) } else { nodes(chain.split(',')) };
        let first = |name: &HeaderName, parameter| {
            let text = headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            text.or_else(|| pairs(&standard, parameter).next().map(|text| text.trim_matches('"').to_owned()))
        };
        // Whoever stands furthest from us behind proxies that we trust.
        let client = before.iter().rev().find(|node| !self.trusts(**node)).or(before.first()).copied();
        Forwarded {
            peer,
            client: client.or(peer),
            secure: first(&PROTO, "proto").map(|proto| proto.eq_ignore_ascii_case("https")),
            host: first(&HOST, "host").filter(|host| is_host(host)),
            before,
        }
    }
}

/// All values of a header, as the list that they are together (RFC 9110 §5.3).
fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.collect::<Vec<_>>().join(",")
}

/// The values of one parameter in a `Forwarded` header (RFC 7239 §4).
fn pairs<'a>(text: &'a str, parameter: &'a str) -> impl Iterator<Item = &'a str> {
    text.split([',', ';']).filter_map(move |pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case(parameter).then_some(value.trim())
    })
}

/// The addresses in a chain of proxies, client first. One that hides itself
/// (`unknown`, `_secret`) hides whatever stands before it.
fn nodes<'a>(chain: impl Iterator<Item = &'a str>) -> Vec<IpAddr> {
    let mut nodes = Vec::new();
    for text in chain {
        match node(text.trim().trim_matches('"')) {
            Some(address) => nodes.push(address),
            None => nodes.clear(),
        }
    }
    nodes
}

/// An address as it stands there: `192.0.2.1`, `192.0.2.1:8080`,
/// `2001:db8::1`, `[2001:db8::1]:8080`.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// What can be a host, and does no harm inside quotation marks.
fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
}

/// How a request came here.
#[derive(Clone, Debug, Default)]
pub struct Forwarded {
    peer: Option<IpAddr>,
    client: Option<IpAddr>,
    /// Whom trusted proxies speak for, client first.
    before: Vec<IpAddr>,
    secure: Option<bool>,
    host: Option<String>,
}

impl Forwarded {
    /// Who asks: the peer, or whom a trusted proxy speaks for. Nobody where
    /// the connection is not known.
    pub fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// Tells the next server in line: writes `Forwarded` (RFC 7239) and the
    /// older `X-Forwarded-For`, `-Proto` and `-Host`.
    pub fn write(&self, headers: &mut HeaderMap) {
        let host = match &self.host {
            Some(host) => HeaderValue::from_str(host).ok(),
            None => headers.get(header::HOST).cloned(),
        };
        let host = host.filter(|host| host.to_str().is_ok_and(is_host));
        let proto = if self.secure == Some(true) { "https" } else { "http" };
        let (mut standard, mut chain) = (String::with_capacity(64), String::with_capacity(32));
        for address in self.before.iter().chain(&self.peer) {
            let comma = if chain.is_empty() { "" } else { ", " };
            // Writing into a text cannot fail.
            let _ = write!(chain, "{comma}{address}");
            let _ = match address {
                IpAddr::V4(address) => write!(standard, "{comma}for={address}"),
                IpAddr::V6(address) => write!(standard, "{comma}for=\"[{address}]\""),
            };
            if comma.is_empty() {
                let _ = write!(standard, ";proto={proto}");
                if let Some(Ok(host)) = host.as_ref().map(HeaderValue::to_str) {
                    let _ = write!(standard, ";host=\"{host}\"");
                }
            }
        }
        if let (Ok(standard), Ok(chain)) = (HeaderValue::try_from(standard), HeaderValue::try_from(chain))
            && !chain.is_empty()
        {
            headers.insert(header::FORWARDED, standard);
            headers.insert(FOR, chain);
        }
        headers.insert(PROTO, HeaderValue::from_static(proto));
        if let Some(host) = host {
            headers.insert(HOST, host);
        }
    }
}

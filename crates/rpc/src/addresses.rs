//! Where a service is: addresses as they are given in the settings, and what
//! a name stands for now.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
};

use http::{Uri, uri::Scheme};
use kernel::{Error, Result};

/// What finds the addresses of `host:port`.
pub type LookUp = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// Asks the system: its file of hosts, then DNS.
pub fn ask_the_system(name: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(name.to_socket_addrs()?.collect())
}

/// The places of one service.
#[derive(Clone)]
pub struct Places {
    service: &'static str,
    fixed: BTreeSet<String>,
    names: Vec<Name>,
}

#[derive(Clone)]
struct Name {
    host_and_port: String,
    found: BTreeSet<String>,
}

impl Places {
    /// Understands each address as `http://host:port`.
    pub fn read(service: &'static str, addresses: &[String]) -> Result<Places> {
        let mut places = Places { service, fixed: BTreeSet::new(), names: Vec::new() };
        for address in addresses {
            let (host, port) = host_and_port(address).ok_or_else(|| {
                let message = format!("{address:?} is no address of {service}: it would be http://host:port");
                Error::invalid("bad_address", message)
            })?;
            if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
                places.fixed.insert(format!("http://{host}:{port}"));
            } else {
                let host_and_port = format!("{host}:{port}");
                places.names.push(Name { host_and_port, found: BTreeSet::new() });
            }
        }
        Ok(places)
    }

    /// Whether anything has to be looked up.
    pub fn have_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Looks the names up. One that cannot be found keeps what it stood for.
    pub fn look_up(&mut self, look_up: LookUp) {
        let service = self.service;
        for Name { host_and_port, found } in &mut self.names {
            match look_up(host_and_port) {
                Ok(now) if !now.is_empty() => {
                    *found = now.iter().map(|address| format!("http://{address}")).collect();
                }
                Ok(_) => tracing::warn!(service, name = %host_and_port, "a name stands for no address"),
                Err(error) => tracing::warn!(service, name = %host_and_port, %error, "a name is not found"),
            }
        }
    }

    /// Every address, each once.
    pub fn all(&self) -> BTreeSet<String> {
        let found = self.names.iter().flat_map(|name| &name.found);
        self.fixed.iter().chain(found).cloned().collect()
    }
}

fn host_and_port(address: &str) -> Option<(String, u16)> {
    let uri: Uri = address.parse().ok()?;
    let authority = uri.authority()?;
    let plain = uri.scheme() == Some(&Scheme::HTTP)
        && uri.path_and_query().is_none_or(|path| path.as_str() == "/")
        && !authority.as_str().contains('@');
    plain.then_some((authority.host().to_owned(), authority.port_u16()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port() {
        for (address, host, port) in [
            ("http://10.0.0.7:3003", "10.0.0.7", 3003),
            ("http://[::1]:3003/", "[::1]", 3003),
            ("http://orders.shop.svc:80", "orders.shop.svc", 80),
        ] {
            assert_eq!(host_and_port(address), Some((host.to_owned(), port)), "{address}");
        }
        for address in [
            "",
            "orders:3002",
            "https://orders:3002",
            "http://orders",
            "http://orders:3002/api",
            "http://a@b:1",
        ] {
            let error = Places::read("orders", &[address.to_owned()]).err().unwrap();
            assert!(error.message.contains(&format!("{address:?} is no address of orders")), "{error}");
        }
    }
}

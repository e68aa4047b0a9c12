//! Who answers for a service: the one in this process, or a client to where
//! the settings say that it runs.

use std::{sync::Arc, time::Duration};

use contracts::{catalog as c, inventory as i, orders as o, payments as p, users as u};
use kernel::{Error, Result, World};
use rpc::{Channel, Network, Options, Pool, PoolOptions, ServiceToken};

use crate::{
    config::Config,
    part::{Part, Parts},
};

/// The way to the services of other processes.
pub struct Elsewhere<'a> {
    config: &'a Config,
    world: &'a World,
    token: Option<ServiceToken>,
    pools: Vec<(Part, Pool)>,
    network: Option<Arc<dyn Network>>,
}

impl<'a> Elsewhere<'a> {
    /// The way from a process that runs these parts to all others. Errors: a
    /// missing `services.token` (invalid `no_service_token`). With a network of
    /// a simulation in place of connections, even what runs here is asked over it.
    pub fn new(
        config: &'a Config,
        world: &'a World,
        here: &Parts,
        network: Option<Arc<dyn Network>>,
    ) -> Result<Elsewhere<'a>> {
        let token = service_token(config, here)?;
        let away = Part::services().filter(|part| network.is_some() || !here.has(*part));
        let pools = away
            .map(|part| {
                let addresses = config.services.of(part);
                Ok((part, Pool::new(world, part.as_str(), addresses, PoolOptions::default())?))
            })
            .collect::<Result<_>>()?;
        Ok(Elsewhere { config, world, token, pools, network })
    }

    /// The addresses of every service that is asked elsewhere.
    pub fn pools(&self) -> &[(Part, Pool)] {
        &self.pools
    }

    /// What proves that a call comes from one of the services.
    pub fn token(&self) -> Option<&ServiceToken> {
        self.token.as_ref()
    }

    pub fn users(&self, here: Option<&users::Users>) -> Result<Arc<dyn u::Users>> {
        Ok(match here {
            Some(here) if self.network.is_none() => Arc::new(here.clone()),
            _ => Arc::new(u::UsersClient(self.channel(Part::Users)?)),
        })
    }

    pub fn catalog(&self, here: Option<&catalog::Catalog>) -> Result<Arc<dyn c::Catalog>> {
        Ok(match here {
            Some(here) if self.network.is_none() => Arc::new(here.clone()),
            _ => Arc::new(c::CatalogClient(self.channel(Part::Catalog)?)),
        })
    }

    pub fn inventory(&self, here: Option<&inventory::Inventory>) -> Result<Arc<dyn i::Inventory>> {
        Ok(match here {
            Some(here) if self.network.is_none() => Arc::new(here.clone()),
            _ => Arc::new(i::InventoryClient(self.channel(Part::Inventory)?)),
        })
    }

    pub fn orders(&self, here: Option<&orders::Orders>) -> Result<Arc<dyn o::Orders>> {
        Ok(match here {
            Some(here) if self.network.is_none() => Arc::new(here.clone()),
            _ => Arc::new(o::OrdersClient(self.channel(Part::Orders)?)),
        })
    }

    pub fn payments(&self, here: Option<&payments::Payments>) -> Result<Arc<dyn p::Payments>> {
        Ok(match here {
            Some(here) if self.network.is_none() => Arc::new(here.clone()),
            _ => Arc::new(p::PaymentsClient(self.channel(Part::Payments)?)),
        })
    }

    fn channel(&self, service: Part) -> Result<Channel> {
        let found = self.pools.iter().find(|(part, _)| *part == service);
        let (_, pool) = found.ok_or_else(|| {
            Error::invalid("no_such_service", format!("{service} runs neither here nor elsewhere"))
        })?;
        let options = Options {
            limit: Duration::from_millis(self.config.services.call_timeout_ms),
            at_once: self.config.services.calls_at_once as usize,
            token: self.token.clone(),
            traceparent: web::telemetry::traceparent,
            network: self.network.clone(),
            ..Options::default()
        };
        Ok(Channel::with(self.world, pool.clone(), options))
    }
}

/// The secret of the settings. Services that run apart must have one.
fn service_token(config: &Config, here: &Parts) -> Result<Option<ServiceToken>> {
    let given = &config.services;
    if !given.token.is_empty() {
        let before = Some(given.token_before.expose()).filter(|before| !before.is_empty());
        return ServiceToken::new(given.token.expose(), before).map(Some);
    }
    if here.services().count() == 0 || here.has_all_services() {
        return Ok(None);
    }
    let message = "services.token is empty; services that run apart need a secret that they show one another, \
                   the same in each process, such as `openssl rand -hex 32` makes one";
    Err(Error::invalid("no_service_token", message))
}

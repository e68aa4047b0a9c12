//! What the settings mean to each service.

use std::time::Duration;

use cache::{Address, Shared};
use gateway::PerMinute;
use jobs::{Bullmq, Dispatch};
use kernel::{Error, Result, World};

use crate::config::{Config, JobQueue, Secret};

/// The address that a setting has, if it has one.
fn address(url: &Secret) -> Result<Option<Address>> {
    let parse = |text: &str| text.parse().map_err(|why: String| Error::invalid("redis_url", why));
    Some(url.expose()).filter(|text| !text.is_empty()).map(parse).transpose()
}

impl Config {
    pub(crate) fn users(&self) -> users::Settings {
        users::Settings {
            issuer: self.tokens.issuer.clone(),
            access_token: Duration::from_secs(u64::from(self.tokens.access_minutes) * 60),
            session: Duration::from_secs(u64::from(self.tokens.refresh_days) * 86_400),
            ended_kept: Duration::from_secs(u64::from(self.tokens.keep_days) * 86_400),
            cost: users::Cost {
                memory_kib: self.passwords.memory_kib,
                iterations: self.passwords.iterations,
            },
            ..users::Settings::default()
        }
    }

    /// Where what was read is remembered for all processes, if anywhere.
    pub(crate) fn shared_cache(&self, world: &World) -> Result<Option<Shared>> {
        Ok(address(&self.redis.cache_url)?.map(|address| Shared::new(world, &address)))
    }

    /// Fails (`redis_evicts`, `queue_evicts`) when the Redis that must not
    /// forget is one that may. One that is away may be back later.
    pub(crate) async fn check_redis(&self, world: &World) -> Result<()> {
        let both = (address(&self.redis.cache_url)?, address(&self.redis.queue_url)?);
        if let (Some(cache), Some(queue)) = both {
            cache::check_eviction(&cache, &queue).await?;
        }
        let Dispatch::Bullmq(queue) = self.dispatch()? else { return Ok(()) };
        match queue.check(world).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(
                    error = error.chain(),
                    "the queue's Redis is away: jobs are worked on from the database"
                );
                Ok(())
            }
            checked => checked,
        }
    }

    /// How jobs reach workers.
    pub(crate) fn dispatch(&self) -> Result<Dispatch> {
        match self.jobs.queue {
            JobQueue::Database => Ok(Dispatch::Database),
            JobQueue::Auto if self.redis.queue_url.is_empty() => Ok(Dispatch::Database),
            _ => Bullmq::at(self.redis.queue_url.expose()).map(Dispatch::Bullmq),
        }
    }

    pub(crate) fn limits(&self) -> PerMinute {
        PerMinute {
            sign_in: self.limits.sign_in_per_minute,
            change: self.limits.change_per_minute,
            read: self.limits.read_per_minute,
        }
    }

    pub(crate) fn catalog(&self, remembers: bool) -> catalog::Settings {
        let usual = catalog::Settings::default();
        catalog::Settings {
            remember: if remembers { usual.remember } else { Duration::ZERO },
            shared: Duration::from_secs(self.catalog.shared_cache_s.into()),
        }
    }

    pub(crate) fn inventory(&self) -> inventory::Settings {
        inventory::Settings {
            hold_for: Duration::from_secs(u64::from(self.orders.hold_minutes) * 60),
            ..inventory::Settings::default()
        }
    }

    pub(crate) fn orders(&self) -> orders::Settings {
        orders::Settings {
            still_after: Duration::from_secs(u64::from(self.orders.sweep_seconds)),
            ..orders::Settings::default()
        }
    }

    pub(crate) fn payments(&self) -> payments::Settings {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let defaults = payments::Settings::default();
        payments::Settings {
            provider_timeout: Duration::from_millis(self.payments.timeout_ms),
            rules: payments::Rules {
                review_above: self.screening.review_above,
                orders_per_hour: self.screening.orders_per_hour.into(),
                ..payments::Rules::default()
            },
            sandbox_url: text(&self.payments.sandbox_url),
            webhook_secret: text(self.payments.webhook_secret.expose()),
            sandbox: payments::sandbox::Settings {
                latency: Duration::from_millis(self.payments.sandbox_latency_ms),
                ..defaults.sandbox
            },
            ..defaults
        }
    }

    pub(crate) fn notifications(&self) -> notifications::Settings {
        let smtp_url = self.mail.smtp_url.expose();
        notifications::Settings {
            smtp_url: Some(smtp_url.to_owned()).filter(|url| !url.is_empty()),
            folder: self.mail_folder(),
            from: self.mail.from.clone(),
            shop: self.shop.name.clone(),
            shop_url: self.shop.url_at(&self.server, self.server.port),
        }
    }

    pub(crate) fn edge(&self) -> gateway::Settings {
        gateway::Settings {
            request_timeout: Duration::from_millis(self.server.request_timeout_ms),
            body_limit_bytes: usize::try_from(self.server.body_limit_bytes).unwrap_or(usize::MAX),
            cors_origins: self.server.cors_origins.clone(),
            trusted_proxies: self.server.trusted_proxies.clone(),
        }
    }
}

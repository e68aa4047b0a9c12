//! What the settings mean to each service.

use std::time::Duration;

use crate::config::Config;

impl Config {
    pub(crate) fn users(&self) -> users::Settings {
        users::Settings {
            issuer: self.tokens.issuer.clone(),
            access_token: Duration::from_secs(u64::from(self.tokens.access_minutes) * 60),
            session: Duration::from_secs(u64::from(self.tokens.refresh_days) * 86_400),
            cost: users::Cost {
                memory_kib: self.passwords.memory_kib,
                iterations: self.passwords.iterations,
            },
            ..users::Settings::default()
        }
    }

    pub(crate) fn inventory(&self) -> inventory::Settings {
        inventory::Settings {
            hold_for: Duration::from_secs(u64::from(self.orders.hold_minutes) * 60),
            ..inventory::Settings::default()
        }
    }

    pub(crate) fn orders(&self) -> orders::Settings {
        orders::Settings { still_after: Duration::from_secs(u64::from(self.orders.sweep_seconds)) }
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
            shop: self.shop.name.clone(),
            request_timeout: Duration::from_millis(self.server.request_timeout_ms),
            body_limit_bytes: usize::try_from(self.server.body_limit_bytes).unwrap_or(usize::MAX),
            cors_origins: self.server.cors_origins.clone(),
        }
    }
}

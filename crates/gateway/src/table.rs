//! The routing table.

use std::time::Duration;

/// One line of the table: a path, and all below it, belongs to a service.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The service.
    pub service: &'static str,
    /// The path. `/` is the greeting and nothing below it.
    pub prefix: &'static str,
    /// How large a body may be here, where that is not the usual.
    pub body_limit_bytes: Option<usize>,
    /// How long a request may take here, where that is not the usual.
    pub time_limit: Option<Duration>,
}

/// Which paths belong to which service, wherever it runs. Where one line stands
/// below another it holds, so the order does not matter. What is not in here
/// stays inside: nobody reaches a service's `/rpc`, `/metrics` or `/readyz`
/// through the gateway.
pub const TABLE: &[Route] = &[
    // Its answer tells a database's time, and users has one.
    Route::to("users", "/"),
    Route::to("users", "/users"),
    // Who is not known yet sends little.
    Route::to("users", "/login").body_limit_bytes(16 << 10),
    Route::to("users", "/logout").body_limit_bytes(16 << 10),
    Route::to("users", "/token").body_limit_bytes(16 << 10),
    Route::to("users", "/.well-known/jwks.json"),
    Route::to("catalog", "/products"),
    Route::to("catalog", "/categories"),
    Route::to("catalog", "/variants"),
    Route::to("inventory", "/stock"),
    Route::to("orders", "/orders"),
    Route::to("payments", "/payments"),
    // A provider that hears nothing for that long calls again anyway.
    Route::to("payments", "/payments/webhooks").time_limit(Duration::from_secs(10)),
    Route::to("notifications", "/send-email"),
    Route::to("notifications", "/jobs"),
];

impl Route {
    const fn to(service: &'static str, prefix: &'static str) -> Route {
        Route { service, prefix, body_limit_bytes: None, time_limit: None }
    }

    const fn body_limit_bytes(self, bytes: usize) -> Route {
        Route { body_limit_bytes: Some(bytes), ..self }
    }

    const fn time_limit(self, limit: Duration) -> Route {
        Route { time_limit: Some(limit), ..self }
    }

    /// Whether a path belongs here.
    pub fn covers(&self, path: &str) -> bool {
        match path.strip_prefix(self.prefix) {
            Some(rest) => rest.is_empty() || (rest.starts_with('/') && self.prefix != "/"),
            None => false,
        }
    }

    /// The patterns of the router that cover the same paths.
    pub(crate) fn patterns(&self) -> Vec<String> {
        match self.prefix {
            "/" => vec!["/".to_owned()],
            prefix => vec![prefix.to_owned(), format!("{prefix}/{{*rest}}")],
        }
    }
}

/// The line that a path belongs to.
pub fn find(path: &str) -> Option<&'static Route> {
    TABLE.iter().filter(|route| route.covers(path)).max_by_key(|route| route.prefix.len())
}

/// How large a body may be there, where that is not the usual.
pub(crate) fn body_limit_at(path: &str) -> Option<usize> {
    find(path)?.body_limit_bytes
}

/// How long a request may take there, where that is not the usual.
pub(crate) fn time_limit_at(path: &str) -> Option<Duration> {
    find(path)?.time_limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_one_service_at_most() {
        for (path, prefix) in [
            ("/", Some("/")),
            ("/orders", Some("/orders")),
            ("/orders/ord_1/cancel", Some("/orders")),
            ("/ordersome", None),
            ("/order", None),
            ("//", None),
            ("/payments/ord_1", Some("/payments")),
            ("/payments/webhooks/sandbox", Some("/payments/webhooks")),
            ("/rpc/orders/get", None),
            ("/metrics", None),
            ("/.well-known/jwks.json", Some("/.well-known/jwks.json")),
            ("/.well-known/other", None),
        ] {
            assert_eq!(find(path).map(|route| route.prefix), prefix, "{path}");
        }
        for route in TABLE {
            let same = TABLE.iter().filter(|other| other.prefix == route.prefix);
            assert_eq!(same.count(), 1, "{} stands there twice", route.prefix);
            let mut covering = TABLE.iter().filter(|other| other.covers(route.prefix));
            assert!(
                covering.all(|other| other.service == route.service),
                "{} is two services'",
                route.prefix
            );
        }
    }

    #[test]
    fn every_path_of_the_api_finds_its_service() {
        for (path, item) in crate::described().unwrap().paths.paths {
            let operations = [&item.get, &item.post, &item.put, &item.patch, &item.delete];
            for operation in operations.into_iter().flatten() {
                let tag = operation.tags.iter().flatten().next().unwrap();
                // The greeting is the shop's; a service that has a database gives it.
                let service = if tag == "gateway" { "users" } else { tag };
                assert_eq!(find(&path).map(|route| route.service), Some(service), "{path}");
            }
        }
    }

    #[test]
    fn every_line_of_the_table_has_a_path_of_the_api() {
        let api = crate::described().unwrap();
        for route in TABLE {
            assert!(api.paths.paths.keys().any(|path| route.covers(path)), "{} is nobody's", route.prefix);
        }
    }
}

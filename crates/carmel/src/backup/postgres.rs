//! A shop in PostgreSQL is copied by PostgreSQL's own tools. This says how, for
//! the databases of these settings.

use std::collections::BTreeMap;

use kernel::{Error, Kind, Result};

use crate::{config::Config, databases::SERVICES};

/// What somebody wanted who is told how it is done there.
#[derive(Clone, Copy)]
pub enum Wanted {
    /// A copy.
    Backup,
    /// The way back.
    Restore,
}

/// Refuses (`not_embedded`) a shop that is in PostgreSQL, with the commands that
/// do what was wanted.
pub fn must_be_embedded(config: &Config, wanted: Wanted) -> Result<()> {
    let mut databases: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for service in SERVICES {
        if let Some(url) = config.database.url_of(service) {
            databases.entry(url.expose()).or_default().push(service);
        }
    }
    if databases.is_empty() {
        return Ok(());
    }
    let mut lines = vec![
        "this copies and restores a shop in files, and the settings say that this one is in PostgreSQL \
         (DATABASE_URL), whose own tools do it; docs/backup.md says more:"
            .to_owned(),
    ];
    for (place, (url, services)) in databases.iter().enumerate() {
        let (url, dump) = (without_password(url), format!("shop-{}.dump", place + 1));
        lines.push(match wanted {
            Wanted::Backup => {
                let schemas: Vec<_> = services.iter().map(|service| format!("--schema={service}")).collect();
                format!("  pg_dump --format=directory --jobs=2 {} --file={dump} '{url}'", schemas.join(" "))
            }
            Wanted::Restore => {
                format!("  pg_restore --exit-on-error --single-transaction --dbname='{url}' {dump}")
            }
        });
    }
    if databases.len() > 1 || databases.values().map(Vec::len).sum::<usize>() < SERVICES.len() {
        lines.push(
            "the services are in several databases, and no two dumps show the same moment: close the shop \
             before the first and open it after the last"
                .to_owned(),
        );
    }
    if let Wanted::Restore = wanted {
        lines.push(
            "into a database without these schemas; then `carmel audit --stopped` looks whether all of it \
             fits together"
                .to_owned(),
        );
    }
    Err(Error::new(Kind::Invalid, "not_embedded", lines.join("\n")))
}

/// A URL that may be shown; PostgreSQL's tools take the password from PGPASSWORD
/// or ~/.pgpass.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return String::new() };
    let Some((login, place)) = rest.rsplit_once('@') else { return url.to_owned() };
    let user = login.split(':').next().unwrap_or_default();
    let (place, parameters) = place.split_once('?').unwrap_or((place, ""));
    let shown: Vec<_> = parameters.split('&').filter(|one| !one.starts_with("password=")).collect();
    let mark = if shown.concat().is_empty() { "" } else { "?" };
    format!("{scheme}://{user}@{place}{mark}{}", shown.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        for (url, shown) in [
            (
                "postgres://ann:p@ss@db:5432/shop?sslmode=require",
                "postgres://ann@db:5432/shop?sslmode=require",
            ),
            ("postgres://ann@db/shop?password=p", "postgres://ann@db/shop"),
            ("postgres://db/shop", "postgres://db/shop"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}

//! The shop before anything happens: the same for every seed, made once.

use std::{fs, path::Path, path::PathBuf};

use argon2::{Algorithm, Argon2, Params, Version, password_hash::PasswordHasher};
use carmel::{config::Config, sample, shop::Shop};
use kernel::{Currency, Money};
use tempfile::TempDir;
use testkit::client::PASSWORD;
use tokio::time::Instant;

use crate::world::Machine;

/// Every service, by the name of its file.
pub const SERVICES: [&str; 6] = ["users", "catalog", "inventory", "orders", "payments", "notifications"];
/// How many people work in the shop: each may do everything.
pub const STAFF: usize = 2;
/// How many people buy in it.
pub const BUYERS: usize = 4;
/// So many of a thing are never sold out.
pub const PLENTY: i64 = 1000;
/// What is for sale: what it costs in cents, and how many of it are there.
pub const SHELF: [(&str, i64, i64); 3] = [("mug", 1200, 4), ("cup", 700, 1), ("jar", 250, PLENTY)];

/// The files of that shop, and who may do what in it.
pub struct Template {
    folder: TempDir,
    /// The tokens of those who work there.
    pub staff: Vec<String>,
    /// The tokens of those who buy there.
    pub buyers: Vec<String>,
    /// The id of each thing on the shelf.
    pub variants: Vec<String>,
}

impl Template {
    /// Makes it.
    pub fn new() -> Template {
        on_a_runtime(Template::fill())
    }

    async fn fill() -> Template {
        let folder = in_memory();
        let machine = Machine::new(Instant::now(), 0, None);
        let shop = Shop::open(&settings(folder.path(), 0), &machine.world()).await.unwrap();
        let mut variants = Vec::new();
        for (sku, cents, count) in SHELF {
            let sku: kernel::Sku = sku.parse().unwrap();
            let price = Money::new(cents, Currency::EUR);
            let product = catalog::NewProduct {
                name: sku.to_string().parse().unwrap(),
                slug: None,
                description: catalog::Description::default(),
                state: catalog::ProductState::Active,
                categories: Vec::new(),
                variants: vec![catalog::NewVariant { sku: sku.clone(), name: None, price }],
            };
            let made = shop.catalog().insert_many(&[product]).await.unwrap();
            variants.push(made[0].variants[0].id.to_string());
            shop.inventory().receive(&[(sku, count)], "for the simulation").await.unwrap();
        }
        let mut staff = Vec::new();
        for at in 0..STAFF {
            let email = format!("staff{at}@example.com");
            sample::make_admin(&shop, &email, "Staff", PASSWORD).await.unwrap();
            staff.push(token(&shop, &email).await);
        }
        let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        let hash =
            cheap.hash_password_with_salt(PASSWORD.as_bytes(), b"no salt at all..").unwrap().to_string();
        let emails: Vec<String> = (0..BUYERS).map(|at| format!("buyer{at}@example.com")).collect();
        let people: Vec<_> =
            emails.iter().map(|email| ("Buyer".parse().unwrap(), email.parse().unwrap())).collect();
        shop.users().insert_many(&people, Some(&hash)).await.unwrap();
        let mut buyers = Vec::new();
        for email in &emails {
            buyers.push(token(&shop, email).await);
        }
        shop.settle().await.unwrap();
        shop.close().await;
        Template { folder, staff, buyers, variants }
    }

    /// A copy of its files.
    pub fn copy(&self) -> TempDir {
        let copy = in_memory();
        for service in SERVICES {
            let name = format!("{service}.db");
            fs::copy(self.folder.path().join(&name), copy.path().join(&name)).unwrap();
        }
        copy
    }
}

impl Default for Template {
    fn default() -> Template {
        Template::new()
    }
}

async fn token(shop: &Shop, email: &str) -> String {
    let tokens = shop.users().sign_in(&email.parse().unwrap(), PASSWORD).await;
    tokens.map_err(kernel::Error::from).unwrap().access_token
}

/// The settings of a process of the simulated shop.
pub fn settings(folder: &Path, processes: usize) -> Config {
    let mut config = Config::default();
    config.data.folder = folder.to_owned();
    config.tokens.access_minutes = 1_440;
    config.orders.hold_minutes = 1;
    config.passwords.memory_kib = 1_024;
    config.passwords.iterations = 1;
    config.payments.webhook_secret = secret("whsec_c2ltdWxhdGVkIHNlY3JldCBvZiB3ZWJob29rcw==");
    config.services.token = secret("the-secret-of-the-simulated-services");
    let addresses: Vec<String> = (0..processes).map(crate::network::Net::address).collect();
    let services = &mut config.services;
    for service in [
        &mut services.users,
        &mut services.orders,
        &mut services.catalog,
        &mut services.inventory,
        &mut services.payments,
        &mut services.notifications,
    ] {
        service.clone_from(&addresses);
    }
    config
}

fn secret(text: &str) -> carmel::config::Secret {
    carmel::config::Secret::new(text)
}

/// A folder that no disk has to keep, where there is one.
fn in_memory() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    let builder = tempfile::Builder::new().prefix("carmel-sim-").to_owned();
    if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() }.unwrap()
}

/// Runs it in one thread, on a clock that jumps to what is next.
pub fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(work)
}

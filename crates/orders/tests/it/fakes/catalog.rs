//! A catalogue of a few things.

use std::collections::HashMap;

use contracts::catalog::{Catalog, Priced, Prices};
use kernel::{Money, ProductId, Result, Sku, World};

use super::Wire;

pub struct FakeCatalog {
    pub wire: Wire<HashMap<Sku, Money>>,
    world: World,
}

impl FakeCatalog {
    pub fn new(world: &World) -> FakeCatalog {
        FakeCatalog { wire: Wire::new(HashMap::new()), world: world.clone() }
    }
}

#[rpc::async_trait]
impl Catalog for FakeCatalog {
    async fn prices(&self, ask: Prices) -> Result<Vec<Priced>> {
        let product = ProductId::new(&self.world);
        let price = move |prices: &HashMap<Sku, Money>, sku: Sku| {
            let price = prices.get(&sku).copied()?;
            Some(Priced { name: format!("a {sku}"), sku, product, price })
        };
        self.wire
            .call("prices", move |prices| {
                Ok(ask.skus.into_iter().filter_map(|sku| price(prices, sku)).collect())
            })
            .await
    }
}

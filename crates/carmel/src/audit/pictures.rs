//! One picture of each service, taken at nearly the same moment.

use db::Tx;
use kernel::Result;

use crate::shop::Shop;

/// A picture of each service.
pub struct Pictures {
    pub users: Tx,
    pub catalog: Tx,
    pub inventory: Tx,
    pub orders: Tx,
    pub payments: Tx,
    pub notifications: Tx,
}

impl Pictures {
    /// Takes them now.
    pub async fn take(shop: &Shop) -> Result<Pictures> {
        // Who sends an event does so behind its effects, and an order moves on
        // behind its payment and its stock: those that follow are looked at later.
        Ok(Pictures {
            orders: shop.database("orders").picture().await?,
            users: shop.database("users").picture().await?,
            catalog: shop.database("catalog").picture().await?,
            inventory: shop.database("inventory").picture().await?,
            payments: shop.database("payments").picture().await?,
            notifications: shop.database("notifications").picture().await?,
        })
    }

    /// That of a service by its name.
    pub fn of(&mut self, service: &str) -> &mut Tx {
        match service {
            "users" => &mut self.users,
            "catalog" => &mut self.catalog,
            "inventory" => &mut self.inventory,
            "orders" => &mut self.orders,
            "payments" => &mut self.payments,
            _ => &mut self.notifications,
        }
    }
}

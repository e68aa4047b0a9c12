//! The parts of a shop, and which of them run in a process.

use std::collections::BTreeSet;

kernel::words! {
    /// A part of a shop: the gateway, or a service with tables of its own.
    pub enum Part {
        /// The public edge, in front of the services.
        Gateway = "gateway",
        /// Who somebody is.
        Users = "users",
        /// What was bought.
        Orders = "orders",
        /// What is for sale.
        Catalog = "catalog",
        /// What is there.
        Inventory = "inventory",
        /// What was paid.
        Payments = "payments",
        /// What people are told.
        Notifications = "notifications",
    }
}

impl Part {
    /// Where it listens when nobody says otherwise: 3000 for the gateway, 3001
    /// for users, 3002 for orders, and so on.
    pub const fn port(self) -> u16 {
        3000 + self as u16
    }

    /// The services: every part but the gateway.
    pub fn services() -> impl Iterator<Item = Part> {
        Part::ALL.iter().copied().filter(|part| *part != Part::Gateway)
    }
}

/// The parts that run in one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts(BTreeSet<Part>);

impl Parts {
    /// All of them: the whole shop.
    pub fn all() -> Parts {
        Parts(Part::ALL.iter().copied().collect())
    }

    /// These; all, when none is named.
    pub fn only(named: &[Part]) -> Parts {
        if named.is_empty() { Parts::all() } else { Parts(named.iter().copied().collect()) }
    }

    /// Whether it runs here.
    pub fn has(&self, part: Part) -> bool {
        self.0.contains(&part)
    }

    /// Whether nothing runs elsewhere.
    pub fn is_whole(&self) -> bool {
        self.0.len() == Part::ALL.len()
    }

    /// Whether every service runs here, with the gateway or without it.
    pub fn has_all_services(&self) -> bool {
        Part::services().all(|part| self.has(part))
    }

    /// The services among them.
    pub fn services(&self) -> impl Iterator<Item = Part> {
        self.0.iter().copied().filter(|part| *part != Part::Gateway)
    }

    /// Where they listen when nobody says otherwise: where the first of them does.
    pub fn port(&self) -> u16 {
        self.0.first().map_or(Part::Gateway.port(), |part| part.port())
    }
}

impl std::fmt::Display for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|part| part.as_str()).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_the_port_that_is_written_down_everywhere() {
        let ports: Vec<(String, u16)> =
            Part::ALL.iter().map(|part| (part.to_string(), part.port())).collect();
        let expected = [
            ("gateway", 3000),
            ("users", 3001),
            ("orders", 3002),
            ("catalog", 3003),
            ("inventory", 3004),
            ("payments", 3005),
            ("notifications", 3006),
        ];
        assert_eq!(ports, expected.map(|(name, port)| (name.to_owned(), port)));
    }

    #[test]
    fn a_process_listens_where_its_first_part_does() {
        assert_eq!(Parts::only(&[]), Parts::all());
        assert_eq!(Parts::all().port(), 3000);
        assert_eq!(Parts::only(&[Part::Catalog, Part::Users]).port(), 3001);
        assert!(!Parts::only(&[Part::Users]).is_whole());
    }
}

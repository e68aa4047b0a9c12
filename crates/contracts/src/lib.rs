//! All that crosses a border between services: what each may be asked
//! ([`rpc::service!`]), what it answers, and what it announces
//! ([`bus::Event`]). One file per service.
//!
//! Every call may be repeated and may arrive late. It carries the id that
//! makes the second time harmless, and what was undone stays undone.

pub mod catalog;
pub mod inventory;
pub mod notifications;
pub mod orders;
pub mod payments;
pub mod users;

/// Something that was done and is kept for good: what a restore compares, to say
/// what is lost by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Deed {
    /// Of which kind, in the plural: `orders`.
    #[serde(skip)]
    pub kind: &'static str,
    /// When.
    pub at: kernel::Time,
    /// What, with its ids; no two deeds of a kind have the same.
    pub what: String,
}

impl Deed {
    /// One of a kind, for those who read many.
    pub fn of(kind: &'static str) -> impl Fn(kernel::Time, String) -> Deed {
        move |at, what| Deed { kind, at, what }
    }
}

//! Who is calling. The layer checks the token; a handler names what it needs
//! (`Customer`, `Staff`, `Admin`), so that one that forgot to check cannot
//! even say who is calling.

mod caller;
mod token;
mod verifier;

pub use caller::{Admin, Caller, Customer, MaybeCaller, Staff};
pub use token::{Claims, ISSUER, key_bytes, sign};
pub use verifier::{Keys, Verifier};

kernel::words! {
    /// What an account may do.
    pub enum Role {
        /// Buys.
        Customer = "customer",
        /// Serves those who buy.
        Staff = "staff",
        /// May do everything.
        Admin = "admin",
    }
}

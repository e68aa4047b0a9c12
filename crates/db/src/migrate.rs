//! Migrations: one list for both engines.

/// A step from one shape of the tables to the next. Columns are `UUID`,
/// `TEXT`, `BIGINT`, `BOOLEAN` or `BYTEA`; SQLite gets the types of a `STRICT`
/// table in their place.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Unique in its list, never changed: `jobs_1`, `orders_3_history`.
    pub name: &'static str,
    /// The statements, separated by semicolons.
    pub sql: &'static str,
}

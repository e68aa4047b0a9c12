//! A statement and its parameters.

use kernel::{Error, Result, ToValue, Value};

use crate::{FromRow, Tx};

/// A statement with its parameters bound in order: `$1`, `$2`, …
pub struct Query {
    sqlite: &'static str,
    postgres: &'static str,
    values: Vec<Value>,
}

/// A statement that both engines understand.
pub fn query(sql: &'static str) -> Query {
    Query { sqlite: sql, postgres: sql, values: Vec::new() }
}

/// A statement in two forms, where the engines truly differ. Each use says why.
pub fn query_for(sqlite: &'static str, postgres: &'static str) -> Query {
    Query { sqlite, postgres, values: Vec::new() }
}

impl Query {
    /// Binds the next parameter.
    pub fn bind(mut self, value: impl ToValue) -> Query {
        self.values.push(value.to_value());
        self
    }

    /// Runs it and returns how many rows it changed.
    pub async fn execute(self, tx: &mut Tx) -> Result<u64> {
        let _ = (tx, self.sqlite, self.postgres);
        todo!()
    }

    /// Runs it and returns all rows.
    pub async fn fetch_all<T: FromRow>(self, tx: &mut Tx) -> Result<Vec<T>> {
        let _ = tx;
        todo!()
    }

    /// Runs it and returns the first row, if there is one.
    pub async fn fetch_optional<T: FromRow>(self, tx: &mut Tx) -> Result<Option<T>> {
        Ok(self.fetch_all(tx).await?.into_iter().next())
    }

    /// Runs it and returns its row; that there is none is a fault of ours.
    pub async fn fetch_one<T: FromRow>(self, tx: &mut Tx) -> Result<T> {
        self.fetch_optional(tx).await?.ok_or_else(|| Error::internal("a row was expected and none was there"))
    }
}

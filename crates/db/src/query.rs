//! A statement and its parameters.

use kernel::{Error, Result, ToValue, Value};

use crate::{FromRow, Row, Tx};

/// A statement with its parameters bound in order: `$1`, `$2`, …
pub struct Query {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
    pub(crate) values: Vec<Value>,
}

/// A statement that both engines understand.
pub fn query(sql: &'static str) -> Query {
    query_for(sql, sql)
}

/// A statement in two forms, where the engines truly differ. Each use says why.
///
/// A list bound as [`Value::Ints`], [`Value::Texts`] or [`Value::Uuids`] is an
/// array on PostgreSQL (`= ANY($1)`, `unnest($1)`) and a JSON text on SQLite,
/// to be read by `json_each($1)`; UUIDs are hexadecimal there: `unhex(value)`.
pub fn query_for(sqlite: &'static str, postgres: &'static str) -> Query {
    Query { sqlite, postgres, values: Vec::new() }
}

impl Query {
    /// Binds the next parameter.
    pub fn bind(mut self, value: impl ToValue) -> Query {
        self.values.push(value.to_value());
        self
    }

    /// Whether a text holds a zero, which PostgreSQL takes in none and SQLite in any.
    pub(crate) fn is_unstorable(&self) -> bool {
        self.values.iter().any(is_unstorable)
    }

    /// Runs it and returns how many rows it changed.
    pub async fn execute(self, tx: &mut Tx) -> Result<u64> {
        tx.execute(self).await
    }

    /// Runs it and returns all rows.
    pub async fn fetch_all<T: FromRow>(self, tx: &mut Tx) -> Result<Vec<T>> {
        let mut found = Vec::new();
        let mut read = |row: &Row<'_>| {
            found.push(T::from_row(row)?);
            Ok(true)
        };
        tx.fetch(self, &mut read).await?;
        Ok(found)
    }

    /// Runs it and returns the first row, if there is one.
    pub async fn fetch_optional<T: FromRow>(self, tx: &mut Tx) -> Result<Option<T>> {
        let mut found = None;
        let mut read = |row: &Row<'_>| {
            found = Some(T::from_row(row)?);
            Ok(false)
        };
        tx.fetch(self, &mut read).await?;
        Ok(found)
    }

    /// Runs it and returns its row; that there is none is a fault of ours.
    pub async fn fetch_one<T: FromRow>(self, tx: &mut Tx) -> Result<T> {
        self.fetch_optional(tx).await?.ok_or_else(|| Error::internal("a row was expected and none was there"))
    }
}

/// Whether it holds a text with a zero.
pub(crate) fn is_unstorable(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.contains('\0'),
        Value::Texts(texts) => texts.iter().any(|text| text.contains('\0')),
        _ => false,
    }
}

/// Reads one row; says whether it wants the next.
pub(crate) type Read<'a> = dyn FnMut(&Row<'_>) -> Result<bool> + Send + 'a;

//! One statement for many rows.

use kernel::{Result, ToValue, Value};

use crate::{FromRow, Row, Tx};

/// A statement for each of many rows: what a change that is
/// [gathered](crate::Gather) is made of.
///
/// SQLite, to which a statement is a call, runs its text once for each row, in
/// their order. PostgreSQL, to which it is a trip and a plan, runs its own text
/// once: there each parameter is the array of what all rows have in its place
/// (`unnest($1::uuid[], $2::text[])`), in which a value may be missing. So a row
/// that two of them name is changed twice by the one and once by the other:
/// name each once.
pub struct Many {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
    /// Row by row.
    pub(crate) values: Vec<Value>,
    /// How many values a row has.
    pub(crate) width: usize,
}

/// A statement for many rows, in the form of each engine.
pub fn many(sqlite: &'static str, postgres: &'static str) -> Many {
    Many { sqlite, postgres, values: Vec::new(), width: 1 }
}

/// The values of a row, for [`Many::rows`](crate::Many::rows).
#[macro_export]
macro_rules! values {
    ($($value:expr),+ $(,)?) => { [$($crate::value($value)),+] };
}

/// How it is stored.
#[doc(hidden)]
pub fn value(value: impl ToValue) -> Value {
    value.to_value()
}

impl Many {
    /// Binds the values of each of these rows: `$1`, `$2`, … in their order.
    pub fn rows<R, const WIDTH: usize>(
        mut self,
        rows: impl IntoIterator<Item = R>,
        values: impl Fn(R) -> [Value; WIDTH],
    ) -> Many {
        self.values = rows.into_iter().flat_map(values).collect();
        self.width = WIDTH;
        self
    }

    /// Runs it and returns how many rows it changed. Without rows nothing is asked.
    pub async fn execute(self, tx: &mut Tx) -> Result<u64> {
        if self.values.is_empty() { Ok(0) } else { tx.execute_many(self).await }
    }

    /// Runs it, if there are rows, without waiting for the answer: PostgreSQL is sent it in one
    /// packet with the transaction's next statement or its commit, and a failure is told there.
    pub async fn execute_later(self, tx: &mut Tx) -> Result<()> {
        if self.values.is_empty() { Ok(()) } else { tx.execute_many_later(self).await }
    }

    /// Runs it and returns all rows, in no order. Without rows nothing is asked.
    pub async fn fetch_all<T: FromRow>(self, tx: &mut Tx) -> Result<Vec<T>> {
        let mut found = Vec::new();
        let mut read = |row: &Row<'_>| {
            found.push(T::from_row(row)?);
            Ok(true)
        };
        if !self.values.is_empty() {
            tx.fetch_many(self, &mut read).await?;
        }
        Ok(found)
    }

    /// The values of each parameter, for PostgreSQL.
    pub(crate) fn into_columns(self) -> Vec<Value> {
        let mut columns = vec![Vec::with_capacity(self.values.len() / self.width); self.width];
        for (place, value) in self.values.into_iter().enumerate() {
            columns[place % self.width].push(value);
        }
        columns.into_iter().map(Value::List).collect()
    }
}

//! Reading rows.

use kernel::{Error, FromValue, Result, ValueRef};

use crate::{postgres, sqlite};

/// A row of an answer.
pub struct Row<'a>(pub(crate) Driver<'a>);

/// The row of whichever driver answered.
pub(crate) enum Driver<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    /// The column of that name.
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T> {
        let index = match self.0 {
            Driver::Sqlite(row) => row.as_ref().column_index(column).ok(),
            Driver::Postgres(row) => row.columns().iter().position(|c| c.name() == column),
        };
        let index = index.ok_or_else(|| Error::internal(format!("the answer has no column {column:?}")))?;
        self.read(index, &column)
    }

    /// The column at that place, counted from 0.
    pub fn at<T: FromValue>(&self, index: usize) -> Result<T> {
        self.read(index, &index)
    }

    fn read<T: FromValue>(&self, index: usize, name: &dyn std::fmt::Debug) -> Result<T> {
        self.value(index)
            .and_then(T::from_value)
            .map_err(|cause| Error::internal(format!("column {name:?}: {cause}")))
    }

    pub(crate) fn value(&self, index: usize) -> Result<ValueRef<'_>, String> {
        match self.0 {
            Driver::Sqlite(row) => sqlite::read_value(row, index),
            Driver::Postgres(row) => postgres::read_value(row, index),
        }
    }
}

/// What can be read from a row: a struct by [`from_row!`](crate::from_row), a
/// tuple by place.
pub trait FromRow: Sized + Send {
    /// Reads it.
    fn from_row(row: &Row<'_>) -> Result<Self>;
}

/// Reads a struct from a row: each field from the column of its name.
///
/// ```text
/// db::from_row!(Order { id, customer_id, state });
/// ```
#[macro_export]
macro_rules! from_row {
    ($Type:ident { $($field:ident),* $(,)? }) => {
        impl $crate::FromRow for $Type {
            fn from_row(row: &$crate::Row<'_>) -> ::kernel::Result<Self> {
                Ok($Type { $($field: row.get(stringify!($field))?),* })
            }
        }
    };
}

macro_rules! tuples {
    ($($($T:ident $n:tt),+;)*) => { $(
        impl<$($T: FromValue + Send),+> FromRow for ($($T,)+) {
            fn from_row(row: &Row<'_>) -> Result<Self> { Ok(($(row.at::<$T>($n)?,)+)) }
        }
    )* };
}

tuples! {
    A 0;
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
    A 0, B 1, C 2, D 3, E 4;
    A 0, B 1, C 2, D 3, E 4, F 5;
    A 0, B 1, C 2, D 3, E 4, F 5, G 6;
    A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
}

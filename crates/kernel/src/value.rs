//! How a value is stored: five shapes that every database here understands.

use uuid::Uuid;

/// A value on its way to a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// `BIGINT`
    Int(i64),
    /// `BOOLEAN`
    Bool(bool),
    /// `TEXT`
    Text(String),
    /// `BYTEA`
    Bytes(Vec<u8>),
    /// `UUID`
    Uuid(Uuid),
    /// `BIGINT[]`, for set-based statements on PostgreSQL.
    Ints(Vec<i64>),
    /// `TEXT[]`, likewise.
    Texts(Vec<String>),
    /// `UUID[]`, likewise.
    Uuids(Vec<Uuid>),
    /// An array of values of one shape, any of which may be [`Value::Null`];
    /// on PostgreSQL alone.
    List(Vec<Value>),
}

/// A value on its way from a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// No value.
    Null,
    /// `BIGINT`
    Int(i64),
    /// `BOOLEAN`
    Bool(bool),
    /// `TEXT`
    Text(&'a str),
    /// `BYTEA`; a `UUID` on SQLite.
    Bytes(&'a [u8]),
    /// `UUID`
    Uuid(Uuid),
}

impl<'a> ValueRef<'a> {
    /// The text, or what was found in its place.
    pub fn text(self) -> Result<&'a str, String> {
        match self {
            ValueRef::Text(text) => Ok(text),
            other => Err(format!("expected text, found {other:?}")),
        }
    }
}

/// What can be bound to a parameter.
pub trait ToValue {
    /// The stored form.
    fn to_value(self) -> Value;
}

/// What can be read from a column.
pub trait FromValue: Sized {
    /// Reads it, or says what was found in its place.
    fn from_value(value: ValueRef<'_>) -> Result<Self, String>;
}

macro_rules! stored {
    ($($Type:ty, $to:expr, $pattern:pat => $from:expr, $what:literal;)*) => { $(
        impl ToValue for $Type {
            fn to_value(self) -> Value { $to(self) }
        }
        impl FromValue for $Type {
            fn from_value(value: ValueRef<'_>) -> Result<Self, String> {
                match value { $pattern => $from, other => Err(format!(concat!("expected ", $what, ", found {:?}"), other)) }
            }
        }
    )* };
}

stored! {
    i64, Value::Int, ValueRef::Int(n) => Ok(n), "a whole number";
    i32, |n: i32| Value::Int(n.into()), ValueRef::Int(n) => i32::try_from(n).map_err(|e| e.to_string()), "a whole number";
    u32, |n: u32| Value::Int(n.into()), ValueRef::Int(n) => u32::try_from(n).map_err(|e| e.to_string()), "a whole number";
    String, Value::Text, ValueRef::Text(text) => Ok(text.to_owned()), "text";
    Vec<u8>, Value::Bytes, ValueRef::Bytes(bytes) => Ok(bytes.to_vec()), "bytes";
}

impl ToValue for bool {
    fn to_value(self) -> Value {
        Value::Bool(self)
    }
}

impl FromValue for bool {
    fn from_value(value: ValueRef<'_>) -> Result<bool, String> {
        match value {
            ValueRef::Bool(yes) => Ok(yes),
            ValueRef::Int(0) => Ok(false),
            ValueRef::Int(1) => Ok(true),
            other => Err(format!("expected true or false, found {other:?}")),
        }
    }
}

impl ToValue for Uuid {
    fn to_value(self) -> Value {
        Value::Uuid(self)
    }
}

impl FromValue for Uuid {
    fn from_value(value: ValueRef<'_>) -> Result<Uuid, String> {
        match value {
            ValueRef::Uuid(uuid) => Ok(uuid),
            ValueRef::Bytes(bytes) => Uuid::from_slice(bytes).map_err(|e| e.to_string()),
            other => Err(format!("expected a UUID, found {other:?}")),
        }
    }
}

impl ToValue for &str {
    fn to_value(self) -> Value {
        Value::Text(self.to_owned())
    }
}

impl ToValue for &[u8] {
    fn to_value(self) -> Value {
        Value::Bytes(self.to_vec())
    }
}

impl ToValue for Value {
    fn to_value(self) -> Value {
        self
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(self) -> Value {
        self.map_or(Value::Null, ToValue::to_value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: ValueRef<'_>) -> Result<Self, String> {
        match value {
            ValueRef::Null => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl<T: ToValue + Clone> ToValue for &T {
    fn to_value(self) -> Value {
        self.clone().to_value()
    }
}

//! Values on their way to and from PostgreSQL.

use std::error::Error;

use bytes::BytesMut;
use kernel::{Value, ValueRef};
use postgres_types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

type Outcome<T> = Result<T, Box<dyn Error + Sync + Send>>;

/// A value in the form that its parameter's type wants.
#[derive(Debug)]
pub(super) struct Bound<'a>(pub &'a Value);

impl Bound<'_> {
    /// Whether it is an array in which every value is missing: written as text,
    /// because only the statement says of what type they would be.
    fn is_shapeless(&self) -> bool {
        matches!(self.0, Value::List(list) if list.iter().all(|value| *value == Value::Null))
    }

    /// The type that its column has, where PostgreSQL is not asked for it first.
    pub fn kind(&self) -> Type {
        match self.0 {
            Value::Null => Type::UNKNOWN,
            Value::Int(_) => Type::INT8,
            Value::Bool(_) => Type::BOOL,
            Value::Text(_) => Type::TEXT,
            Value::Bytes(_) => Type::BYTEA,
            Value::Uuid(_) => Type::UUID,
            Value::Ints(_) => Type::INT8_ARRAY,
            Value::Texts(_) => Type::TEXT_ARRAY,
            Value::Uuids(_) => Type::UUID_ARRAY,
            Value::List(list) => array(list),
        }
    }
}

impl ToSql for Bound<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Outcome<IsNull> {
        let text = [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME, Type::UNKNOWN].contains(ty);
        match self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(n) if *ty == Type::INT8 => n.to_sql(ty, out),
            Value::Int(n) if *ty == Type::INT4 => i32::try_from(*n)?.to_sql(ty, out),
            Value::Int(n) if *ty == Type::INT2 => i16::try_from(*n)?.to_sql(ty, out),
            Value::Bool(yes) if *ty == Type::BOOL => yes.to_sql(ty, out),
            Value::Text(string) if text => string.to_sql(ty, out),
            Value::Bytes(bytes) if *ty == Type::BYTEA => bytes.to_sql(ty, out),
            Value::Uuid(uuid) if *ty == Type::UUID => uuid.to_sql(ty, out),
            Value::Ints(list) if *ty == Type::INT8_ARRAY => list.to_sql(ty, out),
            Value::Ints(list) if *ty == Type::INT4_ARRAY => {
                let list: Result<Vec<i32>, _> = list.iter().map(|n| i32::try_from(*n)).collect();
                list?.to_sql(ty, out)
            }
            Value::Texts(list) if *ty == Type::TEXT_ARRAY || *ty == Type::VARCHAR_ARRAY => {
                list.to_sql(ty, out)
            }
            Value::Uuids(list) if *ty == Type::UUID_ARRAY => list.to_sql(ty, out),
            Value::List(list) if self.is_shapeless() => {
                let nulls = vec!["NULL"; list.len()].join(",");
                out.extend_from_slice(format!("{{{nulls}}}").as_bytes());
                Ok(IsNull::No)
            }
            Value::List(list) => list.iter().map(Bound).collect::<Vec<_>>().to_sql(ty, out),
            // Not the value itself: it may be a secret, and this ends in a log.
            _ => Err(format!("a parameter is of type {ty}, which this value is not: cast it").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true // `to_sql` decides, because it depends on the value
    }

    fn encode_format(&self, _: &Type) -> Format {
        if self.is_shapeless() { Format::Text } else { Format::Binary }
    }

    to_sql_checked!();
}

/// The type of an array of these.
fn array(list: &[Value]) -> Type {
    match list.iter().find(|value| **value != Value::Null) {
        Some(Value::Int(_)) => Type::INT8_ARRAY,
        Some(Value::Bool(_)) => Type::BOOL_ARRAY,
        Some(Value::Text(_)) => Type::TEXT_ARRAY,
        Some(Value::Bytes(_)) => Type::BYTEA_ARRAY,
        Some(Value::Uuid(_)) => Type::UUID_ARRAY,
        _ => Type::UNKNOWN,
    }
}

/// The column at that place.
pub(crate) fn read_value(row: &tokio_postgres::Row, index: usize) -> Result<ValueRef<'_>, String> {
    row.try_get::<_, Found<'_>>(index)
        .map(|found| found.0)
        .map_err(|e| e.source().map_or_else(|| e.to_string(), ToString::to_string))
}

struct Found<'a>(ValueRef<'a>);

impl<'a> FromSql<'a> for Found<'a> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Outcome<Found<'a>> {
        let value = match *ty {
            Type::INT8 => ValueRef::Int(i64::from_sql(ty, raw)?),
            Type::INT4 => ValueRef::Int(i32::from_sql(ty, raw)?.into()),
            Type::INT2 => ValueRef::Int(i16::from_sql(ty, raw)?.into()),
            Type::BOOL => ValueRef::Bool(bool::from_sql(ty, raw)?),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
                ValueRef::Text(std::str::from_utf8(raw)?)
            }
            Type::BYTEA => ValueRef::Bytes(raw),
            Type::UUID => ValueRef::Uuid(Uuid::from_sql(ty, raw)?),
            _ => {
                return Err(
                    format!("it is of type {ty}: cast it to BIGINT, BOOLEAN, TEXT, BYTEA or UUID").into()
                );
            }
        };
        Ok(Found(value))
    }

    fn from_sql_null(_: &Type) -> Outcome<Found<'a>> {
        Ok(Found(ValueRef::Null))
    }

    fn accepts(_: &Type) -> bool {
        true // `from_sql` decides, to say what would be right
    }
}

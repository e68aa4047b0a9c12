//! Values on their way to and from SQLite.

use std::fmt::Write;

use kernel::{Value, ValueRef};
use rusqlite::{
    Result, Statement, ToSql,
    types::{ToSqlOutput, Value as Owned, ValueRef as Stored},
};

/// Binds `values` by the numbers in `$1`, `$2`, …: to SQLite `$3` is a name,
/// numbered by where it first stands, so the name is read and not the place.
pub(crate) fn bind(statement: &mut Statement<'_>, values: &[Value]) -> Result<(), String> {
    for index in 1..=statement.parameter_count() {
        let number = statement
            .parameter_name(index)
            .and_then(|name| name.strip_prefix('$'))
            .and_then(|number| number.parse::<usize>().ok())
            .ok_or("a parameter is written $1, $2, …")?;
        let value = number
            .checked_sub(1)
            .and_then(|place| values.get(place))
            .ok_or_else(|| format!("${number} is not bound"))?;
        statement.raw_bind_parameter(index, Bound(value)).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// The column at that place.
pub(crate) fn read_value<'a>(row: &'a rusqlite::Row<'_>, index: usize) -> Result<ValueRef<'a>, String> {
    match row.get_ref(index).map_err(|e| e.to_string())? {
        Stored::Null => Ok(ValueRef::Null),
        Stored::Integer(number) => Ok(ValueRef::Int(number)),
        Stored::Text(text) => std::str::from_utf8(text).map(ValueRef::Text).map_err(|e| e.to_string()),
        Stored::Blob(bytes) => Ok(ValueRef::Bytes(bytes)),
        Stored::Real(number) => Err(format!("{number} is no whole number: cast it to BIGINT")),
    }
}

struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => Stored::Null,
            Value::Int(number) => Stored::Integer(*number),
            Value::Bool(yes) => Stored::Integer(i64::from(*yes)),
            Value::Text(text) => Stored::Text(text.as_bytes()),
            Value::Bytes(bytes) => Stored::Blob(bytes),
            Value::Uuid(uuid) => Stored::Blob(uuid.as_bytes()),
            Value::Ints(list) => return json(list, |n, text| write!(text, "{n}")),
            Value::Texts(list) => return json(list, |item, text| quote(item, text)),
            Value::Uuids(list) => return json(list, |id, text| write!(text, "\"{}\"", id.simple())),
            Value::List(_) => {
                return Err(rusqlite::Error::ToSqlConversionFailure("SQLite has no arrays".into()));
            }
        }))
    }
}

/// The list as a JSON array, to be read by `json_each`.
fn json<T>(list: &[T], item: impl Fn(&T, &mut String) -> std::fmt::Result) -> Result<ToSqlOutput<'static>> {
    let mut text = String::from("[");
    for (place, value) in list.iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        item(value, &mut text).expect("writing to a string cannot fail");
    }
    text.push(']');
    Ok(ToSqlOutput::Owned(Owned::Text(text)))
}

/// A JSON string (RFC 8259, section 7).
fn quote(item: &str, text: &mut String) -> std::fmt::Result {
    text.push('"');
    for c in item.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            c if c < ' ' => write!(text, "\\u{:04x}", c as u32)?,
            c => text.push(c),
        }
    }
    text.push('"');
    Ok(())
}

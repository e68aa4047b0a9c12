//! Tables as the database itself describes them: for whoever carries all of
//! them elsewhere and knows none.

use kernel::{Error, Result, Value, ValueRef};
use uuid::Uuid;

use crate::{Query, Row, Tx, query_for};

/// A table and its key.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns, in the order in which they were declared.
    pub columns: Vec<Column>,
    /// The places of the columns of its primary key, in the order of the key.
    pub key: Vec<usize>,
    // Kept as long as the program: a statement is known by where its text lies.
    first: &'static str,
    next: &'static str,
    last: &'static str,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What stands in it.
    pub kind: Kind,
}

/// What stands in a column. SQLite does not tell a `UUID` from `BYTEA`, nor a
/// `BOOLEAN` from a `BIGINT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `BIGINT`
    Int,
    /// `BOOLEAN`
    Bool,
    /// `TEXT`
    Text,
    /// `BYTEA`
    Bytes,
    /// `UUID`
    Uuid,
}

/// Every table by its name, but for `migrations`, which each database keeps for
/// itself. Fails on one that has no primary key, or a column of a foreign type.
pub async fn tables(tx: &mut Tx) -> Result<Vec<Table>> {
    // Two forms: each engine has its own catalogue. The last column is the
    // place in the key, from 1, or 0.
    let columns: Vec<(String, String, String, i64)> = query_for(
        "SELECT t.name, c.name, c.type, c.pk FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
         WHERE t.type = 'table' AND t.name NOT IN ('migrations') AND t.name NOT LIKE 'sqlite|_%' ESCAPE '|'
         ORDER BY t.name, c.cid",
        "SELECT t.relname, c.attname, format_type(c.atttypid, NULL), COALESCE(key.place, 0)
         FROM pg_class AS t
         JOIN pg_namespace AS n ON n.oid = t.relnamespace AND n.nspname = current_schema()
         JOIN pg_attribute AS c ON c.attrelid = t.oid AND c.attnum > 0 AND NOT c.attisdropped
         LEFT JOIN pg_index AS i ON i.indrelid = t.oid AND i.indisprimary
         LEFT JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS key(attnum, place) ON key.attnum = c.attnum
         WHERE t.relkind IN ('r', 'p') AND t.relname <> 'migrations'
         ORDER BY t.relname, c.attnum",
    )
    .fetch_all(tx)
    .await?;
    columns.chunk_by(|one, other| one.0 == other.0).map(table).collect()
}

fn table(described: &[(String, String, String, i64)]) -> Result<Table> {
    let name = described[0].0.clone();
    let column = |(_, column, kind, _): &(String, String, String, i64)| {
        let kind = match kind.as_str() {
            "INTEGER" | "bigint" => Kind::Int,
            "boolean" => Kind::Bool,
            "TEXT" | "text" => Kind::Text,
            "BLOB" | "bytea" => Kind::Bytes,
            "uuid" => Kind::Uuid,
            _ => return Err(Error::internal(format!("{name}.{column} is of the foreign type {kind}"))),
        };
        Ok(Column { name: column.clone(), kind })
    };
    let columns = described.iter().map(column).collect::<Result<Vec<_>>>()?;
    let mut key: Vec<usize> = (0..columns.len()).filter(|at| described[*at].3 > 0).collect();
    key.sort_by_key(|at| described[*at].3);
    if key.is_empty() {
        return Err(Error::internal(format!("the table {name} has no primary key")));
    }
    let list = |names: &mut dyn Iterator<Item = String>| names.collect::<Vec<_>>().join(", ");
    let quoted = |at: usize| format!("\"{}\"", columns[at].name);
    let all = list(&mut (0..columns.len()).map(quoted));
    let keys = list(&mut key.iter().map(|at| quoted(*at)));
    let down = list(&mut key.iter().map(|at| format!("{} DESC", quoted(*at))));
    let bound = list(&mut (0..key.len()).map(|place| format!("${}", place + 2)));
    let select = format!("SELECT {all} FROM \"{name}\"");
    let kept = |sql: String| -> &'static str { sql.leak() };
    Ok(Table {
        first: kept(format!("{select} ORDER BY {keys} LIMIT $1")),
        next: kept(format!("{select} WHERE ({keys}) > ({bound}) ORDER BY {keys} LIMIT $1")),
        last: kept(format!("{select} ORDER BY {down} LIMIT $1")),
        name,
        columns,
        key,
    })
}

/// A row: a value for each column.
pub type Values = Vec<Value>;

impl Table {
    /// The next rows in the order of the key, from behind the row `after`. What
    /// SQLite holds is read as this table calls it, also when the table is that
    /// of a PostgreSQL database.
    pub async fn page(&self, tx: &mut Tx, after: Option<&Values>, most: u32) -> Result<Vec<Values>> {
        let query = match after {
            None => query_for(self.first, self.first).bind(most),
            Some(row) => {
                let query = query_for(self.next, self.next).bind(most);
                self.key.iter().fold(query, |query, at| query.bind(&row[*at]))
            }
        };
        self.rows(tx, query).await
    }

    /// The row with the greatest key.
    pub async fn last(&self, tx: &mut Tx) -> Result<Option<Values>> {
        Ok(self.rows(tx, query_for(self.last, self.last).bind(1)).await?.pop())
    }

    /// Adds rows. Only on PostgreSQL, by `COPY`.
    pub async fn append(&self, tx: &mut Tx, rows: &[Values]) -> Result<()> {
        let names: Vec<_> = self.columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
        let sql = format!("COPY \"{}\" ({}) FROM STDIN", self.name, names.join(", "));
        tx.copy(&sql, rows.iter().map(line).collect()).await
    }

    async fn rows(&self, tx: &mut Tx, query: Query) -> Result<Vec<Values>> {
        let mut found = Vec::new();
        let mut read = |row: &Row<'_>| {
            let values = self.columns.iter().enumerate().map(|(at, column)| {
                let value = row.value(at).and_then(|value| owned(value, column.kind));
                value.map_err(|cause| Error::internal(format!("{}.{}: {cause}", self.name, column.name)))
            });
            found.push(values.collect::<Result<Values>>()?);
            Ok(true)
        };
        tx.fetch(query, &mut read).await?;
        Ok(found)
    }
}

fn owned(value: ValueRef<'_>, kind: Kind) -> Result<Value, String> {
    Ok(match (value, kind) {
        (ValueRef::Null, _) => Value::Null,
        (ValueRef::Int(number), Kind::Int) => Value::Int(number),
        (ValueRef::Bool(yes), Kind::Bool) => Value::Bool(yes),
        (ValueRef::Int(number @ (0 | 1)), Kind::Bool) => Value::Bool(number == 1),
        (ValueRef::Text(text), Kind::Text) => Value::Text(text.to_owned()),
        (ValueRef::Bytes(bytes), Kind::Bytes) => Value::Bytes(bytes.to_vec()),
        (ValueRef::Uuid(uuid), Kind::Uuid) => Value::Uuid(uuid),
        (ValueRef::Bytes(bytes), Kind::Uuid) => {
            Value::Uuid(Uuid::from_slice(bytes).map_err(|error| error.to_string())?)
        }
        // Not the value itself: it may be a secret.
        _ => return Err(format!("what stands there is not of the kind {kind:?}")),
    })
}

/// A row as one line of text, as `COPY` writes it: no two rows have the same.
pub fn line(row: &Values) -> String {
    let mut line = String::new();
    for (place, value) in row.iter().enumerate() {
        if place > 0 {
            line.push('\t');
        }
        write(value, &mut line);
    }
    line.push('\n');
    line
}

fn write(value: &Value, line: &mut String) {
    match value {
        Value::Null => line.push_str("\\N"),
        Value::Int(number) => line.push_str(&number.to_string()),
        Value::Bool(yes) => line.push(if *yes { 't' } else { 'f' }),
        Value::Uuid(uuid) => line.push_str(&uuid.to_string()),
        Value::Bytes(bytes) => {
            line.push_str("\\\\x");
            bytes.iter().for_each(|byte| line.push_str(&format!("{byte:02x}")));
        }
        Value::Text(text) => {
            for c in text.chars() {
                match c {
                    '\\' => line.push_str("\\\\"),
                    '\n' => line.push_str("\\n"),
                    '\r' => line.push_str("\\r"),
                    '\t' => line.push_str("\\t"),
                    c => line.push(c),
                }
            }
        }
        Value::Ints(_) | Value::Texts(_) | Value::Uuids(_) | Value::List(_) => {
            unreachable!("no column holds a list")
        }
    }
}

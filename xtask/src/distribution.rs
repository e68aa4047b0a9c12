//! Whether the tables could be spread over many servers by an engine that does
//! so (Citus, say) without a change to a query: each large table by the first
//! column of its primary key, each statement bound to one value of it, or a
//! few. What is neither stands on the list beside this file, with its reason.

mod list;
mod schema;
mod statement;
mod words;

use std::collections::BTreeMap;

use self::{
    list::{EXCEPTIONS, UNIQUE, WHOLE},
    schema::Table,
};
use crate::{
    shell::Done,
    sql::{Text, list as texts},
};

/// Fails with everything that stands in the way.
pub fn check() -> Done {
    let texts = texts()?;
    let tables = schema::tables()?;
    let spread = spread(&tables);
    let mut wrong = of_tables(&tables);
    wrong.extend(of_statements(&texts, &spread));
    if wrong.is_empty() {
        eprintln!("{} statements on {} tables that can be spread", texts.len(), spread.len());
        return Ok(());
    }
    Err(wrong.join("\n  "))
}

/// Each large table with the column that it is spread by.
fn spread(tables: &[Table]) -> BTreeMap<String, String> {
    let large = tables.iter().filter(|table| whole(&table.name).is_none());
    large.filter_map(|table| Some((table.name.clone(), table.key.first()?.clone()))).collect()
}

fn whole(table: &str) -> Option<&'static str> {
    WHOLE.iter().find(|(tables, _)| tables.contains(&table)).map(|(_, because)| *because)
}

/// A large table has a key, and whatever else is unique in it is so within one
/// value of the column that it is spread by: no server can see the others' rows.
fn of_tables(tables: &[Table]) -> Vec<String> {
    let mut wrong = Vec::new();
    for table in tables.iter().filter(|table| whole(&table.name).is_none()) {
        let Some(by) = table.key.first() else {
            wrong.push(format!("{} has no primary key to be spread by", table.name));
            continue;
        };
        let leaving = table.references.iter().filter(|(from, to)| from != by && whole(to).is_none());
        wrong.extend(leaving.map(|(from, to)| {
            format!("{}.{from} refers to {to} on another server: the table is spread by {by}", table.name)
        }));
        for unique in table.unique.iter().filter(|columns| !columns.contains(by)) {
            let name = format!("{} ({})", table.name, unique.join(", "));
            if !UNIQUE.iter().any(|(listed, _)| *listed == name) {
                wrong.push(format!(
                    "{name} is unique over all servers, and the table is spread by {by}: make {by} a part of it, \
                     or say in xtask/src/distribution/list.rs why not"
                ));
            }
        }
    }
    let names: Vec<_> = tables.iter().map(|table| table.name.as_str()).collect();
    let listed = WHOLE.iter().flat_map(|(tables, _)| tables.iter());
    wrong.extend(
        listed
            .filter(|table| !names.contains(table))
            .map(|table| format!("{table} is listed and is no table")),
    );
    let unique: Vec<_> = tables
        .iter()
        .flat_map(|table| table.unique.iter().map(|unique| format!("{} ({})", table.name, unique.join(", "))))
        .collect();
    let gone = UNIQUE.iter().filter(|(name, _)| !unique.iter().any(|unique| unique == name));
    wrong.extend(gone.map(|(name, _)| format!("{name} is listed as unique and is not")));
    wrong
}

/// Each statement is bound to a value in every large table that it touches.
fn of_statements(texts: &[Text], spread: &BTreeMap<String, String>) -> Vec<String> {
    let mut used = vec![false; EXCEPTIONS.len()];
    let mut wrong = Vec::new();
    for text in texts.iter().filter(|text| !text.postgres.is_empty()) {
        let loose = statement::loose(&text.postgres, spread);
        if loose.is_empty() {
            continue;
        }
        let plain = text.postgres.split_whitespace().collect::<Vec<_>>().join(" ");
        let listed =
            EXCEPTIONS.iter().position(|(file, says, _)| text.file.ends_with(file) && plain.contains(says));
        match listed {
            Some(at) => used[at] = true,
            None => wrong.push(format!(
                "{}:{}: the statement does not say which {} it means: compare it with a value, or say in \
                 xtask/src/distribution/list.rs why not",
                text.file,
                text.line,
                loose.join(" and ")
            )),
        }
    }
    let idle = EXCEPTIONS.iter().zip(used).filter(|(_, used)| !used);
    wrong.extend(
        idle.map(|((file, says, _), _)| format!("the exception {says:?} in {file} is not needed any more")),
    );
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_can_be_spread() {
        assert_eq!(check(), Ok(()));
    }

    #[test]
    fn a_statement_that_names_no_order_is_found() {
        let text = |sql: &str| Text {
            krate: "orders".into(),
            file: "crates/orders/src/store.rs".into(),
            line: 7,
            sqlite: sql.into(),
            postgres: sql.into(),
        };
        let spread = BTreeMap::from([("orders".to_owned(), "id".to_owned())]);
        let found = |sql: &str| {
            let wrong = of_statements(&[text(sql)], &spread);
            wrong.into_iter().filter(|line| line.starts_with("crates/")).collect::<Vec<_>>()
        };

        assert_eq!(found("UPDATE orders SET state = $2 WHERE id = $1"), [""; 0]);
        let wrong = found("UPDATE orders SET state = $2 WHERE carrier = $1");
        assert!(
            wrong[0].starts_with("crates/orders/src/store.rs:7: ") && wrong[0].contains("orders.id"),
            "{wrong:?}"
        );
    }

    #[test]
    fn what_only_one_server_could_hold_is_found() {
        let table = Table {
            name: "orders".into(),
            key: vec!["id".into()],
            unique: vec![vec!["id".into()], vec!["carrier".into(), "tracking".into()]],
            references: vec![("id".into(), "baskets".into()), ("customer_id".into(), "customers".into())],
        };

        let wrong = of_tables(&[table]);

        assert!(
            wrong[0].starts_with("orders.customer_id refers to customers on another server"),
            "{wrong:?}"
        );
        assert!(wrong[1].starts_with("orders (carrier, tracking) is unique over all servers"), "{wrong:?}");
    }
}

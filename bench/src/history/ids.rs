//! What a copy changes: ids, order numbers, times and versions of stock. A
//! value is taken apart once and put together for each copy.

use std::collections::{HashMap, HashSet};

use rusqlite::types::Value;

/// The ids that a text or a blob consists of: sixteen bytes, or thirty-two
/// hexadecimal digits with others around.
pub fn ids_in(value: &Value, found: &mut HashSet<u128>) {
    match value {
        Value::Blob(bytes) => found.extend(<[u8; 16]>::try_from(&bytes[..]).ok().map(u128::from_be_bytes)),
        Value::Text(text) => {
            found.extend(pieces(text).into_iter().filter_map(|piece| match piece {
                Piece::Id(id) => Some(id),
                _ => None,
            }));
        }
        _ => {}
    }
}

/// What stays as it is in a copy, and what the copies are told apart by.
pub struct Marks {
    /// Ids that were there before: of customers, of products.
    pub known: HashSet<u128>,
    /// The numbers of the orders that are copied.
    pub numbers: HashMap<String, u64>,
    /// How many copies there are.
    pub count: u64,
}

/// A copy: which, and how much earlier than the original.
#[derive(Clone, Copy)]
pub struct Copy {
    pub at: u64,
    pub earlier_micros: i64,
}

/// A value that is taken apart.
pub enum Mould {
    Same(Value),
    Id(u128),
    Text(Vec<Piece>),
    Time(i64),
    /// The version of some stock, and by how much one copy raises it.
    Version(i64, i64),
}

/// A part of a text.
pub enum Piece {
    Same(String),
    Id(u128),
    Number(u64),
}

impl Mould {
    /// Takes a value of this column apart.
    pub fn of(column: &str, value: Value, marks: &Marks) -> Mould {
        match value {
            Value::Integer(at) if at > 0 && (column == "at" || column.ends_with("_at")) => Mould::Time(at),
            Value::Blob(bytes) => match <[u8; 16]>::try_from(&bytes[..]).map(u128::from_be_bytes) {
                Ok(id) if !marks.known.contains(&id) => Mould::Id(id),
                _ => Mould::Same(Value::Blob(bytes)),
            },
            Value::Text(text) => {
                let parts: Vec<Piece> = pieces(&text)
                    .into_iter()
                    .flat_map(|piece| match piece {
                        Piece::Id(id) if marks.known.contains(&id) => vec![Piece::Same(format!("{id:032x}"))],
                        Piece::Same(text) => numbers(&text, marks),
                        other => vec![other],
                    })
                    .collect();
                match parts.iter().all(|part| matches!(part, Piece::Same(_))) {
                    true => Mould::Same(Value::Text(text)),
                    false => Mould::Text(parts),
                }
            }
            other => Mould::Same(other),
        }
    }

    /// The value of a copy.
    pub fn cast(&self, copy: Copy, marks: &Marks) -> Value {
        match self {
            Mould::Same(value) => value.clone(),
            Mould::Id(id) => Value::Blob(another(*id, copy).to_be_bytes().to_vec()),
            Mould::Time(at) => Value::Integer(at - copy.earlier_micros),
            Mould::Version(version, each) => Value::Integer(version + each * copy.at as i64),
            Mould::Text(parts) => Value::Text(
                parts
                    .iter()
                    .map(|part| match part {
                        Piece::Same(text) => text.clone(),
                        Piece::Id(id) => format!("{:032x}", another(*id, copy)),
                        Piece::Number(at) => number(at * marks.count + copy.at),
                    })
                    .collect(),
            ),
        }
    }
}

/// The id of a copy: one with a time in it (version 7) is as much earlier.
fn another(id: u128, copy: Copy) -> u128 {
    const FREE: u128 = (1 << 62) - 1; // behind version and variant (RFC 9562)
    let chance = mixed(mixed(id as u64) ^ copy.at) as u128 & FREE;
    let (head, is_timed) = (id & !FREE, id >> 76 & 0xf == 7);
    let earlier = if is_timed { (copy.earlier_micros / 1000) as u128 } else { 0 };
    (head - (earlier << 80)) | chance
}

/// SplitMix64.
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// The order number of a count; no two are alike, because an odd factor
/// permutes the numbers below a power of two.
fn number(count: u64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let bits = count.wrapping_mul(0x9e_3779_b97f) & ((1 << 40) - 1);
    let digit = |place: u32| char::from(DIGITS[(bits >> (5 * place) & 31) as usize]);
    "C-".chars().chain((0..8).rev().map(digit)).collect()
}

/// A text with its ids apart.
fn pieces(text: &str) -> Vec<Piece> {
    let (mut found, mut begun, mut at) = (Vec::new(), 0, 0);
    let bytes = text.as_bytes();
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    while at < bytes.len() {
        let long = bytes[at..].iter().take_while(|byte| is_hex(byte)).count();
        if long == 32
            && let Ok(id) = u128::from_str_radix(&text[at..at + 32], 16)
        {
            found.push(Piece::Same(text[begun..at].to_owned()));
            found.push(Piece::Id(id));
            begun = at + 32;
        }
        at += long.max(1);
    }
    found.push(Piece::Same(text[begun..].to_owned()));
    found
}

/// The same with order numbers apart.
fn numbers(text: &str, marks: &Marks) -> Vec<Piece> {
    let (mut found, mut begun) = (Vec::new(), 0);
    for (at, _) in text.match_indices("C-") {
        if let Some(place) = text.get(at..at + 10).and_then(|number| marks.numbers.get(number)) {
            found.push(Piece::Same(text[begun..at].to_owned()));
            found.push(Piece::Number(*place));
            begun = at + 10;
        }
    }
    found.push(Piece::Same(text[begun..].to_owned()));
    found
}

//! Changes that a fuzzer of bytes seldom makes: another value where one stands,
//! another who asks, a request that is repeated, left out or comes later.

use sim::Chance;

use crate::asked::blocks;

/// What may stand where something else does.
const VALUES: [&str; 28] = [
    "null",
    "true",
    "0",
    "1",
    "-1",
    "10001",
    "1.5",
    "1e400",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "\"\"",
    "\" \"",
    "\"0\"",
    "\"a\\nb\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\u{202e}😀ß\"",
    "\"../%00\"",
    "\"{{id}}\"",
    "\"usr_00000000000000000000000000000000\"",
    "\"tok_declined\"",
    "\"2026-11-27T09:30:00Z\"",
    "\"jar\"",
    "[]",
    "{}",
    "[{\"\":[[[[{}]]]]}]",
    "{\"amount\":1,\"currency\":\"JPY\"}",
];
/// Names that may stand in braces for one another.
const NAMES: [&str; 9] =
    ["staff", "customer", "other", "id", "next", "variant", "etag", "number", "location"];

/// Changes an input in its place, as often by one of these as by the bytes;
/// returns its new length, at most `most`. The signature is libFuzzer's.
#[cfg(feature = "libfuzzer")]
pub fn mutate(input: &mut [u8], size: usize, most: usize, seed: u32) -> usize {
    let changed = mutant(&input[..size], seed.into());
    if seed.is_multiple_of(2) && changed.len() <= most {
        input[..changed.len()].copy_from_slice(&changed);
        changed.len()
    } else {
        libfuzzer_sys::fuzzer_mutate(input, size, most)
    }
}

/// A text like this one, with one thing changed.
pub fn mutant(text: &[u8], seed: u64) -> Vec<u8> {
    let mut chance = Chance::new(seed);
    match chance.below(8) {
        0 | 1 => of_blocks(text, &mut chance),
        2 => {
            let name = format!("{{{{{}}}}}", chance.one_of(&NAMES));
            with_another(text, &names(text), name.as_bytes(), &mut chance)
        }
        3 => {
            let letters = chance.one_of(&["65", "201", "10001", "65000"]);
            with_another(text, &values(text), format!("\"{{{{long {letters}}}}}\"").as_bytes(), &mut chance)
        }
        _ => {
            let value = chance.one_of(&VALUES).as_bytes();
            with_another(text, &values(text), value, &mut chance)
        }
    }
}

fn of_blocks(text: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut blocks = blocks(text);
    if blocks.is_empty() {
        return text.to_vec();
    }
    let [one, other] = [(); 2].map(|()| chance.below(blocks.len() as u64) as usize);
    match chance.below(3) {
        0 => blocks.swap(one, other),
        1 => blocks.insert(one, blocks[other]),
        _ => drop(blocks.remove(one)),
    }
    blocks.join(&b"###\n"[..])
}

/// The text with this in one of the places.
fn with_another(text: &[u8], places: &[(usize, usize)], value: &[u8], chance: &mut Chance) -> Vec<u8> {
    if places.is_empty() {
        return text.to_vec();
    }
    let (from, to) = *chance.one_of(places);
    [&text[..from], value, &text[to..]].concat()
}

/// Where `{{name}}` stands.
fn names(text: &[u8]) -> Vec<(usize, usize)> {
    let opens = (0..text.len()).filter(|at| text[*at..].starts_with(b"{{"));
    opens
        .filter_map(|at| {
            let end = text[at..].windows(2).position(|pair| pair == b"}}")?;
            Some((at, at + end + 2))
        })
        .collect()
}

/// Where texts, numbers and words of JSON stand.
fn values(text: &[u8]) -> Vec<(usize, usize)> {
    let mut places = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let inside = |more: usize, fits: fn(&u8) -> bool| {
            text[at + more..].iter().position(|byte| !fits(byte)).unwrap_or(text.len() - at - more)
        };
        let length = match text[at] {
            b'"' => (inside(1, |byte| *byte != b'"') + 2).min(text.len() - at),
            byte if byte.is_ascii_alphanumeric() || byte == b'-' => {
                inside(0, |byte| byte.is_ascii_alphanumeric() || *byte == b'-')
            }
            _ => 1,
        };
        if length > 1 || text[at].is_ascii_digit() {
            places.push((at, at + length));
        }
        at += length;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_changed() {
        let text = b"GET /a/{{id}}\n\n{\"n\":12,\"t\":\"x y\"}\n###\nGET /b\n";

        let places: Vec<_> = values(text).into_iter().map(|(from, to)| &text[from..to]).collect();
        let mutants: std::collections::BTreeSet<_> = (0..500).map(|seed| mutant(text, seed)).collect();

        assert!(places.contains(&&b"\"x y\""[..]) && places.contains(&&b"12"[..]), "{places:?}");
        assert_eq!(names(text), [(7, 13)]);
        assert!(mutants.len() > 150, "{}", mutants.len());
        for wanted in [&b"GET /b\n"[..], b"GET /a/{{staff}}\n\n{\"n\":12,\"t\":\"x y\"}\n###\nGET /b\n"] {
            assert!(mutants.contains(wanted));
        }
    }
}

//! Which part of a list is asked for.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::request::Parts;
use kernel::Error;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr, Schema,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::Type,
    },
};

use crate::Failure;

/// `?limit=&cursor=`: at most `limit` items, behind those that were seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    /// 1 to 100; 20 when nothing is said.
    pub limit: i64,
    /// Where the last page ended.
    pub after: Option<Cursor>,
}

impl Default for Page {
    fn default() -> Page {
        Page { limit: 20, after: None }
    }
}

impl Page {
    /// The keys of the item that the last page ended with, each read as its
    /// type; nothing on the first page. A cursor of another list is refused.
    pub fn keys<const N: usize>(&self) -> Result<Option<[&str; N]>, Error> {
        let Some(cursor) = &self.after else {
            return Ok(None);
        };
        let keys: Vec<&str> = cursor.keys().iter().map(String::as_str).collect();
        keys.try_into().map(Some).map_err(|_| invalid_cursor())
    }

    /// What a query text asks for; parameters it does not know are others'.
    fn parse(query: &str) -> Result<Page, Error> {
        let mut page = Page::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "limit" => page.limit = limit(value)?,
                "cursor" => page.after = Some(Cursor::parse(&decoded(value)?)?),
                _ => {}
            }
        }
        Ok(page)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Page, Failure> {
        Ok(Page::parse(parts.uri.query().unwrap_or_default())?)
    }
}

fn limit(text: &str) -> Result<i64, Error> {
    let limit = text.parse().ok().filter(|limit| (1..=100).contains(limit));
    limit.ok_or_else(|| {
        Error::invalid("invalid_limit", format!("limit is a number from 1 to 100, not {text:?}"))
    })
}

fn decoded(text: &str) -> Result<Cow<'_, str>, Error> {
    percent_decode_str(text).decode_utf8().map_err(|_| invalid_cursor())
}

fn invalid_cursor() -> Error {
    Error::invalid("invalid_cursor", "the cursor is not one that this list gave out")
}

/// Where a list goes on: the keys of the last item seen, in a form that
/// clients hand back and do not read. A changed one is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    keys: Vec<String>,
}

impl Cursor {
    /// Behind the item with these keys, in the order of the list.
    pub fn of<K: ToString>(keys: &[K]) -> Cursor {
        Cursor { keys: keys.iter().map(ToString::to_string).collect() }
    }

    /// The keys.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// One key, read as its type.
    pub fn key<T: std::str::FromStr>(&self, at: usize) -> Result<T, Error> {
        self.keys.get(at).and_then(|key| key.parse().ok()).ok_or_else(invalid_cursor)
    }

    /// Reads what [`Cursor`]'s `Display` wrote: a checksum, then each key with
    /// its length before it.
    fn parse(text: &str) -> Result<Cursor, Error> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid_cursor())?;
        let (sum, mut rest) = bytes.split_first_chunk::<4>().ok_or_else(invalid_cursor)?;
        if *sum != checksum(rest) {
            return Err(invalid_cursor());
        }
        let mut keys = Vec::new();
        while let Some((length, more)) = rest.split_first_chunk::<2>() {
            let (key, more) =
                more.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or_else(invalid_cursor)?;
            keys.push(std::str::from_utf8(key).map_err(|_| invalid_cursor())?.to_owned());
            rest = more;
        }
        if rest.is_empty() { Ok(Cursor { keys }) } else { Err(invalid_cursor()) }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = vec![0; 4];
        for key in &self.keys {
            let length = u16::try_from(key.len()).map_err(|_| std::fmt::Error)?;
            bytes.extend(length.to_be_bytes());
            bytes.extend(key.as_bytes());
        }
        let sum = checksum(&bytes[4..]);
        bytes[..4].copy_from_slice(&sum);
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Cursor, D::Error> {
        let text = <Cow<'de, str>>::deserialize(d)?;
        Cursor::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Against slips, not against attackers: a cursor opens nothing that the list
/// itself would not show. (FNV-1a, 32 bits.)
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let sum =
        bytes.iter().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    sum.to_be_bytes()
}

impl PartialSchema for Cursor {
    fn schema() -> RefOr<Schema> {
        let text = "where the list goes on; handed back as it is";
        ObjectBuilder::new().schema_type(Type::String).description(Some(text)).into()
    }
}

impl ToSchema for Cursor {}

impl IntoParams for Page {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(100))
            .default(Some(20.into()));
        let parameter = |name: &str, text: &str| {
            ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).description(Some(text))
        };
        vec![
            parameter("limit", "how many at most").schema(Some(limit)).build(),
            parameter("cursor", "where the last page ended").schema(Some(Cursor::schema())).build(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_is_read_from_the_query() {
        let cursor = Cursor::of(&["2026-11-27", "ord_1"]);
        let query = format!("state=held&limit=100&cursor={cursor}");

        assert_eq!(Page::parse("").unwrap(), Page { limit: 20, after: None });
        assert_eq!(Page::parse(&query).unwrap(), Page { limit: 100, after: Some(cursor) });
        for query in ["limit=0", "limit=101", "limit=-1", "limit=", "limit=ten"] {
            assert_eq!(Page::parse(query).unwrap_err().code, "invalid_limit", "{query}");
        }
    }

    #[test]
    fn a_cursor_reads_back_whatever_its_keys_are() {
        for keys in [vec![], vec![""], vec!["a", ""], vec!["ä\u{1f}\n,", "0"], vec!["a,b", "c"]] {
            let cursor = Cursor::of(&keys);
            assert_eq!(Cursor::parse(&cursor.to_string()).unwrap().keys(), keys, "{keys:?}");
        }
        assert_eq!(Cursor::of(&[7, 8]).key::<i64>(1), Ok(8));
        assert_eq!(Cursor::of(&["x"]).key::<i64>(0).unwrap_err().code, "invalid_cursor");
        assert_eq!(Cursor::of(&["x"]).key::<String>(1).unwrap_err().code, "invalid_cursor");
    }

    #[test]
    fn a_changed_cursor_is_refused() {
        let text = Cursor::of(&["1200", "ord_1"]).to_string();

        for at in 0..text.len() {
            let other = if &text[at..=at] == "A" { "B" } else { "A" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            let refused = Page::parse(&format!("cursor={changed}"));
            assert_eq!(refused.unwrap_err().code, "invalid_cursor", "{changed}");
        }
        for query in ["cursor=", "cursor=AAAA", "cursor=%FF", "cursor=!!"] {
            assert_eq!(Page::parse(query).unwrap_err().code, "invalid_cursor", "{query}");
        }
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let page = Page { after: Some(Cursor::of(&["a", "b"])), ..Page::default() };

        assert_eq!(page.keys().unwrap(), Some(["a", "b"]));
        assert_eq!(page.keys::<1>().unwrap_err().code, "invalid_cursor");
        assert_eq!(Page::default().keys::<1>().unwrap(), None);
    }

    proptest! {
        #[test]
        fn a_cursor_of_any_keys_reads_back(keys in prop::collection::vec(any::<String>(), 0..5)) {
            let cursor = Cursor::of(&keys);

            prop_assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        }

        #[test]
        fn any_query_is_read_or_refused(query in "((cursor|limit)=)?\\PC*") {
            if let Err(refused) = Page::parse(&query) {
                prop_assert!(["invalid_cursor", "invalid_limit"].contains(&&*refused.code));
            }
        }

        /// Behind a right checksum, where the lengths of the keys are read.
        #[test]
        fn any_bytes_are_a_cursor_as_they_stand_or_refused(rest in prop::collection::vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..40)) {
            let text = BASE64_URL_SAFE_NO_PAD.encode([&checksum(&rest)[..], &rest].concat());
            match Cursor::parse(&text) {
                Ok(cursor) => prop_assert_eq!(cursor.to_string(), text),
                Err(refused) => prop_assert_eq!(&*refused.code, "invalid_cursor"),
            }
        }
    }
}

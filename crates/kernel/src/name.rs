//! Names that are checked once, at the border.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{FromValue, ToValue, Value, ValueRef};

macro_rules! checked_text {
    ($(#[$doc:meta])* $Name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $Name(String);

        impl $Name {
            /// The text.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl FromStr for $Name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> { $check(text).map($Name) }
        }
        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(&self.0) }
        }
        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Debug::fmt(&self.0, f) }
        }
        impl<'de> Deserialize<'de> for $Name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
        impl ToValue for $Name {
            fn to_value(self) -> Value { Value::Text(self.0) }
        }
        impl FromValue for $Name {
            fn from_value(value: ValueRef<'_>) -> Result<Self, String> { value.text()?.parse() }
        }
    };
}

checked_text! {
    /// A stock keeping unit: 1 to 64 letters, digits, dots, dashes and underscores.
    Sku, |text: &str| {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        fits.then(|| text.to_owned())
            .ok_or_else(|| format!("a SKU is 1 to 64 letters, digits, dots, dashes and underscores, not {text:?}"))
    }
}

checked_text! {
    /// An e-mail address as HTML's `input type=email` accepts it, in lower
    /// case, at most 254 bytes (RFC 5321).
    Email, |text: &str| {
        let text = text.trim().to_lowercase();
        let (local, domain) = text.rsplit_once('@').unwrap_or_default();
        let label = |l: &str| (1..=63).contains(&l.len()) && !l.starts_with('-') && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let fits = (3..=254).contains(&text.len()) && (1..=64).contains(&local.len())
            && local.bytes().all(|b| b.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&b))
            && domain.split('.').all(label);
        if fits { Ok(text) } else { Err(format!("an e-mail address looks like ann@example.com, not {text:?}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_at_the_border() {
        for (text, fits) in [("mug-blue", true), ("", false), ("a b", false), ("ä", false)] {
            assert_eq!(text.parse::<Sku>().is_ok(), fits, "{text}");
        }
        for (text, fits) in [
            ("Ann@Example.com ", true),
            ("ann+shop@mail.example.co.uk", true),
            ("ann", false),
            ("@example.com", false),
            ("ann@", false),
            ("ann@-x.com", false),
            ("a b@example.com", false),
            ("ann@example..com", false),
            ("ann@exa\r\nBcc: x@example.com", false),
        ] {
            assert_eq!(text.parse::<Email>().is_ok(), fits, "{text}");
        }
        assert_eq!("Ann@Example.com".parse::<Email>().unwrap().as_str(), "ann@example.com");
    }
}

//! Texts that are checked once, at the border.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};

macro_rules! text {
    ($(#[$doc:meta])* $Name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $Name(String);

        impl $Name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $Name {
            type Err = String;
            fn from_str(text: &str) -> Result<$Name, String> {
                $check(text).map($Name)
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl<'de> Deserialize<'de> for $Name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<$Name, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl kernel::ToValue for $Name {
            fn to_value(self) -> kernel::Value {
                kernel::Value::Text(self.0)
            }
        }

        impl kernel::FromValue for $Name {
            fn from_value(value: kernel::ValueRef<'_>) -> Result<$Name, String> {
                value.text()?.parse()
            }
        }
    };
}

text! {
    /// What something is called: 1 to 200 characters on one line.
    Label, |text: &str| {
        let text = text.trim();
        let fits = (1..=200).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        fits.then(|| text.to_owned()).ok_or_else(|| "a name is 1 to 200 characters on one line".to_owned())
    }
}

text! {
    /// What there is to say about something: at most 10,000 characters.
    #[derive(Default)]
    Description, |text: &str| {
        let fits = text.chars().count() <= 10_000 && !text.contains('\0');
        fits.then(|| text.trim().to_owned()).ok_or_else(|| "a description has at most 10000 characters".to_owned())
    }
}

text! {
    /// What is looked for in names: at most 200 characters on one line.
    Sought, |text: &str| {
        let fits = text.chars().count() <= 200 && !text.chars().any(char::is_control);
        fits.then(|| text.to_owned()).ok_or_else(|| "what is looked for has at most 200 characters on one line".to_owned())
    }
}

text! {
    /// A name in addresses: 1 to 100 small letters and digits, with single
    /// dashes between them. Never mistaken for an id, which has an underscore.
    Slug, |text: &str| {
        let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let fits = (1..=100).contains(&text.len()) && text.split('-').all(part);
        fits.then(|| text.to_owned())
            .ok_or_else(|| format!("a slug is small letters and digits with dashes between, such as blue-mug, not {text:?}"))
    }
}

impl Slug {
    /// One made from a name: `Blauer Becher, 0,3 l` becomes `blauer-becher-0-3-l`.
    /// What is neither a letter nor a digit of ASCII separates; `otherwise`
    /// stands for a name without any.
    pub fn of(name: &Label, otherwise: &str) -> Slug {
        let mut slug = String::new();
        for c in name.as_str().chars().map(|c| c.to_ascii_lowercase()) {
            let letters = match c {
                'a'..='z' | '0'..='9' => &c.to_string(),
                'ä' | 'Ä' => "ae",
                'ö' | 'Ö' => "oe",
                'ü' | 'Ü' => "ue",
                'ß' => "ss",
                'à' | 'á' | 'â' | 'å' => "a",
                'è' | 'é' | 'ê' | 'ë' | 'É' => "e",
                'ì' | 'í' | 'î' | 'ï' => "i",
                'ò' | 'ó' | 'ô' => "o",
                'ù' | 'ú' | 'û' => "u",
                'ç' => "c",
                'ñ' => "n",
                _ => "-",
            };
            if letters != "-" || !(slug.is_empty() || slug.ends_with('-')) {
                slug.push_str(letters);
            }
        }
        slug.truncate(80);
        let slug = slug.trim_end_matches('-');
        Slug(if slug.is_empty() { otherwise.to_owned() } else { slug.to_owned() })
    }

    /// The same with something behind it that nobody else has.
    pub fn with(&self, ending: &str) -> Slug {
        Slug(format!("{}-{ending}", self.0))
    }
}

//! The macro that makes the settings struct and the list of its keys from one
//! declaration.

use super::{
    keys::Config,
    kind::{Found, Kind, Rule},
};

/// One setting: what is known about it without its value.
pub(super) struct Key {
    /// `server.port`
    pub(super) name: &'static str,
    /// What it is for, in a sentence.
    pub(super) says: String,
    /// What its section is for, in a sentence.
    pub(super) section_says: String,
    /// Whether its value is never shown.
    pub(super) secret: bool,
    /// What would be right: "a whole number from 1 to 65535".
    pub(super) expected: String,
    /// Its value in a `Config`, as the settings file would have it, secrets hidden.
    pub(super) show: fn(&Config) -> String,
    /// Puts a value into a `Config`.
    pub(super) set: fn(&mut Config, &Found) -> Result<(), Wrong>,
}

impl Key {
    /// The section it stands in: `server`.
    pub(super) fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }

    /// Its name within the section: `port`.
    pub(super) fn leaf(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, leaf)| leaf)
    }

    /// The variable that sets it: `CARMEL_SERVER_PORT`.
    pub(super) fn variable(&self) -> String {
        format!("CARMEL_{}", self.name.replace('.', "_").to_uppercase())
    }
}

/// A value that is not what its key wants.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) found: String,
    pub(super) expected: String,
}

/// What would be right for a type under a rule.
pub(super) fn expected<T: Kind>(rule: Option<&Rule<T>>) -> String {
    match rule {
        Some(rule) => format!("{} {}", T::expected(), rule.says),
        None => T::expected(),
    }
}

/// The value as its type, if type and rule allow it.
pub(super) fn accept<T: Kind>(found: &Found, rule: Option<Rule<T>>) -> Result<T, Wrong> {
    match T::read(found) {
        Some(value) if rule.as_ref().is_none_or(|rule| (rule.holds)(&value)) => Ok(value),
        _ => Err(Wrong {
            found: if T::SECRET { "a value that is not shown".into() } else { found.shown() },
            expected: expected(rule.as_ref()),
        }),
    }
}

/// `section: Struct { key: Type = default, rule; … } …`, each with a doc
/// comment: makes a struct per section, `Config` of them all with its
/// `Default`, and `keys()`, the list of what can be set.
macro_rules! settings {
    ($(
        #[doc = $section_says:literal]
        $section:ident: $Section:ident { $(
            $(#[doc = $says:literal])*
            $key:ident: $Type:ty = $default:expr $(, $rule:expr)?;
        )* }
    )*) => {
        /// Every setting, each with a value that was found right.
        #[derive(Clone, Debug, Default)]
        pub struct Config {
            $( #[doc = $section_says] pub $section: $Section, )*
        }

        $(
            #[doc = $section_says]
            #[derive(Clone, Debug)]
            pub struct $Section {
                $( $(#[doc = $says])* pub $key: $Type, )*
            }

            impl Default for $Section {
                fn default() -> $Section {
                    $Section { $( $key: $default, )* }
                }
            }
        )*

        /// What can be set, in the order it is declared.
        pub(super) fn keys() -> Vec<Key> {
            vec![$( $( Key {
                name: concat!(stringify!($section), ".", stringify!($key)),
                says: concat!($($says),*).trim().to_owned(),
                section_says: $section_says.trim().to_owned(),
                secret: <$Type as Kind>::SECRET,
                expected: $crate::config::declare::expected::<$Type>(settings!(@rule $($rule)?).as_ref()),
                show: |config| config.$section.$key.show(),
                set: |config, found| {
                    config.$section.$key = accept(found, settings!(@rule $($rule)?))?;
                    Ok(())
                },
            }, )* )*]
        }
    };
    (@rule) => { None };
    (@rule $rule:expr) => { Some($rule) };
}
pub(super) use settings;

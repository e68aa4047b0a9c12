//! Enums that are words: in a column, in JSON, in the log.

/// Declares an enum of words: `Display`, `FromStr`, serde and storage all use
/// the same one word per variant, so that a state is never bare text.
#[macro_export]
macro_rules! words {
    ($(#[$doc:meta])* $vis:vis enum $Name:ident { $( $(#[$vdoc:meta])* $Variant:ident = $word:literal ),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $Name { $( $(#[$vdoc])* $Variant ),* }

        impl $Name {
            /// All of them, in the order they are declared.
            pub const ALL: &'static [$Name] = &[$($Name::$Variant),*];
            /// The word for it.
            pub const fn as_str(self) -> &'static str { match self { $($Name::$Variant => $word),* } }
        }
        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(self.as_str()) }
        }
        impl std::str::FromStr for $Name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($Name::$Variant),)*
                    _ => Err(format!("{text:?} is none of {}", [$($word),*].join(", "))),
                }
            }
        }
        impl $crate::serde::Serialize for $Name {
            fn serialize<S: $crate::serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.serialize_str(self.as_str()) }
        }
        impl<'de> $crate::serde::Deserialize<'de> for $Name {
            fn deserialize<D: $crate::serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as $crate::serde::Deserialize>::deserialize(d)?;
                text.parse().map_err($crate::serde::de::Error::custom)
            }
        }
        impl $crate::ToValue for $Name {
            fn to_value(self) -> $crate::Value { $crate::Value::Text(self.as_str().to_owned()) }
        }
        impl $crate::utoipa::PartialSchema for $Name {
            fn schema() -> $crate::utoipa::openapi::RefOr<$crate::utoipa::openapi::Schema> {
                $crate::utoipa::openapi::ObjectBuilder::new()
                    .schema_type($crate::utoipa::openapi::schema::Type::String)
                    .enum_values(Some([$($word),*]))
                    .into()
            }
        }
        impl $crate::utoipa::ToSchema for $Name {}
        impl $crate::FromValue for $Name {
            fn from_value(value: $crate::ValueRef<'_>) -> Result<Self, String> { value.text()?.parse() }
        }
    };
}

//! Ids: a type each, UUIDv7 (RFC 9562) inside, shown as `ord_…`.

/// Declares an id type with its prefix. Shown and sent as `prefix_` and 32
/// hexadecimal digits; stored as a UUID.
#[macro_export]
macro_rules! id {
    ($(#[$doc:meta])* $Name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $Name($crate::uuid::Uuid);

        impl $Name {
            /// What every such id begins with, before the underscore.
            pub const PREFIX: &'static str = $prefix;
            /// A new one: later ones sort behind earlier ones.
            pub fn new(world: &$crate::World) -> Self { Self(world.uuid_v7()) }
            /// The one with this UUID.
            pub const fn from_uuid(uuid: $crate::uuid::Uuid) -> Self { Self(uuid) }
            /// The UUID inside.
            pub const fn uuid(self) -> $crate::uuid::Uuid { self.0 }
        }
        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut buffer = [0; 32];
                write!(f, concat!($prefix, "_{}"), self.0.simple().encode_lower(&mut buffer))
            }
        }
        impl std::fmt::Debug for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { std::fmt::Display::fmt(self, f) }
        }
        impl std::str::FromStr for $Name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|rest| rest.len() == 32 && !rest.bytes().any(|b| b.is_ascii_uppercase()))
                    .and_then(|rest| $crate::uuid::Uuid::try_parse(rest).ok())
                    .map(Self)
                    .ok_or_else(|| format!(concat!("an id here is ", $prefix, "_ and 32 hexadecimal digits, not {:?}"), text))
            }
        }
        impl $crate::serde::Serialize for $Name {
            fn serialize<S: $crate::serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.collect_str(self) }
        }
        impl<'de> $crate::serde::Deserialize<'de> for $Name {
            fn deserialize<D: $crate::serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as $crate::serde::Deserialize>::deserialize(d)?;
                text.parse().map_err($crate::serde::de::Error::custom)
            }
        }
        impl $crate::ToValue for $Name {
            fn to_value(self) -> $crate::Value { $crate::Value::Uuid(self.0) }
        }
        impl $crate::utoipa::PartialSchema for $Name {
            fn schema() -> $crate::utoipa::openapi::RefOr<$crate::utoipa::openapi::Schema> {
                $crate::schema::text(
                    Some(concat!("^", $prefix, "_[0-9a-f]{32}$").into()),
                    concat!($prefix, "_019ab3c4d5e67f8091a2b3c4d5e6f708"),
                    concat!("an id that begins with ", $prefix, "_"),
                )
            }
        }
        impl $crate::utoipa::ToSchema for $Name {}
        impl $crate::FromValue for $Name {
            fn from_value(value: $crate::ValueRef<'_>) -> Result<Self, String> {
                <$crate::uuid::Uuid as $crate::FromValue>::from_value(value).map(Self)
            }
        }
    };
}

id!(/// Somebody with an account.
    UserId, "usr");
id!(/// A product.
    ProductId, "prd");
id!(/// A variant of a product: what has a SKU and a price.
    VariantId, "var");
id!(/// A category of products.
    CategoryId, "cat");
id!(/// An order.
    OrderId, "ord");
id!(/// Stock held for an order.
    HoldId, "hld");
id!(/// A movement of stock.
    MovementId, "mov");
id!(/// The payment of an order.
    PaymentId, "pay");
id!(/// One try at a payment: the provider's idempotency key.
    AttemptId, "att");
id!(/// A refund.
    RefundId, "ref");
id!(/// A message to a person.
    MessageId, "msg");
id!(/// Work for later.
    JobId, "job");
id!(/// An event.
    EventId, "evt");
id!(/// A signed-in session: a family of refresh tokens.
    SessionId, "ses");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::World;

    #[test]
    fn an_id_reads_back_and_refuses_anothers_prefix() {
        let id = OrderId::new(&World::real());

        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().parse::<UserId>().is_err());
        assert!("ord_123".parse::<OrderId>().unwrap_err().contains("ord_ and 32"));
        assert!(id.to_string().to_uppercase().parse::<OrderId>().is_err());
    }

    #[test]
    fn later_ids_sort_behind_earlier_ones() {
        let world = World::real();
        let ids: Vec<OrderId> = (0..10_000).map(|_| OrderId::new(&world)).collect();

        assert!(ids.is_sorted());
    }

    proptest! {
        #[test]
        fn any_id_reads_back(uuid: u128) {
            let id = OrderId::from_uuid(crate::uuid::Uuid::from_u128(uuid));

            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn any_text_is_an_id_as_it_stands_or_refused(text in "ord_[0-9a-fA-F]{32}|(ord_)?([0-9a-f-]{30,38}|\\PC*)") {
            match text.parse::<OrderId>() {
                Ok(id) => prop_assert_eq!(id.to_string(), text),
                Err(refused) => prop_assert!(refused.contains("ord_ and 32")),
            }
        }
    }
}

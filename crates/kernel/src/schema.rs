//! How the types of this crate are described in OpenAPI 3.1.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, SchemaFormat, schema::Type},
};

use crate::{Currency, Email, Money, Sku, Time};

/// A string that looks like `pattern`, such as `example`.
#[doc(hidden)]
pub fn text(pattern: Option<String>, example: &str, description: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(pattern)
        .examples([example])
        .description(Some(description))
        .into()
}

macro_rules! described {
    ($($Type:ty, $schema:expr;)*) => { $(
        impl PartialSchema for $Type { fn schema() -> RefOr<Schema> { $schema } }
        impl ToSchema for $Type {}
    )* };
}

described! {
    Sku, text(Some(r"^[A-Za-z0-9._-]{1,64}$".into()), "mug-blue", "a stock keeping unit");
    Email, text(None, "ann@example.com", "an e-mail address");
    Currency, text(Some("^[A-Z]{3}$".into()), "EUR", "a currency of ISO 4217");
    Time, ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("date-time".into())))
        .examples(["2026-11-27T09:30:00.000000Z"])
        .into();
    Money, ObjectBuilder::new()
        .property("amount", ObjectBuilder::new().schema_type(Type::Integer).format(Some(SchemaFormat::Custom("int64".into()))).examples([1200]))
        .property("currency", Currency::schema())
        .required("amount")
        .required("currency")
        .description(Some("an amount in the smallest unit of its currency"))
        .into();
}

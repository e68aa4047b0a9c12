//! How the API is described: OpenAPI 3.1, made from the routes.

use std::collections::BTreeMap;

use axum::{Router, routing::get};
use bytes::Bytes;
use http::header;
use kernel::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{
    IntoResponses, PartialSchema, ToSchema,
    openapi::{
        ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, OpenApiVersion, Ref, RefOr,
        Response, ResponseBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

/// What went wrong, as every error leaves (RFC 9457).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Where it is explained.
    #[schema(example = "/docs/errors#out_of_stock")]
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What to branch on: it never changes.
    #[schema(example = "out_of_stock")]
    pub code: String,
    /// What happened, for people.
    pub detail: String,
    /// The id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The parts of the body at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemField>,
}

/// A part of the body at fault.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProblemField {
    /// Where it stands, as a JSON Pointer (RFC 6901).
    #[schema(example = "/lines/0/sku")]
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

/// Any answer that is no success, for `responses(…, web::openapi::Problems)`.
pub struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let problem = ResponseBuilder::new()
            .description("a problem")
            .content("application/problem+json", content)
            .build();
        BTreeMap::from([("default".to_owned(), problem.into())])
    }
}

/// The frame around what the routes say of themselves: the name of the API,
/// the problem schema, and `bearer`, the way to sign in
/// (`security(("bearer" = []))`).
pub fn frame(title: &str, version: &str, description: &str) -> OpenApi {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("the access_token of POST /login"))
        .build();
    let components = ComponentsBuilder::new()
        .schema("Problem", Problem::schema())
        .schema("ProblemField", ProblemField::schema())
        .security_scheme("bearer", SecurityScheme::Http(bearer))
        .build();
    OpenApiBuilder::new()
        .openapi(OpenApiVersion::Version31)
        .info(InfoBuilder::new().title(title).version(version).description(Some(description)).build())
        .components(Some(components))
        .build()
}

/// What utoipa says of a field that has words of its own beside the schema of
/// its type, in a form that something can be: it writes `allOf` of the type and
/// of an object, which no text and no number is.
pub fn in_own_words(api: &OpenApi) -> Result<OpenApi> {
    let mut api = serde_json::to_value(api).map_err(Error::internal)?;
    merge_words(&mut api);
    serde_json::from_value(api).map_err(Error::internal)
}

fn merge_words(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(merge_words),
        Value::Object(fields) => {
            fields.values_mut().for_each(merge_words);
            if let Some([kind, words]) = fields.get("allOf").and_then(Value::as_array).map(Vec::as_slice)
                && words["type"] == "object"
                && words["description"].is_string()
                && words.as_object().is_some_and(|words| words.len() == 2)
            {
                let mut merged = kind.clone();
                merged["description"] = words["description"].clone();
                *value = merged;
            }
        }
        _ => {}
    }
}

/// `GET /openapi.json`, written once.
pub fn route(api: &OpenApi) -> Result<Router> {
    let text = Bytes::from(api.to_pretty_json().map_err(Error::internal)?);
    let answer = move || {
        let text = text.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], text) }
    };
    Ok(Router::new().route("/openapi.json", get(answer)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_with_words_of_its_own_is_what_its_type_is() {
        let text = json!({"type": "string", "description": "an id", "pattern": "^a$"});
        let mut described = json!({"properties": {
            "id": {"allOf": [text, {"type": "object", "description": "Which."}]},
            "both": {"allOf": [text, {"type": "object", "description": "x", "properties": {}}]},
        }});

        merge_words(&mut described);

        assert_eq!(
            described["properties"]["id"],
            json!({"type": "string", "description": "Which.", "pattern": "^a$"})
        );
        assert!(described["properties"]["both"]["allOf"].is_array());
    }
}

//! `/docs`: the API for people, made from its description, and `/docs/errors`,
//! where every problem's `type` points.

mod shape;

use std::collections::BTreeMap;

use axum::{Router, response::Html, routing::get};
use kernel::{Error, Result};
use minijinja::Environment;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;

use shape::shape;

/// The whole API as it was described when this was built: for a gateway whose
/// services run elsewhere. A check holds that file against the routes.
pub fn described() -> Result<OpenApi> {
    serde_json::from_str(include_str!("../../../docs/openapi.json")).map_err(Error::internal)
}

/// `GET /docs` and `GET /docs/errors`, written once.
pub fn routes(api: &OpenApi) -> Result<Router> {
    let api = serde_json::to_value(api).map_err(Error::internal)?;
    let calls = calls(&api);
    let errors = errors(&calls);
    let mut services: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in &calls {
        services.entry(&call.service).or_default().push(call);
    }
    let docs = page("docs.html", &json!({ "info": api["info"], "services": services }))?;
    let errors = page("errors.html", &json!({ "info": api["info"], "errors": errors }))?;
    let answer = |text: String| get(move || std::future::ready(Html(text.clone())));
    Ok(Router::new().route("/docs", answer(docs)).route("/docs/errors", answer(errors)))
}

/// One thing that can be called.
#[derive(Serialize)]
struct Call {
    service: String,
    method: String,
    path: String,
    anchor: String,
    summary: String,
    signed_in: bool,
    parameters: Vec<Parameter>,
    body: Option<String>,
    answers: Vec<Answer>,
}

#[derive(Serialize)]
struct Parameter {
    name: String,
    place: String,
    required: bool,
    shape: String,
    description: String,
}

#[derive(Serialize)]
struct Answer {
    status: String,
    description: String,
    shape: Option<String>,
}

fn calls(api: &Value) -> Vec<Call> {
    let mut calls = Vec::new();
    for (path, methods) in api["paths"].as_object().into_iter().flatten() {
        for (method, call) in methods.as_object().into_iter().flatten() {
            // Beside the methods there may be a summary or parameters of all of them.
            if call["responses"].is_object() {
                calls.push(read_call(api, (path, method), call));
            }
        }
    }
    calls
}

fn read_call(api: &Value, (path, method): (&str, &str), call: &Value) -> Call {
    let parameters = list(&call["parameters"]).map(|parameter| Parameter {
        name: text(&parameter["name"]),
        place: text(&parameter["in"]),
        required: parameter["required"] == true,
        shape: shape(api, &parameter["schema"]),
        description: text(&parameter["description"]),
    });
    let answers = call["responses"].as_object().into_iter().flatten().map(|(status, answer)| Answer {
        status: status.clone(),
        description: text(&answer["description"]),
        shape: content(api, answer),
    });
    Call {
        service: list(&call["tags"]).next().map_or_else(|| "other".into(), text),
        method: method.to_uppercase(),
        path: path.to_owned(),
        anchor: format!("{method}{}", path.replace(['/', '{', '}'], "-")),
        summary: sentence(call),
        signed_in: must_sign_in(api, call),
        parameters: parameters.collect(),
        body: content(api, &call["requestBody"]),
        answers: answers.collect(),
    }
}

/// Whether none of the ways to call is to call as nobody (an empty one); where
/// the call says nothing, what is said of the whole API counts.
fn must_sign_in(api: &Value, call: &Value) -> bool {
    let ways = call.get("security").unwrap_or(&api["security"]);
    let named = |way: &Value| way.as_object().is_some_and(|way| !way.is_empty());
    list(ways).next().is_some() && list(ways).all(named)
}

/// The shape of a body, whatever its media type.
fn content(api: &Value, of: &Value) -> Option<String> {
    let (_, content) = of["content"].as_object()?.iter().next()?;
    Some(shape(api, &content["schema"]))
}

/// What a call does. A handler's own comment may begin with its method and
/// path, as in "`GET /stock` lists"; here they stand beside it already.
fn sentence(call: &Value) -> String {
    let (summary, description) = (text(&call["summary"]), text(&call["description"]));
    let whole = [summary, description].join("\n");
    let rest =
        whole.strip_prefix('`').and_then(|rest| rest.split_once("` ")).map_or(&*whole, |(_, rest)| rest);
    let mut letters = rest.trim().chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A stable code, and what is said of it where it is named.
#[derive(Serialize)]
struct Code {
    code: String,
    said: Vec<Said>,
}

#[derive(Serialize)]
struct Said {
    call: String,
    anchor: String,
    status: String,
    description: String,
}

/// Every `` `code` `` that the description of an answer names.
fn errors(calls: &[Call]) -> Vec<Code> {
    let mut codes: BTreeMap<&str, Vec<Said>> = BTreeMap::new();
    for call in calls {
        for answer in call.answers.iter().filter(|answer| answer.status.starts_with(['4', '5'])) {
            for code in quoted(&answer.description) {
                codes.entry(code).or_default().push(Said {
                    call: format!("{} {}", call.method, call.path),
                    anchor: call.anchor.clone(),
                    status: answer.status.clone(),
                    description: answer.description.clone(),
                });
            }
        }
    }
    codes.into_iter().map(|(code, said)| Code { code: code.to_owned(), said }).collect()
}

/// What stands between backticks and looks like a code.
fn quoted(description: &str) -> impl Iterator<Item = &str> {
    let parts = description.split('`').skip(1).step_by(2);
    parts.filter(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Fills a page; what is put into it is escaped, because its name ends in `.html`.
fn page(name: &'static str, values: &Value) -> Result<String> {
    let mut pages = Environment::new();
    for (name, page) in [
        ("layout.html", include_str!("../templates/layout.html")),
        ("docs.html", include_str!("../templates/docs.html")),
        ("errors.html", include_str!("../templates/errors.html")),
    ] {
        pages.add_template(name, page).map_err(Error::internal)?;
    }
    let values = minijinja::Value::deserialize(values).map_err(Error::internal)?;
    pages.get_template(name).and_then(|page| page.render(values)).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_described_without_its_own_name() {
        for (summary, shown) in [
            ("`GET /stock` lists all stock.", "Lists all stock."),
            ("Lists `all` stock.", "Lists `all` stock."),
            ("", ""),
        ] {
            assert_eq!(sentence(&json!({ "summary": summary })), shown);
        }
    }
}

//! Whether a value is what a schema of the API's description says: as much of
//! JSON Schema as that description uses.

use serde_json::Value;

/// What does not fit, with a JSON Pointer to it. `api` is what `$ref` refers to.
pub fn mismatch(api: &Value, schema: &Value, value: &Value) -> Option<String> {
    fits(api, schema, value, "").err()
}

type Fits = Result<(), String>;

fn fits(api: &Value, schema: &Value, value: &Value, at: &str) -> Fits {
    let wrong = |why: &str| Err(format!("{at:?} {why}: {value}"));
    if let Some(reference) = schema["$ref"].as_str() {
        let named = api.pointer(reference.trim_start_matches('#'));
        return fits(api, named.ok_or(format!("there is no {reference}"))?, value, at);
    }
    for all in list(schema, "allOf") {
        fits(api, all, value, at)?;
    }
    if schema["oneOf"].is_array()
        && list(schema, "oneOf").filter(|one| fits(api, one, value, at).is_ok()).count() != 1
    {
        return wrong(&format!("is not one of {}", schema["oneOf"]));
    }
    let kinds = &schema["type"];
    let is = |kind: &Value| is_a(kind.as_str().unwrap_or_default(), value);
    if !kinds.is_null() && !is(kinds) && !kinds.as_array().is_some_and(|kinds| kinds.iter().any(is)) {
        return wrong(&format!("is not {kinds}"));
    }
    if schema["enum"].is_array() && !list(schema, "enum").any(|one| one == value) {
        return wrong(&format!("is none of {}", schema["enum"]));
    }
    for (name, low) in [
        ("minimum", true),
        ("minLength", true),
        ("minItems", true),
        ("maximum", false),
        ("maxLength", false),
        ("maxItems", false),
    ] {
        if let (Some(limit), Some(size)) = (schema[name].as_i64(), size(name, value))
            && (if low { size < limit } else { size > limit })
        {
            return wrong(&format!("is beyond {name} {limit}"));
        }
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && !matches(pattern, text)
    {
        return wrong(&format!("is not {pattern}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        fits(api, &schema["items"], item, &format!("{at}/{index}"))?;
    }
    let Some(fields) = value.as_object() else { return Ok(()) };
    let mut required = list(schema, "required").filter_map(Value::as_str);
    if let Some(name) = required.find(|name| !fields.contains_key(*name)) {
        return wrong(&format!("has no {name}"));
    }
    for (name, field) in fields {
        match &schema["properties"][name] {
            Value::Null if schema["properties"].is_object() => {
                return wrong(&format!("has {name}, which is not described"));
            }
            known => fits(api, known, field, &format!("{at}/{name}"))?,
        }
    }
    Ok(())
}

fn list<'a>(schema: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    schema[name].as_array().into_iter().flatten()
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

fn size(limit: &str, value: &Value) -> Option<i64> {
    let size = match &limit[3..] {
        "imum" => return value.as_i64(),
        "Length" => value.as_str()?.chars().count(),
        _ => value.as_array()?.len(),
    };
    i64::try_from(size).ok()
}

/// As much of regular expressions as is used: `^prefix[set]{count}$`.
fn matches(pattern: &str, text: &str) -> bool {
    let parts = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix("}$")?.split_once('['));
    let (prefix, (set, count)) = parts
        .and_then(|(prefix, rest)| Some((prefix, rest.split_once("]{")?)))
        .unwrap_or_else(|| panic!("{pattern} is no pattern that is understood here"));
    let (least, most) = count.split_once(',').unwrap_or((count, count));
    let fits =
        text.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|byte| is_in(set.as_bytes(), byte)));
    let length = text.len().saturating_sub(prefix.len());
    fits && (least.parse().unwrap()..=most.parse().unwrap()).contains(&length)
}

fn is_in(set: &[u8], byte: u8) -> bool {
    match set {
        [low, b'-', high, rest @ ..] => (*low..=*high).contains(&byte) || is_in(rest, byte),
        [one, rest @ ..] => *one == byte || is_in(rest, byte),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_fit_is_named() {
        let api =
            json!({"components": {"schemas": {"Sku": {"type": "string", "pattern": "^s_[a-c._-]{1,3}$"}}}});
        let sku = json!({"$ref": "#/components/schemas/Sku"});
        let thing = json!({"type": "object", "required": ["sku"], "properties": {
            "sku": sku, "next": {"oneOf": [sku, {"type": "null"}]}, "sizes": {"type": "array", "items": {"type": "integer", "maximum": 3}},
            "word": {"type": ["string", "null"], "enum": ["a", null]}}});
        for (value, at) in [
            (json!({"sku": "s_a-."}), None),
            (json!({"sku": "s_a", "next": null, "sizes": [1, 3], "word": "a"}), None),
            (json!([]), Some("\"\" is not \"object\"")),
            (json!({}), Some("\"\" has no sku")),
            (json!({"sku": "s_d"}), Some("\"/sku\" is not ^")),
            (json!({"sku": "s_"}), Some("\"/sku\" is not ^")),
            (json!({"sku": "s_a", "next": 1}), Some("\"/next\" is not one of")),
            (json!({"sku": "s_a", "sizes": [1, 4]}), Some("\"/sizes/1\" is beyond maximum 3")),
            (json!({"sku": "s_a", "word": "b"}), Some("\"/word\" is none of")),
            (json!({"sku": "s_a", "more": 1}), Some("\"\" has more")),
        ] {
            let found = mismatch(&api, &thing, &value);
            assert_eq!(found.is_some(), at.is_some(), "{value}: {found:?}");
            assert!(at.is_none_or(|at| found.as_ref().unwrap().starts_with(at)), "{value}: {found:?}");
        }
    }
}

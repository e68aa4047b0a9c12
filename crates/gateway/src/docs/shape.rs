//! A JSON Schema as a person would write it down.

use serde_json::Value;

/// Deeper than this nobody reads.
const DEEPEST: usize = 6;

/// The shape of what a schema allows: `{"sku": text, "quantity": integer}`,
/// one field a line, a `?` behind what may be left out.
pub fn shape(api: &Value, schema: &Value) -> String {
    let mut out = String::new();
    write(api, schema, 0, &mut out);
    out
}

fn write(api: &Value, schema: &Value, depth: usize, out: &mut String) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap_or_default();
        let named = &api["components"]["schemas"][name];
        return if depth > DEEPEST || named.is_null() {
            out.push_str(name)
        } else {
            write(api, named, depth, out)
        };
    }
    for (list, between) in [("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")] {
        if let Some(schemas) = schema[list].as_array() {
            return join(schemas, between, out, |schema, out| write(api, schema, depth, out));
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        return join(words, " or ", out, |word, out| out.push_str(&word.to_string()));
    }
    match &schema["type"] {
        // OpenAPI 3.1 writes what may be null as a list of two types.
        Value::Array(types) => {
            join(types, " or ", out, |kind, out| write_type(api, (kind, schema), depth, out))
        }
        kind => write_type(api, (kind, schema), depth, out),
    }
}

fn write_type(api: &Value, (kind, schema): (&Value, &Value), depth: usize, out: &mut String) {
    match kind.as_str().unwrap_or_default() {
        "object" if schema["properties"].is_object() => write_object(api, schema, depth, out),
        "array" => {
            out.push('[');
            write(api, &schema["items"], depth, out);
            out.push_str(", …]");
        }
        "string" => match (schema["format"].as_str(), first_example(schema)) {
            (_, Some(example)) => out.push_str(&example.to_string()),
            (Some(format), None) => out.push_str(format),
            (None, None) => out.push_str("text"),
        },
        "" => out.push_str("anything"),
        kind => out.push_str(kind),
    }
}

fn write_object(api: &Value, schema: &Value, depth: usize, out: &mut String) {
    let required: Vec<&Value> = schema["required"].as_array().into_iter().flatten().collect();
    let indent = "  ".repeat(depth + 1);
    out.push_str("{\n");
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let optional = if required.iter().any(|required| *required == name) { "" } else { "?" };
        out.push_str(&format!("{indent}\"{name}\"{optional}: "));
        write(api, field, depth + 1, out);
        if let Some(description) = field["description"].as_str() {
            out.push_str(&format!("    — {}", description.lines().next().unwrap_or_default()));
        }
        out.push('\n');
    }
    out.push_str(&"  ".repeat(depth));
    out.push('}');
}

fn first_example(schema: &Value) -> Option<&Value> {
    let first = schema["examples"].as_array().and_then(|examples| examples.first());
    first.or_else(|| schema.get("example")).filter(|example| example.is_string())
}

fn join(parts: &[Value], between: &str, out: &mut String, mut write: impl FnMut(&Value, &mut String)) {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.push_str(between);
        }
        write(part, out);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_is_written_down_as_a_person_would() {
        let api = json!({"components": {"schemas": {
            "Line": {"type": "object", "required": ["sku"], "properties": {
                "sku": {"type": "string", "example": "mug"},
                "quantity": {"type": "integer", "description": "How many."},
            }},
            "Tree": {"type": "object", "properties": {"below": {"$ref": "#/components/schemas/Tree"}}},
        }}});
        for (schema, shown) in [
            (json!({"type": "integer"}), "integer"),
            (json!({"type": ["string", "null"]}), "text or null"),
            (json!({"type": "string", "enum": ["a", "b"]}), "\"a\" or \"b\""),
            (
                json!({"oneOf": [{"type": "null"}, {"type": "string", "format": "date-time"}]}),
                "null or date-time",
            ),
            (
                json!({"type": "array", "items": {"$ref": "#/components/schemas/Line"}}),
                "[{\n  \"quantity\"?: integer    — How many.\n  \"sku\": \"mug\"\n}, …]",
            ),
            (json!({"$ref": "#/components/schemas/Gone"}), "Gone"),
            (json!({}), "anything"),
        ] {
            assert_eq!(shape(&api, &schema), shown);
        }
        assert!(shape(&api, &json!({"$ref": "#/components/schemas/Tree"})).contains("Tree"));
    }
}

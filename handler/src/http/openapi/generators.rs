//! What generators of clients need of the document, as a last pass over it.
//!
//! NSwag makes a client of each part of an `operationId` in front of an underscore, and of an enumeration without a type one
//! of integers; openapi-python-client leaves out arrays without `items`; Kiota and NSwag make empty classes of alternatives, and
//! hey-api makes tuples of lists whose length is fixed.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Members of a schema or of the document whose values are not parts of it.
const NOT_SCHEMAS: [&str; 4] = ["example", "examples", "default", "required"];
/// Members whose value has names of the document's author as keys.
const NAMED: [&str; 9] = [
    "properties",
    "schemas",
    "responses",
    "requestBodies",
    "parameters",
    "headers",
    "securitySchemes",
    "paths",
    "content",
];
/// What generators take for tuples or cannot express.
const BOUNDS: [&str; 5] = [
    "minItems",
    "maxItems",
    "prefixItems",
    "minProperties",
    "maxProperties",
];

/// Gives enumerations and arrays the type that they leave to be inferred.
pub(super) fn typed(document: &mut Value) {
    each(document, &mut |schema| {
        let values = match (schema.get("enum"), schema.get("const")) {
            (Some(Value::Array(values)), _) => Some(values.clone()),
            (_, Some(value)) => Some(vec![value.clone()]),
            _ => None,
        };
        if let Some(values) = values
            && !schema.contains_key("type")
        {
            let types: BTreeSet<&str> = values.iter().map(type_of).collect();
            let types: Vec<&str> = types.into_iter().collect();
            let ty = match types[..] {
                [only] => json!(only),
                _ => json!(types),
            };
            schema.insert("type".to_owned(), ty);
        }
        if schema.get("type").is_some_and(|ty| ty == "array") {
            schema.entry("items").or_insert_with(|| json!({}));
        }
    });
}

/// Leaves one form of everything: of several, the first list or else the first. Their order means nothing else.
pub(super) fn plain(document: &mut Value) {
    each(document, &mut |schema| {
        let empty: Vec<String> = match schema.get("properties") {
            Some(Value::Object(members)) => members
                .iter()
                .filter(|(_, member)| may_be_null(member))
                .map(|(name, _)| name.clone())
                .collect(),
            _ => Vec::new(),
        };
        // What may be null is absent to most languages.
        if let Some(Value::Array(required)) = schema.get_mut("required") {
            required.retain(|name| !empty.iter().any(|empty| name == empty));
        }
        for alternatives in ["anyOf", "oneOf"] {
            let Some(Value::Array(forms)) = schema.remove(alternatives) else {
                continue;
            };
            let is_list = |form: &&Value| form["type"] == "array";
            let chosen = forms.iter().find(is_list).or_else(|| forms.first());
            if let Some(Value::Object(chosen)) = chosen.cloned() {
                schema.extend(chosen);
            }
        }
        for bound in BOUNDS {
            schema.remove(bound);
        }
        if let Some(Value::Array(types)) = schema.get("type") {
            let first = types.iter().find(|ty| *ty != "null").cloned();
            schema.insert("type".to_owned(), first.unwrap_or_default());
        }
        if let Some(Value::Array(values)) = schema.get_mut("enum") {
            // Names of one enumeration that differ in case alone are one name in most languages.
            let mut known = BTreeSet::new();
            values.retain(|value| {
                let folded = value.to_string().to_lowercase();
                !value.is_null() && known.insert(folded)
            });
        }
    });
}

fn may_be_null(schema: &Value) -> bool {
    let has = |forms: &Value, is_null: fn(&Value) -> bool| {
        forms
            .as_array()
            .is_some_and(|forms| forms.iter().any(is_null))
    };
    has(&schema["type"], |ty| ty == "null") || has(&schema["anyOf"], |form| form["type"] == "null")
}

/// Makes the examples beside schemas fit these: one value where only a list is left becomes a list.
pub(super) fn fit_examples(document: &mut Value) {
    each(document, &mut |media| {
        if let (Some(schema), Some(example)) = (media.get("schema"), media.get("example")) {
            let fitted = fitted(example, schema);
            media.insert("example".to_owned(), fitted);
        }
    });
}

fn fitted(value: &Value, schema: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, member)| {
                let schema = &schema["properties"][name.as_str()];
                (name.clone(), fitted(member, schema))
            });
            Value::Object(members.collect())
        }
        Value::Array(_) => value.clone(),
        single if schema["type"] == "array" => json!([single]),
        single => single.clone(),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Calls `change` for every object that may be a schema, those within last.
fn each(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            change(members);
            for (name, member) in members {
                match member {
                    Value::Object(named) if NAMED.contains(&name.as_str()) => {
                        named.values_mut().for_each(|value| each(value, change));
                    }
                    member if !NOT_SCHEMAS.contains(&name.as_str()) => each(member, change),
                    _ => {}
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, change)),
        _ => {}
    }
}

/// Writes the names of operations in camel case; a name that comes a second time gets a number.
pub(super) fn name_operations(paths: &mut Map<String, Value>) {
    let mut known = BTreeSet::new();
    let items = paths.values_mut().filter_map(Value::as_object_mut);
    for operation in items.flat_map(|item| item.values_mut()) {
        let Some(Value::String(id)) = operation.get_mut("operationId") else {
            continue;
        };
        let name = camel(id);
        let numbered = (2..).map(|number| format!("{name}{number}"));
        let mut free = std::iter::once(name.clone()).chain(numbered);
        if let Some(free) = free.find(|name| !known.contains(name)) {
            known.insert(free.clone());
            *id = free;
        }
    }
}

fn camel(id: &str) -> String {
    let mut name = String::with_capacity(id.len());
    let parts = id.split(|letter: char| !letter.is_ascii_alphanumeric());
    for part in parts {
        let mut letters = part.chars();
        match letters.next() {
            Some(first) if !name.is_empty() => name.push(first.to_ascii_uppercase()),
            Some(first) => name.push(first),
            None => {}
        }
        name.extend(letters);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enumerations_and_arrays_have_types() {
        let mut document = json!({
            "a": { "enum": ["x", "y"] },
            "b": { "const": 1 },
            "c": { "type": "array" },
            "d": { "enum": ["x", null] },
            "properties": { "enum": { "type": "string" }, "const": {} },
            "example": { "const": 1 },
        });
        typed(&mut document);
        assert_eq!(document["a"]["type"], "string");
        assert_eq!(document["b"]["type"], "integer");
        assert_eq!(document["c"]["items"], json!({}));
        assert_eq!(document["d"]["type"], json!(["null", "string"]));
        assert!(document["properties"].get("type").is_none());
        assert_eq!(document["example"], json!({ "const": 1 }));
    }

    #[test]
    fn one_of_several_forms_is_left() {
        let mut schema = json!({
            "description": "texts",
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "oneOf": [{ "type": "number" }, { "enum": ["NaN"] }] }, "minItems": 2, "maxItems": 2 },
            ],
        });
        plain(&mut schema);
        let expected =
            json!({ "description": "texts", "type": "array", "items": { "type": "number" } });
        assert_eq!(schema, expected);
        let position = json!({ "type": ["integer", "null"] });
        let mut schema = json!({
            "properties": { "start": position, "id": { "type": "integer" } },
            "required": ["id", "start"],
        });
        plain(&mut schema);
        assert_eq!(schema["properties"]["start"], json!({ "type": "integer" }));
        assert_eq!(schema["required"], json!(["id"]));
        let mut schema = json!({ "type": ["null", "string"], "enum": ["left", "Left", null] });
        plain(&mut schema);
        assert_eq!(schema, json!({ "type": "string", "enum": ["left"] }));
    }

    #[test]
    fn examples_fit_the_form_that_is_left() {
        let inputs = json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] });
        let mut media = json!({
            "schema": { "type": "object", "properties": { "inputs": inputs, "n": { "type": "integer" } } },
            "example": { "inputs": "a", "n": 1, "other": "b" },
        });
        plain(&mut media);
        fit_examples(&mut media);
        assert_eq!(
            media["example"],
            json!({ "inputs": ["a"], "n": 1, "other": "b" })
        );
    }

    #[test]
    fn names_of_operations_are_words_and_unique() {
        let get = |id: &str| json!({ "get": { "operationId": id } });
        let mut paths = Map::from_iter([
            ("/a".to_owned(), get("score_my-model")),
            ("/b".to_owned(), get("score_my_model")),
            ("/c".to_owned(), get("describe")),
        ]);
        name_operations(&mut paths);
        let ids: Vec<&Value> = paths
            .values()
            .map(|item| &item["get"]["operationId"])
            .collect();
        assert_eq!(ids, ["scoreMyModel", "scoreMyModel2", "describe"]);
    }
}

//! JSON Schemas of elements, tensors and objects.

pub(crate) mod parts;

use score::{Dim, ElementType, TensorSpec};
use serde_json::{Value, json};

/// The schema of one element, in requests and answers.
pub fn element(ty: ElementType) -> Value {
    match ty {
        ElementType::Bool => json!({ "type": "boolean" }),
        ElementType::Int8 => integer(ty, i8::MIN.into(), i8::MAX as u64),
        ElementType::Int16 => integer(ty, i16::MIN.into(), i16::MAX as u64),
        ElementType::Int32 => integer(ty, i32::MIN.into(), i32::MAX as u64),
        ElementType::Int64 => integer(ty, i64::MIN, i64::MAX as u64),
        ElementType::Uint8 => integer(ty, 0, u8::MAX.into()),
        ElementType::Uint16 => integer(ty, 0, u16::MAX.into()),
        ElementType::Uint32 => integer(ty, 0, u32::MAX.into()),
        ElementType::Uint64 => integer(ty, 0, u64::MAX),
        ElementType::Float16 | ElementType::BFloat16 => float(json!({ "type": "number" })),
        ElementType::Float32 => float(json!({ "type": "number", "format": "float" })),
        ElementType::Float64 => float(json!({ "type": "number", "format": "double" })),
        ElementType::String => json!({ "type": "string" }),
    }
}

fn integer(ty: ElementType, minimum: i64, maximum: u64) -> Value {
    json!({ "type": "integer", "format": ty.as_str(), "minimum": minimum, "maximum": maximum })
}

fn float(number: Value) -> Value {
    json!({ "oneOf": [number, { "enum": ["NaN", "Infinity", "-Infinity"] }] })
}

/// A schema of the document's components.
pub fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// One element of the tensor.
pub fn element_of(spec: &TensorSpec) -> Value {
    reference(spec.element_type.as_str())
}

/// An object with exactly these members, of which the first `required` are always present.
pub fn closed<'a>(members: impl IntoIterator<Item = (&'a str, Value)>, required: usize) -> Value {
    let mut schema = open(members, required);
    schema["additionalProperties"] = false.into();
    schema
}

/// An object with these members, of which the first `required` are always present, and possibly others.
pub fn open<'a>(members: impl IntoIterator<Item = (&'a str, Value)>, required: usize) -> Value {
    let members: Vec<(&str, Value)> = members.into_iter().collect();
    let required: Vec<&str> = members
        .iter()
        .take(required)
        .map(|(name, _)| *name)
        .collect();
    let members = members
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema));
    let members: serde_json::Map<String, Value> = members.collect();
    json!({ "type": "object", "properties": members, "required": required })
}

/// One form or another; more than one may fit.
pub fn any_of(mut forms: Vec<Value>) -> Value {
    if forms.len() == 1 {
        return forms.remove(0);
    }
    json!({ "anyOf": forms })
}

/// Arrays within arrays, outermost axis first.
pub fn nested<'a>(axes: impl DoubleEndedIterator<Item = &'a Dim>, element: Value) -> Value {
    axes.rev().fold(element, |items, axis| match axis {
        Dim::Fixed(n) => json!({ "type": "array", "items": items, "minItems": n, "maxItems": n }),
        Dim::Dynamic(None) => json!({ "type": "array", "items": items }),
        Dim::Dynamic(Some(name)) => {
            json!({ "type": "array", "items": items, "description": name })
        }
    })
}

/// One input. Where a row is one value, the arrays around single values may be left out.
pub fn tensor(spec: &TensorSpec) -> Value {
    let Some(dims) = &spec.shape else {
        return any_shape(element_of(spec));
    };
    let mut forms = vec![nested(dims.iter(), element_of(spec))];
    if spec.has_single_values() {
        forms.push(nested(dims.iter().take(1), element_of(spec)));
    }
    any_of(forms)
}

/// One row of an input; `None` for a scalar, which has none.
pub fn row(spec: &TensorSpec) -> Option<Value> {
    let Some(dims) = &spec.shape else {
        return Some(any_shape(element_of(spec)));
    };
    let (_, deeper) = dims.split_first()?;
    let mut forms = vec![nested(deeper.iter(), element_of(spec))];
    if spec.has_single_values() {
        forms.push(element_of(spec));
    }
    Some(any_of(forms))
}

/// All elements in one array.
pub fn flat(spec: &TensorSpec) -> Value {
    let dims = spec.shape.as_deref();
    let count = dims.and_then(|dims| {
        dims.iter().try_fold(1usize, |count, dim| match dim {
            Dim::Fixed(n) => count.checked_mul(*n),
            Dim::Dynamic(_) => None,
        })
    });
    let axis = count.map_or(Dim::Dynamic(None), Dim::Fixed);
    nested([axis].iter(), element_of(spec))
}

/// A tensor whose shape is not known in advance.
pub fn any_shape(element: Value) -> Value {
    any_of(vec![element, json!({ "type": "array" })])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn spec(element_type: ElementType, shape: &[i64]) -> TensorSpec {
        samples::spec("x", element_type, shape)
    }

    #[test]
    fn fixed_axes_have_their_length_and_free_ones_have_none() {
        let mut spec = spec(ElementType::Float32, &[-1, 2, 3]);
        let inner = json!({
            "type": "array", "minItems": 3, "maxItems": 3,
            "items": { "$ref": "#/components/schemas/float32" },
        });
        let row = json!({ "type": "array", "items": inner, "minItems": 2, "maxItems": 2 });
        assert_eq!(tensor(&spec), json!({ "type": "array", "items": row }));
        assert_eq!(super::row(&spec), Some(row));
        let batch = Dim::Dynamic(Some("batch".into()));
        spec.shape = Some(vec![batch, Dim::Fixed(2)]);
        assert_eq!(tensor(&spec)["description"], "batch");
    }

    #[test]
    fn integers_are_bounded_by_their_type() {
        let bounds = |ty| {
            let schema = element(ty);
            assert_eq!(schema["type"], "integer", "{ty}");
            (schema["minimum"].clone(), schema["maximum"].clone())
        };
        assert_eq!(bounds(ElementType::Int8), (json!(-128), json!(127)));
        assert_eq!(bounds(ElementType::Uint16), (json!(0), json!(65535)));
        assert_eq!(
            bounds(ElementType::Int64),
            (json!(i64::MIN), json!(i64::MAX))
        );
        assert_eq!(bounds(ElementType::Uint64), (json!(0), json!(u64::MAX)));
    }

    #[test]
    fn floats_are_numbers_or_the_names_of_special_values() {
        for ty in [ElementType::BFloat16, ElementType::Float64] {
            let schema = element(ty);
            assert_eq!(schema["oneOf"][0]["type"], "number", "{ty}");
            assert_eq!(schema["oneOf"][1]["enum"][0], "NaN", "{ty}");
        }
        assert_eq!(element(ElementType::Bool)["type"], "boolean");
        assert_eq!(element(ElementType::String)["type"], "string");
    }

    #[test]
    fn a_column_may_be_a_plain_list() {
        let column = spec(ElementType::String, &[-1, 1]);
        let element = element_of(&column);
        assert_eq!(
            tensor(&column)["anyOf"][1],
            json!({ "type": "array", "items": element })
        );
        assert_eq!(row(&column).unwrap()["anyOf"][1], element);
        assert!(tensor(&spec(ElementType::String, &[-1, 2]))["anyOf"].is_null());
    }

    #[test]
    fn an_undeclared_shape_is_a_value_or_any_array_and_so_is_its_row() {
        let x = samples::undeclared("x", ElementType::Float32);
        let any = json!({ "anyOf": [element_of(&x), { "type": "array" }] });
        assert_eq!(tensor(&x), any);
        assert_eq!(row(&x), Some(any));
        assert!(flat(&x)["maxItems"].is_null());
    }

    #[test]
    fn a_scalar_is_an_element_without_rows() {
        let scalar = spec(ElementType::Float32, &[]);
        assert_eq!(tensor(&scalar), element_of(&scalar));
        assert_eq!(row(&scalar), None);
        assert_eq!(flat(&scalar)["maxItems"], 1);
        assert_eq!(flat(&spec(ElementType::Int8, &[2, 3]))["minItems"], 6);
        assert!(flat(&spec(ElementType::Int8, &[-1, 3]))["minItems"].is_null());
    }
}

//! The common case of the Open Inference Protocol in one pass: flat data that comes after its name, shape and datatype.
//!
//! As in [`super::fast`], whatever is unusual or wrong makes this path give up.

use std::borrow::Cow;
use std::fmt;

use score::{ModelSignature, NamedTensor, Shape, Tensor, TensorSpec, element_count};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::element::with_element_type;
use super::fast::{DataSeed, Plan, ROW_MEMBERS};

/// A request whose tensors are read; the rest is still text.
pub(super) struct Body<'a> {
    pub(super) inputs: Vec<NamedTensor>,
    pub(super) id: Option<&'a RawValue>,
    pub(super) outputs: Option<&'a RawValue>,
    pub(super) parameters: Option<&'a RawValue>,
}

/// Reads a body; `None` if the careful path has to look.
pub(super) fn read<'a>(body: &'a [u8], signature: &ModelSignature) -> Option<Body<'a>> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let visitor = BodyVisitor(Reading {
        signature,
        text_bytes: body.len(),
    });
    let read = json.deserialize_map(visitor).ok()?;
    json.end().ok()?;
    Some(read)
}

#[derive(Clone, Copy)]
struct Reading<'s> {
    signature: &'s ModelSignature,
    text_bytes: usize,
}

struct BodyVisitor<'s>(Reading<'s>);

impl<'de> Visitor<'de> for BodyVisitor<'_> {
    type Value = Body<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with inputs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body<'de>, A::Error> {
        let mut inputs = None;
        let (mut id, mut outputs, mut parameters) = (None, None, None);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match key.as_ref() {
                "inputs" if inputs.is_none() => {
                    inputs = Some(map.next_value_seed(InputsSeed(self.0))?);
                }
                "id" if id.is_none() => id = Some(map.next_value()?),
                "outputs" if outputs.is_none() => outputs = Some(map.next_value()?),
                "parameters" if parameters.is_none() => parameters = Some(map.next_value()?),
                "inputs" | "id" | "outputs" | "parameters" | "Inputs" | "input_data" | "keys" => {
                    return Err(A::Error::custom("unusual"));
                }
                other if ROW_MEMBERS.contains(&other) => {
                    return Err(A::Error::custom("another dialect"));
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Body {
            inputs: inputs.ok_or_else(|| A::Error::custom("no inputs"))?,
            id,
            outputs,
            parameters,
        })
    }
}

struct InputsSeed<'s>(Reading<'s>);

impl<'de> DeserializeSeed<'de> for InputsSeed<'_> {
    type Value = Vec<NamedTensor>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for InputsSeed<'_> {
    type Value = Vec<NamedTensor>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of inputs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut inputs = Vec::new();
        while let Some(input) = seq.next_element_seed(InputSeed(self.0))? {
            inputs.push(input);
        }
        Ok(inputs)
    }
}

struct InputSeed<'s>(Reading<'s>);

impl<'de> DeserializeSeed<'de> for InputSeed<'_> {
    type Value = NamedTensor;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<NamedTensor, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for InputSeed<'_> {
    type Value = NamedTensor;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an input")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NamedTensor, A::Error> {
        let unusual = || A::Error::custom("unusual");
        let (mut spec, mut shape, mut datatype) = (None::<&TensorSpec>, None::<Shape>, false);
        let mut tensor = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match (key.as_ref(), spec) {
                ("name", None) => {
                    let name = map.next_value::<Cow<'de, str>>()?;
                    spec = Some(self.0.signature.input(&name).ok_or_else(unusual)?);
                }
                ("shape", _) if shape.is_none() => shape = Some(map.next_value()?),
                ("datatype", Some(spec)) if !datatype => {
                    let name = map.next_value::<Cow<'de, str>>()?;
                    datatype = name == spec.element_type.datatype();
                }
                ("data", Some(spec)) if datatype && tensor.is_none() => {
                    let shape = shape.clone().ok_or_else(unusual)?;
                    let count = element_count(&shape).ok_or_else(unusual)?;
                    let plan = Plan::new(1, count, self.0.text_bytes);
                    let (_, data) = with_element_type!(spec.element_type, T => {
                        map.next_value_seed(DataSeed::<T>::new(plan))
                    })?;
                    tensor = Some(Tensor::new(shape, data).map_err(A::Error::custom)?);
                }
                _ => return Err(unusual()),
            }
        }
        let (spec, tensor) = spec.zip(tensor).ok_or_else(unusual)?;
        Ok(NamedTensor {
            name: spec.name.clone(),
            tensor,
        })
    }
}

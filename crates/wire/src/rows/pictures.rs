//! Pictures inside JSON, as base64: for inputs of numbers that take pictures.
//!
//! They come as `{"b64": "..."}` (TensorFlow Serving), as texts in a column called `image` (automated ML), as elements of
//! a BYTES tensor (KServe), with the rows as lists, as objects of one member, or bare.

use std::borrow::Cow;

use score::{InputOptions, NamedTensor, ScoreError, Tensor, TensorSpec};
use serde::{Deserialize, Deserializer};

use crate::context::Context;
use crate::json::base64;
use crate::json::bounded;
use crate::json::diagnose::Items;
use crate::picture;

/// The most bytes that the tensors of all pictures in one request may take.
const MAX_TENSOR_BYTES: usize = 192 << 20;
/// The most pixels that all pictures in one request may have before they are scaled.
const MAX_PIXELS: u64 = 128 << 20;
/// Arrays and objects around a picture.
const MAX_DEPTH: usize = 4;

/// Reads the pictures for a model with one input. `None` if the model takes none or the text holds none.
pub(crate) fn read_only_input(
    context: Context<'_>,
    text: &str,
) -> Option<Result<Vec<NamedTensor>, ScoreError>> {
    let [spec] = &context.signature.inputs[..] else {
        return None;
    };
    let read = read(context, text, spec, context.target)?;
    let name = spec.name.clone();
    Some(read.map(|tensor| vec![NamedTensor { name, tensor }]))
}

/// Reads the pictures for one input. `None` if it takes none or the text holds none.
pub(crate) fn read(
    context: Context<'_>,
    text: &str,
    spec: &TensorSpec,
    target: &str,
) -> Option<Result<Tensor, ScoreError>> {
    let first = FirstText::of(text)?;
    let default = InputOptions::default();
    let options = context.options_of(spec).unwrap_or(&default);
    if !picture::takes_pictures(spec, options) || !first.may_be_picture(context) {
        return None;
    }
    let mut leaves = Vec::new();
    collect(text, 0, &mut leaves)?;
    let mut pictures = Pictures::new(spec, options);
    let mut all = leaves.into_iter().enumerate();
    let read = all.try_for_each(|(index, leaf)| {
        let place = format!("{target}[{index}]");
        let picture = decode(&leaf).ok_or_else(|| "the text is not base64".to_owned());
        let added = picture.and_then(|picture| pictures.add(&picture));
        added.map_err(|reason| ScoreError::invalid(place.clone(), format!("{place}: {reason}")))
    });
    Some(read.and_then(|()| pictures.finish(target)))
}

/// Reads pictures, each of which follows its length in four bytes. `None` if the input takes none.
///
/// Source: the BYTES tensors of the Open Inference Protocol's binary tensor data extension.
pub(crate) fn read_binary(
    context: Context<'_>,
    mut bytes: &[u8],
    spec: &TensorSpec,
    target: &str,
) -> Option<Result<Tensor, ScoreError>> {
    let default = InputOptions::default();
    let options = context.options_of(spec).unwrap_or(&default);
    if !picture::takes_pictures(spec, options) {
        return None;
    }
    let wrong = |reason: String| ScoreError::invalid(target, format!("{target}: {reason}"));
    let mut pictures = Pictures::new(spec, options);
    while !bytes.is_empty() {
        let element = bytes.split_first_chunk::<4>().and_then(|(length, rest)| {
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            rest.split_at_checked(length)
        });
        let Some((picture, rest)) = element else {
            return Some(Err(wrong(
                "the last element has fewer bytes than its length says".into(),
            )));
        };
        let unpacked = (!picture::begins_like_one(picture)).then(|| base64::decode(picture));
        let unpacked = unpacked.flatten();
        if let Err(reason) = pictures.add(unpacked.as_deref().unwrap_or(picture)) {
            return Some(Err(wrong(reason)));
        }
        bytes = rest;
    }
    Some(pictures.finish(target))
}

/// The first value of a text of JSON, if that is a string that may be a picture.
struct FirstText<'a> {
    /// Without the quotes; up to its end or the first backslash.
    text: &'a str,
    /// Whether it is the value of a member `b64`.
    is_b64: bool,
}

impl<'a> FirstText<'a> {
    /// Looks behind brackets and names only, so that rows of numbers cost next to nothing.
    fn of(text: &'a str) -> Option<Self> {
        let mut rest = text;
        let mut is_b64 = false;
        loop {
            rest = rest.trim_ascii_start();
            match rest.as_bytes().first()? {
                b'[' | b'{' => rest = &rest[1..],
                b'"' => {
                    let (inner, after) = rest[1..].split_once('"')?;
                    match after.trim_ascii_start().strip_prefix(':') {
                        Some(value) => {
                            is_b64 = inner == "b64";
                            rest = value;
                        }
                        None => {
                            return Some(Self {
                                text: inner,
                                is_b64,
                            });
                        }
                    }
                }
                _ => return None,
            }
        }
    }

    /// Anything under `b64` is meant to be one, unless the model has an input of that name.
    fn may_be_picture(&self, context: Context<'_>) -> bool {
        let signatures = ["iVBORw0KGgo", "/9j/", r"\/9j\/", "UklGR", "data:image"];
        (self.is_b64 && !context.knows("b64", false))
            || signatures.iter().any(|start| self.text.starts_with(start))
    }
}

/// The texts in arrays and in objects of one member; `None` if there is anything else.
fn collect<'a>(text: &'a str, depth: usize, leaves: &mut Vec<Cow<'a, str>>) -> Option<()> {
    match text.as_bytes().first()? {
        b'"' => {
            leaves.push(serde_json::from_str::<Text<'_>>(text).ok()?.0);
            Some(())
        }
        _ if depth == MAX_DEPTH => None,
        b'[' => {
            let items = Items(|_, item| collect(item, depth + 1, leaves).is_some());
            let mut json = serde_json::Deserializer::from_str(text);
            json.deserialize_seq(items).ok()?;
            json.end().ok()
        }
        b'{' => {
            let members = bounded::members(text, "").ok()?;
            let is_alone = members.len() == 1;
            let only = members.into_values().next().filter(|_| is_alone)?;
            collect(only.get(), depth + 1, leaves)
        }
        _ => None,
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Adds up pictures that become the rows of one tensor.
struct Pictures<'a> {
    spec: &'a TensorSpec,
    options: &'a InputOptions,
    rows: Vec<Tensor>,
    bytes: usize,
    pixels: u64,
}

impl<'a> Pictures<'a> {
    fn new(spec: &'a TensorSpec, options: &'a InputOptions) -> Self {
        Self {
            spec,
            options,
            rows: Vec::new(),
            bytes: 0,
            pixels: MAX_PIXELS,
        }
    }

    fn add(&mut self, picture: &[u8]) -> Result<(), String> {
        let tensor = picture::tensor(picture, self.spec, self.options, &mut self.pixels)?;
        let element = self.spec.element_type.size().unwrap_or(1);
        self.bytes += tensor.data().len() * element;
        if self.bytes > MAX_TENSOR_BYTES {
            return Err(format!(
                "the pictures of one request may take {MAX_TENSOR_BYTES} bytes as tensors; send fewer at once"
            ));
        }
        if let Some(first) = self.rows.first() {
            if !picture::has_rows(self.spec, self.options) {
                return Err(
                    "the model takes one picture at a time; send them one by one".to_owned(),
                );
            }
            if first.shape() != tensor.shape() {
                let (expected, found) = (first.row_shape(), tensor.row_shape());
                return Err(format!(
                    "the picture is {found:?} where the first one is {expected:?}; send pictures of one size together, \
                     or set size of the input in model.toml"
                ));
            }
        }
        self.rows.push(tensor);
        Ok(())
    }

    fn finish(mut self, target: &str) -> Result<Tensor, ScoreError> {
        let tensor = match self.rows.len() {
            1 => self.rows.pop(),
            _ => Tensor::stack(&self.rows),
        };
        let none = || ScoreError::invalid(target, format!("{target}: there is no picture in it"));
        let tensor = tensor.ok_or_else(none)?;
        self.spec.check(&tensor, target)?;
        Ok(tensor)
    }
}

/// The bytes of a picture, as base64 or as a data URL.
fn decode(text: &str) -> Option<Vec<u8>> {
    let data = match text.strip_prefix("data:") {
        Some(url) => url.split_once(";base64,")?.1,
        None => text,
    };
    base64::decode(data.as_bytes())
}

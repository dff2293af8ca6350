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
use crate::watch::{self, Growth, Watch};

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
    let mut leaves = Leaves::new(context);
    if let Err(none) = leaves.collect(text, 0) {
        return none.map(Err);
    }
    let leaves = leaves.texts;
    let mut pictures = Pictures::new(context, spec, options);
    let mut all = leaves.into_iter().enumerate();
    let read = all.try_for_each(|(index, leaf)| {
        let place = format!("{target}[{index}]");
        let added = pictures.add_encoded(&leaf);
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
    let mut pictures = Pictures::new(context, spec, options);
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
        let added = match picture::begins_like_one(picture) {
            true => pictures.add(picture),
            false => pictures.add_binary(picture),
        };
        if let Err(reason) = added {
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

/// The texts in arrays and in objects of one member.
struct Leaves<'a> {
    context: Context<'a>,
    growth: Growth<'a>,
    texts: Vec<Cow<'a, str>>,
}

impl<'a> Leaves<'a> {
    fn new(context: Context<'a>) -> Self {
        Self {
            context,
            growth: Growth::new(context.watch),
            texts: Vec::new(),
        }
    }

    /// The error is empty if there is anything else in the text.
    fn collect(&mut self, text: &'a str, depth: usize) -> Result<(), Option<ScoreError>> {
        match text.as_bytes().first().ok_or(None)? {
            b'"' => {
                let Text(text) = serde_json::from_str(text).map_err(|_| None)?;
                self.context.may_have_row(self.texts.len())?;
                self.growth
                    .reach((self.texts.len() + 1) * size_of::<Cow<'_, str>>())?;
                self.texts.push(text);
                Ok(())
            }
            _ if depth == MAX_DEPTH => Err(None),
            b'[' => {
                let mut error = None;
                let items = Items(|_, item| {
                    let collected = self.collect(item, depth + 1);
                    collected.map_err(|none| error = none).is_ok()
                });
                let mut json = serde_json::Deserializer::from_str(text);
                json.deserialize_seq(items).map_err(|_| error)?;
                json.end().map_err(|_| None)
            }
            b'{' => {
                let members = bounded::members(text, "").map_err(|_| None)?;
                let is_alone = members.len() == 1;
                let only = members.into_values().next().filter(|_| is_alone);
                self.collect(only.ok_or(None)?.get(), depth + 1)
            }
            _ => Err(None),
        }
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Adds up pictures that become the rows of one tensor.
struct Pictures<'a> {
    watch: &'a dyn Watch,
    spec: &'a TensorSpec,
    options: &'a InputOptions,
    rows: Vec<Tensor>,
    bytes: usize,
    pixels: u64,
}

impl<'a> Pictures<'a> {
    fn new(context: Context<'a>, spec: &'a TensorSpec, options: &'a InputOptions) -> Self {
        Self {
            watch: context.watch,
            spec,
            options,
            rows: Vec::new(),
            bytes: 0,
            pixels: MAX_PIXELS,
        }
    }

    /// Adds a picture in base64.
    fn add_encoded(&mut self, text: &str) -> Result<(), String> {
        let taken = self.take_for(text.len())?;
        let picture = decode(text).ok_or_else(|| "the text is not base64".to_owned())?;
        self.add(&picture)?;
        self.watch.give_back(taken);
        Ok(())
    }

    /// Adds a picture that may be in base64.
    fn add_binary(&mut self, bytes: &[u8]) -> Result<(), String> {
        let taken = self.take_for(bytes.len())?;
        let picture = base64::decode(bytes);
        self.add(picture.as_deref().unwrap_or(bytes))?;
        self.watch.give_back(taken);
        Ok(())
    }

    /// Takes the memory to decode so much base64: a copy without line breaks, and what comes out.
    fn take_for(&self, bytes: usize) -> Result<usize, String> {
        let taken = bytes.saturating_mul(2);
        match self.watch.take(taken) {
            true => Ok(taken),
            false => Err(watch::stopped().to_string()),
        }
    }

    fn add(&mut self, picture: &[u8]) -> Result<(), String> {
        let tensor = picture::tensor(
            picture,
            self.spec,
            self.options,
            &mut self.pixels,
            self.watch,
        )?;
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
        // Together they are there twice for a while.
        if self.rows.len() > 1 && !self.watch.take(self.bytes) {
            return Err(watch::stopped());
        }
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

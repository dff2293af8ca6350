//! PNG, JPEG and WebP bodies as inputs.

mod plan;
mod scaled;
mod unpack;

use std::cell::Cell;

use plan::{Plan, layout_name};
use score::{
    ElementType, ImageLayout, InputOptions, ModelMetadata, NamedTensor, Resize, ScoreError, Tensor,
    TensorData, TensorSpec,
};
use serde_json::{Value, json};

use crate::body::only_input;
use crate::watch::Watch;

use unpack::Unpacked;
pub(crate) use unpack::begins_like_one;

const TARGET: &str = "body";
/// Why a picture is not decoded whose reading is over. No caller sees it.
const STOPPED: &str = "the picture is not decoded";

/// Decodes a picture into one row of the model's one input.
///
/// # Errors
/// [`ScoreError::InvalidInput`] if the body is not a picture or is too large, or the input's shape is not that of a picture.
pub(crate) fn read(
    body: &[u8],
    metadata: &ModelMetadata,
    watch: &dyn Watch,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let spec = only_input(&metadata.signature)?;
    let default = InputOptions::default();
    let options = metadata.options.inputs.get(&spec.name).unwrap_or(&default);
    let tensor = tensor(body, spec, options, &mut { u64::MAX }, watch);
    let tensor = tensor.map_err(|reason| ScoreError::invalid(TARGET, reason))?;
    spec.check(&tensor, TARGET)?;
    let name = spec.name.clone();
    Ok(vec![NamedTensor { name, tensor }])
}

/// Whether pictures can become this input.
pub(crate) fn takes_pictures(spec: &TensorSpec, options: &InputOptions) -> bool {
    holds_samples(spec.element_type) && Plan::new(spec, options).is_ok()
}

/// Whether the input has an axis of rows, so that it takes several pictures.
pub(crate) fn has_rows(spec: &TensorSpec, options: &InputOptions) -> bool {
    Plan::new(spec, options).is_ok_and(|plan| plan.has_rows())
}

/// Decodes a picture into one row of an input, and subtracts its pixels from those that the request may still use. Memory for
/// its pixels and for the row is taken before it is decoded; that of the row is kept.
///
/// # Errors
/// What is wrong with the picture, and what to send instead.
pub(crate) fn tensor(
    body: &[u8],
    spec: &TensorSpec,
    options: &InputOptions,
    pixels: &mut u64,
    watch: &dyn Watch,
) -> Result<Tensor, String> {
    let plan = Plan::new(spec, options)?;
    if !holds_samples(spec.element_type) {
        return Err(format!("input {:?}: a picture cannot be {spec}", spec.name));
    }
    let element = spec.element_type.size().unwrap_or(1);
    let (unpacked, decoding) = unpacked(body, &plan, element, *pixels, watch)?;
    let still_wanted = || match watch.is_over() {
        true => Err(STOPPED.to_owned()),
        false => Ok(()),
    };
    still_wanted()?;
    let background = options.background.map_or([u8::MAX; 3], |b| b.colour());
    let (picture, orientation) = unpacked.with_channels(plan.channels, background);
    *pixels = pixels.saturating_sub(u64::from(picture.width()) * u64::from(picture.height()));
    let sides = plan.sides(unpack::upright(
        [picture.width(), picture.height()],
        orientation,
    ))?;
    let resample = options.resample.unwrap_or_default();
    still_wanted()?;
    let picture = scaled::scaled(picture, orientation, sides.scaled, resample)?;
    let samples = scaled::middle(picture, sides.cut);
    still_wanted()?;
    let area = sides.cut[0] as usize * sides.cut[1] as usize;
    let position = |index: usize| match plan.layout {
        ImageLayout::Chw => (index % area) * plan.channels + index / area,
        ImageLayout::Hw | ImageLayout::Hwc => index,
    };
    let ordered = (0..samples.len()).map(|index| {
        let from = position(index);
        (samples[from], from % plan.channels)
    });
    let data = elements(ordered, spec.element_type, options)
        .ok_or_else(|| format!("input {:?}: a picture cannot be {spec}", spec.name))?;
    drop(samples);
    watch.give_back(decoding);
    Tensor::new(plan.shape(sides.cut), data).map_err(|error| error.to_string())
}

/// Decodes a picture of at most `most` pixels, after taking memory for its pixels and for the row; also tells the bytes that can
/// be given back once the row is made.
fn unpacked(
    body: &[u8],
    plan: &Plan,
    element: usize,
    most: u64,
    watch: &dyn Watch,
) -> Result<(Unpacked, usize), String> {
    let working = Cell::new(0);
    let fits = |sides: [u32; 2], bytes: u64| {
        let own = u64::from(sides[0]) * u64::from(sides[1]);
        if own > most {
            return Err(
                "the pictures of one request have too many pixels together; send fewer at once"
                    .to_owned(),
            );
        }
        let sides = plan.sides(sides)?;
        let decoding = plan.working_bytes(bytes, &sides);
        let row = plan.row_bytes(&sides, element);
        working.set(decoding);
        match watch.take(decoding.saturating_add(row)) {
            true => Ok(()),
            false => Err(STOPPED.to_owned()),
        }
    };
    let unpacked = unpack::unpack(body, fits, watch)?;
    Ok((unpacked, working.get()))
}

/// How a picture becomes a tensor, for clients that make the tensor themselves. `None` for models that take pictures in any
/// size, and for those whose input is not said to be a picture.
pub fn picture_document(metadata: &ModelMetadata) -> Option<Value> {
    let spec = only_input(&metadata.signature).ok()?;
    let default = InputOptions::default();
    let options = metadata.options.inputs.get(&spec.name).unwrap_or(&default);
    let plan = Plan::new(spec, options).ok()?;
    if !is_said_to_be_one(spec, options, &plan) {
        return None;
    }
    let size = plan.size.filter(|_| holds_samples(spec.element_type))?;
    let mut document = json!({
        "width": size[0],
        "height": size[1],
        "channels": plan.channels,
        "layout": layout_name(plan.layout),
        "shape": plan.shape(size),
        "scale": scale(spec.element_type, options),
        "mean": options.mean,
        "std": options.std,
        "resample": options.resample.unwrap_or_default().as_str(),
    });
    match options.resize {
        None => {}
        Some(Resize::To(sides)) => document["resize"] = json!(sides),
        Some(Resize::ShorterSide(side)) => document["resize"] = json!(side),
    }
    if let Some(background) = options.background {
        document["background"] = json!(background.colour());
    }
    Some(document)
}

/// How a picture becomes a tensor, or why pictures are refused although files beside the model describe them. `None` for
/// models whose input is not said to be a picture.
pub fn picture_in_words(metadata: &ModelMetadata) -> Option<String> {
    let spec = only_input(&metadata.signature).ok()?;
    let default = InputOptions::default();
    let options = metadata.options.inputs.get(&spec.name).unwrap_or(&default);
    match Plan::new(spec, options) {
        Err(reason) => {
            let described = options.unfit.is_some() || speaks_of_pictures(options);
            described.then(|| format!("refused: {reason}"))
        }
        Ok(plan) => {
            let is_one = is_said_to_be_one(spec, options, &plan);
            (is_one && holds_samples(spec.element_type)).then(|| plan.in_words(options))
        }
    }
}

/// Whether the model's files, the input's name or four axes say that the input is a picture. Its shape alone does not:
/// signals and series have two or three axes too, and most matrices are tables.
fn is_said_to_be_one(spec: &TensorSpec, options: &InputOptions, plan: &Plan) -> bool {
    // Whole numbers on four axes are boards of games, or ids.
    let by_shape = !matches!(spec.element_type, ElementType::Int32 | ElementType::Int64);
    speaks_of_pictures(options)
        || (!plan.is_flat() && names_a_picture(&spec.name))
        || (by_shape && spec.dims().len() == 4 && plan.has_the_sides_of_one())
}

/// Whether a file beside the model says how pictures become the input.
fn speaks_of_pictures(options: &InputOptions) -> bool {
    options.size.is_some()
        || options.resize.is_some()
        || options.layout.is_some()
        || options.channels.is_some()
        || options.background.is_some()
        || options.scale.is_some()
        || !options.mean.is_empty()
        || !options.std.is_empty()
}

/// Whether an input is called as those of pictures are: `pixel_values`, `input_image`, `image:0`. Features of a picture
/// (`image_features`) are none.
fn names_a_picture(name: &str) -> bool {
    let name = name.split(':').next().unwrap_or(name).to_ascii_lowercase();
    let last = name.rsplit(['_', '.', '/', ' ', '-']).next();
    name.starts_with("pixel")
        || last.is_some_and(|word| {
            ["image", "images", "img", "picture", "pictures", "pixels"].contains(&word)
        })
}

fn scale(ty: ElementType, options: &InputOptions) -> f32 {
    let is_float = !matches!(
        ty,
        ElementType::Uint8 | ElementType::Int32 | ElementType::Int64
    );
    options
        .scale
        .unwrap_or(if is_float { 1.0 / 255.0 } else { 1.0 })
}

/// The element types that hold shades.
fn holds_samples(ty: ElementType) -> bool {
    elements(std::iter::empty(), ty, &InputOptions::default()).is_some()
}

/// Scaled and normalised samples, each with its channel. `None` for types that hold no shades.
fn elements(
    samples: impl Iterator<Item = (u8, usize)>,
    ty: ElementType,
    options: &InputOptions,
) -> Option<TensorData> {
    let scale = scale(ty, options);
    let of_channel = |values: &[f32], channel: usize, default: f32| {
        values
            .get(channel)
            .or(values.first())
            .copied()
            .unwrap_or(default)
    };
    let values = samples.map(|(sample, channel)| {
        let mean = of_channel(&options.mean, channel, 0.0);
        let std = of_channel(&options.std, channel, 1.0);
        (f32::from(sample) * scale - mean) / std
    });
    Some(match ty {
        ElementType::Float16 => values.map(half::f16::from_f32).collect::<Vec<_>>().into(),
        ElementType::BFloat16 => values.map(half::bf16::from_f32).collect::<Vec<_>>().into(),
        ElementType::Float32 => values.collect::<Vec<_>>().into(),
        ElementType::Float64 => values.map(f64::from).collect::<Vec<_>>().into(),
        ElementType::Uint8 => values.map(|v| v.round() as u8).collect::<Vec<_>>().into(),
        ElementType::Int32 => values.map(|v| v.round() as i32).collect::<Vec<_>>().into(),
        ElementType::Int64 => values.map(|v| v.round() as i64).collect::<Vec<_>>().into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;

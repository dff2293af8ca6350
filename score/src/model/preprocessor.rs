//! `preprocessor_config.json`: how Hugging Face's image processors prepare pictures for a model.

use std::path::Path;

use serde_json::{Map, Value};

use super::options::{ImageLayout, InputOptions, MAX_SIDE};
use super::picture::{Resample, Resize};
use super::small_file::read_small_file;
use crate::signature::{Dim, ModelSignature, TensorSpec};

pub(super) const FILE: &str = "preprocessor_config.json";
/// Such files have a few hundred bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Text of the file that a message quotes.
const MAX_QUOTED: usize = 100;

/// Processors to which one number as `size` is the shorter side; to the others it is width and height.
const BY_SHORTER_SIDE: [&str; 8] = [
    "Bit",
    "ChineseCLIP",
    "CLIP",
    "ConvNext",
    "MobileNetV1",
    "MobileNetV2",
    "MobileViT",
    "VideoMAE",
];
/// Processors whose steps come in another order, or with sizes that are not in the file.
const OTHER_STEPS: [&str; 3] = ["Levit", "Perceiver", "PoolFormer"];
/// ConvNext cuts smaller pictures than this out of larger ones.
const CONVNEXT_UNCUT: u32 = 384;
const CONVNEXT_CROP: f64 = 224.0 / 256.0;

/// Keys that are read, and keys that change nothing about a single picture.
const KNOWN: [&str; 27] = [
    "_processor_class",
    "_valid_processor_keys",
    "auto_map",
    "crop_pct",
    "crop_size",
    "data_format",
    "default_to_square",
    "device",
    "disable_grouping",
    "do_center_crop",
    "do_convert_rgb",
    "do_normalize",
    "do_reduce_labels",
    "do_rescale",
    "do_resize",
    "feature_extractor_type",
    "image_mean",
    "image_processor_type",
    "image_std",
    "input_data_format",
    "processor_class",
    "reduce_labels",
    "resample",
    "rescale_factor",
    "return_tensors",
    "size",
    "use_fast",
];
/// Keys that change values or sizes in a way that is not offered, beside all others that begin with `do_`.
const NOT_OFFERED: [&str; 5] = [
    "include_top",
    "offset",
    "pad_size",
    "rescale_offset",
    "size_divisor",
];

/// What the file says, in the words of `model.toml`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Preprocessor {
    options: InputOptions,
    /// What cannot be done as the file wants it, each with the key of `model.toml` that overrules it.
    unfit: Vec<(&'static str, String)>,
    /// Keys that are passed over.
    remarks: Vec<String>,
}

impl Preprocessor {
    /// The file of that folder; `None` if there is none, or if it is not about pictures.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        let path = folder.join(FILE);
        if !path.is_file() {
            return None;
        }
        let text = read_small_file(&path, MAX_BYTES).map_err(|error| error.to_string());
        let keys =
            text.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
        match keys {
            Ok(keys) => Self::of_keys(&keys),
            Err(reason) => Some(Self {
                unfit: vec![("", format!("{FILE}: {reason}"))],
                ..Self::default()
            }),
        }
    }

    /// What the keys of the file say. Files about sound have the same name.
    fn of_keys(keys: &Map<String, Value>) -> Option<Self> {
        let about_pictures = [
            "image_processor_type",
            "image_mean",
            "do_resize",
            "do_rescale",
        ];
        if !about_pictures.iter().any(|key| keys.contains_key(*key)) {
            return None;
        }
        let mut reader = Reader {
            keys,
            found: Self::default(),
        };
        reader.sizes();
        reader.values();
        reader.resample();
        reader.rest();
        Some(reader.found)
    }

    /// The input that it is for: `pixel_values`, or the only one.
    pub(super) fn input(signature: &ModelSignature) -> Option<&TensorSpec> {
        let named = signature.input("pixel_values");
        let only = match &signature.inputs[..] {
            [only] => Some(only),
            _ => None,
        };
        let has_sides = |spec: &&TensorSpec| matches!(spec.dims().len(), 3 | 4);
        named.or(only).filter(has_sides)
    }

    /// Fills in what `model.toml` leaves open, and returns what is worth a line in the log.
    pub(super) fn complete(&self, spec: &TensorSpec, options: &mut InputOptions) -> Vec<String> {
        let said = options.clone();
        let own = &self.options;
        let sized = said.size.is_some() || said.resize.is_some();
        if !sized {
            (options.size, options.resize) = (own.size, own.resize);
        }
        options.resample = said.resample.or(own.resample);
        // A model of whole numbers scales them itself.
        if spec.element_type.is_float() {
            options.scale = said.scale.or(own.scale);
            for (to, from) in [(&mut options.mean, &own.mean), (&mut options.std, &own.std)] {
                if to.is_empty() {
                    to.clone_from(from);
                }
            }
        }
        let free = |dim: &Dim| matches!(dim, Dim::Dynamic(_));
        if spec.dims().len() == 4 && spec.dims().iter().all(free) {
            options.layout = said.layout.or(Some(ImageLayout::Chw));
        }
        let overruled = |key: &str| match key {
            "size" => sized,
            "resample" => said.resample.is_some(),
            "scale" => said.scale.is_some(),
            "mean" => !said.mean.is_empty() && !said.std.is_empty(),
            _ => false,
        };
        let unfit = self.unfit.iter().find(|(key, _)| !overruled(key));
        options.unfit = unfit.map(|(_, reason)| reason.clone());
        let refused = options.unfit.iter();
        let refused = refused.map(|reason| format!("pictures are refused: {reason}"));
        refused.chain(self.remarks.iter().cloned()).collect()
    }
}

struct Reader<'a> {
    keys: &'a Map<String, Value>,
    found: Preprocessor,
}

impl Reader<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    /// Notes what cannot be done, and what in `model.toml` would overrule it.
    fn unfit(&mut self, overruled_by: &'static str, key: &str, reason: &str) {
        let shown: String = match self.get(key) {
            Some(value) => value.to_string().chars().take(MAX_QUOTED).collect(),
            None => "not given".to_owned(),
        };
        let change = match overruled_by {
            "" => "send tensors instead of pictures, or remove the key".to_owned(),
            "mean" => "set mean and std of this input in model.toml".to_owned(),
            key => format!("set {key} of this input in model.toml"),
        };
        let message = format!("{FILE}: {key} is {shown}: {reason}; {change}");
        self.found.unfit.push((overruled_by, message));
    }

    fn flag(&mut self, key: &str, default: bool) -> bool {
        match self.get(key) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.unfit("", key, "expected true or false");
                default
            }
        }
    }

    /// The processor's name without what all of them end with.
    fn kind(&self) -> &str {
        let named = self
            .get("image_processor_type")
            .or(self.get("feature_extractor_type"));
        let name = named.and_then(Value::as_str).unwrap_or_default();
        let ends = ["ImageProcessor", "FeatureExtractor"];
        let end = ends.iter().find_map(|end| name.find(end));
        &name[..end.unwrap_or(name.len())]
    }

    fn sizes(&mut self) {
        let kind = self.kind().to_owned();
        if OTHER_STEPS.contains(&&*kind) {
            let keys = ["image_processor_type", "feature_extractor_type"];
            let key = keys.into_iter().find(|key| self.get(key).is_some());
            self.unfit("", key.unwrap_or(keys[0]), "its steps are not supported");
        }
        let resized = self.flag("do_resize", true) && self.get("size").is_some();
        let mut resize = match resized {
            true => self.size("size", BY_SHORTER_SIDE.contains(&&*kind)),
            false => None,
        };
        let mut crop = match self.flag("do_center_crop", false) {
            true => self.size("crop_size", false),
            false => None,
        };
        if let (Some(Resize::ShorterSide(side)), "ConvNext") = (resize, &*kind) {
            let share = self.get("crop_pct").and_then(Value::as_f64);
            crop = Some(Resize::To([side, side]));
            resize = match side < CONVNEXT_UNCUT {
                true => Some(Resize::ShorterSide(
                    (f64::from(side) / share.unwrap_or(CONVNEXT_CROP)) as u32,
                )),
                false => crop,
            };
        } else if self.get("crop_pct").is_some() {
            self.unfit("size", "crop_pct", "not supported for this processor");
        }
        let options = &mut self.found.options;
        match (resize, crop) {
            (Some(Resize::To(size)), None) => options.size = Some(size),
            (None, Some(_)) if !resized => {
                self.unfit("size", "do_center_crop", "not supported without do_resize");
            }
            (_, Some(Resize::To(size))) => (options.size, options.resize) = (Some(size), resize),
            (_, None) => options.resize = resize,
            (_, Some(Resize::ShorterSide(_))) => {
                self.unfit("size", "crop_size", "expected height and width");
            }
        }
    }

    /// A number, `[height, width]`, or an object.
    fn size(&mut self, key: &'static str, by_shorter_side: bool) -> Option<Resize> {
        let side = |value: Option<&Value>| {
            let side = u32::try_from(value?.as_u64()?).ok()?;
            (1..=MAX_SIDE).contains(&side).then_some(side)
        };
        let found = match self.get(key) {
            Some(Value::Object(sides)) => {
                let mut named: Vec<&str> = sides.keys().map(String::as_str).collect();
                named.retain(|name| !sides[*name].is_null());
                named.sort_unstable();
                match named[..] {
                    ["height", "width"] => side(sides.get("width"))
                        .zip(side(sides.get("height")))
                        .map(|(width, height)| Resize::To([width, height])),
                    ["shortest_edge"] => side(sides.get("shortest_edge")).map(Resize::ShorterSide),
                    _ => None,
                }
            }
            Some(Value::Array(sides)) if sides.len() == 2 => side(sides.get(1))
                .zip(side(sides.first()))
                .map(|(width, height)| Resize::To([width, height])),
            one => side(one).map(|side| match by_shorter_side {
                true => Resize::ShorterSide(side),
                false => Resize::To([side, side]),
            }),
        };
        if found.is_none() {
            let reason =
                format!("expected height and width, or shortest_edge, from 1 to {MAX_SIDE}");
            self.unfit("size", key, &reason);
        }
        found
    }

    fn values(&mut self) {
        let factor = self
            .get("rescale_factor")
            .map_or(Some(1.0 / 255.0), Value::as_f64);
        let factor = match self.flag("do_rescale", true) {
            true => factor,
            false => Some(1.0),
        };
        match factor {
            Some(factor) => self.found.options.scale = Some(factor as f32),
            None => self.unfit("scale", "rescale_factor", "expected a number"),
        }
        let has_mean = self.get("image_mean").is_some();
        if self.flag("do_normalize", has_mean) {
            self.found.options.mean = self.per_channel("image_mean");
            self.found.options.std = self.per_channel("image_std");
        }
    }

    fn per_channel(&mut self, key: &'static str) -> Vec<f32> {
        let numbers: Option<Vec<f64>> = match self.get(key) {
            Some(Value::Array(values)) => values.iter().map(Value::as_f64).collect(),
            Some(value) => value.as_f64().map(|value| vec![value]),
            None => None,
        };
        let numbers = numbers.unwrap_or_default();
        let divides = |value: &f64| key != "image_std" || *value as f32 != 0.0;
        if !matches!(numbers.len(), 1 | 3 | 4) || !numbers.iter().all(divides) {
            let reason = "expected one number for each channel, and no 0 in image_std";
            self.unfit("mean", key, reason);
            return Vec::new();
        }
        numbers.into_iter().map(|value| value as f32).collect()
    }

    fn resample(&mut self) {
        let Some(number) = self.get("resample") else {
            return;
        };
        match number.as_u64().and_then(Resample::from_pillow) {
            Some(resample) => self.found.options.resample = Some(resample),
            None => self.unfit("resample", "resample", "expected a number from 0 to 5"),
        }
    }

    fn rest(&mut self) {
        for (key, value) in self.keys {
            let is_off = matches!(value, Value::Null | Value::Bool(false));
            if is_off || KNOWN.contains(&&**key) {
                continue;
            }
            if key.starts_with("do_") || NOT_OFFERED.contains(&&**key) {
                self.unfit("", key, "not offered");
            } else {
                let key: String = key.chars().take(MAX_QUOTED).collect();
                let remark = format!("{FILE}: {key} is not known and is ignored");
                self.found.remarks.push(remark);
            }
        }
    }
}

#[cfg(test)]
mod tests;

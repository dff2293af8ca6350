//! PNG and JPEG bodies as inputs.

use std::io::Cursor;

use image::imageops::FilterType;
use image::{DynamicImage, ImageReader, Limits};
use score::{
    Dim, ElementType, ImageLayout, InputOptions, ModelMetadata, NamedTensor, ScoreError, Shape,
    Tensor, TensorData, TensorSpec,
};
use serde_json::{Value, json};

use super::raw::only_input;

const TARGET: &str = "body";
/// Pixels along one side, and bytes a picture may take once it is unpacked.
const MAX_SIDE: u32 = 8192;
const MAX_UNPACKED_BYTES: u64 = 64 << 20;

/// Decodes a picture into one row of the model's one input.
///
/// # Errors
/// [`ScoreError::InvalidInput`] if it is no picture, or the input's shape is not one of a picture.
pub(super) fn read(body: &[u8], metadata: &ModelMetadata) -> Result<Vec<NamedTensor>, ScoreError> {
    let wrong = |message: String| ScoreError::invalid(TARGET, message);
    let spec = only_input(&metadata.signature)?;
    let default = InputOptions::default();
    let options = metadata.options.inputs.get(&spec.name).unwrap_or(&default);
    let plan = Plan::new(spec, options).map_err(&wrong)?;
    let picture = unpack(body).map_err(|error| wrong(format!("not a picture: {error}")))?;
    let tensor = plan.tensor(&picture, spec, options).map_err(&wrong)?;
    spec.check(&tensor, TARGET)?;
    let name = spec.name.clone();
    Ok(vec![NamedTensor { name, tensor }])
}

/// What a picture becomes, for those who make the tensor on their own. `None` for models that take no pictures, or take
/// them in any size.
pub(crate) fn picture_document(metadata: &ModelMetadata) -> Option<Value> {
    let spec = only_input(&metadata.signature).ok()?;
    let default = InputOptions::default();
    let options = metadata.options.inputs.get(&spec.name).unwrap_or(&default);
    let plan = Plan::new(spec, options).ok()?;
    elements(std::iter::empty(), spec.element_type, options)?;
    let [width, height] = plan.size?;
    let layout = match plan.layout {
        ImageLayout::Hw => "hw",
        ImageLayout::Chw => "chw",
        ImageLayout::Hwc => "hwc",
    };
    Some(json!({
        "width": width,
        "height": height,
        "channels": plan.channels,
        "layout": layout,
        "shape": plan.shape(width as usize, height as usize),
        "scale": scale(spec.element_type, options),
        "mean": options.mean,
        "std": options.std,
    }))
}

fn unpack(body: &[u8]) -> image::ImageResult<DynamicImage> {
    let mut reader = ImageReader::new(Cursor::new(body)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_UNPACKED_BYTES);
    reader.limits(limits);
    reader.decode()
}

/// What a picture has to become.
struct Plan {
    layout: ImageLayout,
    channels: usize,
    /// Width and height; `None` to keep the picture's own.
    size: Option<[u32; 2]>,
    /// Whether all pixels of a row are on one axis.
    flat: bool,
}

impl Plan {
    fn new(spec: &TensorSpec, options: &InputOptions) -> Result<Self, String> {
        let wrong = || {
            format!(
                "input {:?} is {spec}, which does not look like a picture; see size and layout in model.toml",
                spec.name
            )
        };
        let row: Vec<Option<usize>> = spec.shape.iter().skip(1).map(fixed).collect();
        let side = |n: Option<usize>| n.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let size = |w, h| Some([side(w)?, side(h)?]);
        let plan = |layout, channels, size| Self {
            layout,
            channels,
            size: options.size.or(size),
            flat: false,
        };
        let found = match (options.layout, &row[..]) {
            (_, [Some(pixels)]) => return Self::flat(*pixels, options).ok_or_else(wrong),
            (None | Some(ImageLayout::Hw), [h, w]) => plan(ImageLayout::Hw, 1, size(*w, *h)),
            (None | Some(ImageLayout::Chw), [Some(c @ (1 | 3)), h, w]) => {
                plan(ImageLayout::Chw, *c, size(*w, *h))
            }
            (None | Some(ImageLayout::Hwc), [h, w, Some(c @ (1 | 3))]) => {
                plan(ImageLayout::Hwc, *c, size(*w, *h))
            }
            _ => return Err(wrong()),
        };
        Ok(found)
    }

    fn flat(pixels: usize, options: &InputOptions) -> Option<Self> {
        let size = options.size.or_else(|| {
            let side = u32::try_from(pixels.isqrt()).ok()?;
            ((side as usize).pow(2) == pixels).then_some([side, side])
        })?;
        let area = size[0] as usize * size[1] as usize;
        let channels = (area > 0 && pixels.is_multiple_of(area)).then(|| pixels / area)?;
        let layout = match channels {
            1 => ImageLayout::Hw,
            3 => options.layout.unwrap_or(ImageLayout::Hwc),
            _ => return None,
        };
        Some(Self {
            layout,
            channels,
            size: Some(size),
            flat: true,
        })
    }

    fn tensor(
        &self,
        picture: &DynamicImage,
        spec: &TensorSpec,
        options: &InputOptions,
    ) -> Result<Tensor, String> {
        let scaled = match self.size {
            Some([w, h]) if [w, h] != [picture.width(), picture.height()] => {
                &picture.resize_exact(w, h, FilterType::Triangle)
            }
            _ => picture,
        };
        let (width, height) = (scaled.width() as usize, scaled.height() as usize);
        let samples = match self.channels {
            1 => grey(scaled),
            _ => scaled.to_rgb8().into_raw(),
        };
        let area = width * height;
        let position = |index: usize| match self.layout {
            ImageLayout::Chw => (index % area) * self.channels + index / area,
            ImageLayout::Hw | ImageLayout::Hwc => index,
        };
        let ordered = (0..samples.len()).map(|index| {
            let from = position(index);
            (samples[from], from % self.channels)
        });
        let data = elements(ordered, spec.element_type, options)
            .ok_or_else(|| format!("input {:?}: a picture cannot be {spec}", spec.name))?;
        Tensor::new(self.shape(width, height), data).map_err(|error| error.to_string())
    }

    fn shape(&self, width: usize, height: usize) -> Shape {
        match (self.flat, self.layout) {
            (true, _) => vec![1, width * height * self.channels],
            (false, ImageLayout::Hw) => vec![1, height, width],
            (false, ImageLayout::Chw) => vec![1, self.channels, height, width],
            (false, ImageLayout::Hwc) => vec![1, height, width, self.channels],
        }
    }
}

/// Shades as PIL makes them (ITU-R 601), which is what most models were trained on.
fn grey(picture: &DynamicImage) -> Vec<u8> {
    if !picture.color().has_color() {
        return picture.to_luma8().into_raw();
    }
    let shade = |[red, green, blue]: [u8; 3]| {
        let sum = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
        (sum / 1000) as u8
    };
    let colours = picture.to_rgb8();
    colours.pixels().map(|pixel| shade(pixel.0)).collect()
}

fn fixed(dim: &Dim) -> Option<usize> {
    match dim {
        Dim::Fixed(n) => Some(*n),
        Dim::Dynamic(_) => None,
    }
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

//! What a picture has to become for an input: the order of its axes, its channels and its size.

use score::{Dim, ImageLayout, InputOptions, Resize, Shape, TensorSpec};

use super::unpack::MAX_UNPACKED_BYTES;

/// What a picture may take as 32-bit values where nothing says its size.
const MAX_UNSIZED_BYTES: u64 = 64 << 20;

/// Where nothing but the shape tells of a picture, shorter sides are taken for something else.
const LEAST_SIDE: u32 = 8;

/// What a picture has to become.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) layout: ImageLayout,
    pub(super) channels: usize,
    /// Width and height; `None` to keep what scaling leaves.
    pub(super) size: Option<[u32; 2]>,
    resize: Option<Resize>,
    form: Form,
}

/// The order of the picture's axes in the input's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Behind an axis of rows.
    Row,
    /// They are all of its axes.
    Whole,
    /// On one axis, behind one of rows.
    Flat,
}

/// The sides on the way.
pub(super) struct Sides {
    /// Of the whole picture once it is scaled.
    pub(super) scaled: [u32; 2],
    /// Of its middle, which is the result.
    pub(super) cut: [u32; 2],
}

impl Plan {
    /// Finds out what the input's shape and the options ask for.
    ///
    /// # Errors
    /// Why the input takes no pictures, and what to change.
    pub(super) fn new(spec: &TensorSpec, options: &InputOptions) -> Result<Self, String> {
        let name = &spec.name;
        if let Some(reason) = &options.unfit {
            return Err(reason.clone());
        }
        let (form, axes) = match spec.dims() {
            [rows, Dim::Fixed(pixels)] if !is_side(rows) => {
                return Self::flat(*pixels, options).ok_or_else(|| unlike_a_picture(spec));
            }
            axes @ [_, _] => (Form::Whole, axes),
            axes @ [_, _, _] if is_whole(axes, options) => (Form::Whole, axes),
            [_, axes @ ..] => (Form::Row, axes),
            [] => return Err(unlike_a_picture(spec)),
        };
        let layout = layout(axes, options).ok_or_else(|| unlike_a_picture(spec))?;
        let (channels, height, width) = match (layout, axes) {
            (ImageLayout::Hw, [height, width]) => (&Dim::Fixed(1), height, width),
            (ImageLayout::Chw, [channels, height, width])
            | (ImageLayout::Hwc, [height, width, channels]) => (channels, height, width),
            _ => return Err(unlike_a_picture(spec)),
        };
        let channels = match (fixed(channels), options.channels) {
            (Some(channels @ (1 | 3 | 4)), None) => channels,
            (Some(channels), Some(said)) if channels == said => channels,
            (Some(channels), Some(said)) => {
                return Err(format!(
                    "input {name:?} is {spec}, which has {channels} channels; model.toml says {said}"
                ));
            }
            (Some(_), None) => return Err(unlike_a_picture(spec)),
            (None, said) => said.unwrap_or(3),
        };
        Ok(Self {
            layout,
            channels,
            size: size([fixed(width), fixed(height)], spec, options)?,
            resize: options.resize,
            form,
        })
    }

    fn flat(pixels: usize, options: &InputOptions) -> Option<Self> {
        let size = options.size.or_else(|| {
            let area = pixels / options.channels.unwrap_or(1);
            let side = u32::try_from(area.isqrt()).ok()?;
            ((side as usize).pow(2) == area).then_some([side, side])
        })?;
        let area = size[0] as usize * size[1] as usize;
        let channels = (area > 0 && pixels.is_multiple_of(area)).then(|| pixels / area)?;
        let layout = match channels {
            1 => ImageLayout::Hw,
            3 | 4 => options.layout.unwrap_or(ImageLayout::Hwc),
            _ => return None,
        };
        Some(Self {
            layout,
            channels,
            size: Some(size),
            resize: options.resize,
            form: Form::Flat,
        })
    }

    /// The sides that an upright picture gets.
    ///
    /// # Errors
    /// If it would become too large.
    pub(super) fn sides(&self, picture: [u32; 2]) -> Result<Sides, String> {
        let scaled = match (self.resize, self.size) {
            (Some(Resize::To(sides)), _) | (None, Some(sides)) => sides,
            (Some(Resize::ShorterSide(side)), _) => by_shorter_side(picture, side),
            (None, None) => picture,
        };
        let cut = self.size.unwrap_or(scaled);
        let samples = |[width, height]: [u32; 2]| {
            u64::from(width)
                .saturating_mul(u64::from(height))
                .saturating_mul(self.channels as u64)
        };
        let is_said = self.size.is_some() || matches!(self.resize, Some(Resize::To(_)));
        let [width, height] = picture;
        if !is_said && samples(cut).saturating_mul(4) > MAX_UNSIZED_BYTES {
            return Err(format!(
                "the picture is too large: {width} x {height} in {} channels takes more than {MAX_UNSIZED_BYTES} bytes, \
                 which is the most where the model takes any size; send a smaller one, or set size of the input in \
                 model.toml",
                self.channels
            ));
        }
        if matches!(self.resize, Some(Resize::ShorterSide(_)))
            && samples(scaled) > MAX_UNPACKED_BYTES
        {
            return Err(format!(
                "the picture is too long: {width} x {height} becomes {} x {}, which takes more than \
                 {MAX_UNPACKED_BYTES} bytes; send a part of it",
                scaled[0], scaled[1]
            ));
        }
        Ok(Sides { scaled, cut })
    }

    /// What decoding and scaling take beside the row, for a picture whose pixels take `bytes`: they are there twice while their
    /// type changes or they are scaled, and once more where the decoder keeps a part of them.
    pub(super) fn working_bytes(&self, bytes: u64, sides: &Sides) -> usize {
        const COPIES: u64 = 3;
        let area = |[width, height]: [u32; 2]| u64::from(width).saturating_mul(u64::from(height));
        let scaled = area(sides.scaled).saturating_add(area(sides.cut));
        let scaled = scaled.saturating_mul(self.channels as u64);
        let all = bytes.saturating_mul(COPIES).saturating_add(scaled);
        usize::try_from(all).unwrap_or(usize::MAX)
    }

    /// What the row takes, with `element` bytes for each value.
    pub(super) fn row_bytes(&self, sides: &Sides, element: usize) -> usize {
        let [width, height] = sides.cut.map(|side| side as usize);
        let values = width.saturating_mul(height).saturating_mul(self.channels);
        values.saturating_mul(element)
    }

    /// The tensor's shape.
    pub(super) fn shape(&self, [width, height]: [u32; 2]) -> Shape {
        let (width, height) = (width as usize, height as usize);
        let axes = match self.layout {
            ImageLayout::Hw => vec![height, width],
            ImageLayout::Chw => vec![self.channels, height, width],
            ImageLayout::Hwc => vec![height, width, self.channels],
        };
        match self.form {
            Form::Whole => axes,
            Form::Row => [vec![1], axes].concat(),
            Form::Flat => vec![1, axes.iter().product()],
        }
    }

    /// Whether there is an axis of rows.
    pub(super) fn has_rows(&self) -> bool {
        self.form != Form::Whole
    }

    /// Whether all of the picture is on one axis.
    pub(super) fn is_flat(&self) -> bool {
        self.form == Form::Flat
    }

    /// Whether the sides, where they are known, are as long as those of pictures are.
    pub(super) fn has_the_sides_of_one(&self) -> bool {
        self.size
            .is_none_or(|sides| sides.iter().all(|side| *side >= LEAST_SIDE))
    }

    /// One line for people.
    pub(super) fn in_words(&self, options: &InputOptions) -> String {
        let by = match (options.resize, self.size) {
            (Some(Resize::To([width, height])), _) => format!("scaled to {width} x {height}"),
            (Some(Resize::ShorterSide(side)), _) => format!("shorter side scaled to {side}"),
            (None, Some(_)) => "scaled".to_owned(),
            (None, None) => "in the size they have".to_owned(),
        };
        let resample = options.resample.unwrap_or_default().as_str();
        let to = match self.size {
            Some([width, height]) if options.resize.is_some() => {
                format!(" ({resample}), the middle {width} x {height} taken")
            }
            Some([width, height]) => format!(" to {width} x {height} ({resample})"),
            None if options.resize.is_some() => format!(" ({resample})"),
            None => String::new(),
        };
        let layout = layout_name(self.layout);
        let channels = match self.channels {
            1 => "1 channel".to_owned(),
            channels => format!("{channels} channels"),
        };
        format!("{by}{to}; {channels}, {layout}")
    }
}

/// The name it has in `model.toml`.
pub(super) fn layout_name(layout: ImageLayout) -> &'static str {
    match layout {
        ImageLayout::Hw => "hw",
        ImageLayout::Chw => "chw",
        ImageLayout::Hwc => "hwc",
    }
}

fn unlike_a_picture(spec: &TensorSpec) -> String {
    format!(
        "input {:?} is {spec}, which does not look like a picture of 1, 3 or 4 channels; set layout (\"chw\", \"hwc\" or \
         \"hw\"), channels and size of this input in model.toml as far as its shape leaves them open",
        spec.name
    )
}

/// The model's own size, or what the options say where it has none.
fn size(
    [width, height]: [Option<usize>; 2],
    spec: &TensorSpec,
    options: &InputOptions,
) -> Result<Option<[u32; 2]>, String> {
    let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let own = [width.map(side), height.map(side)];
    if let Some(said) = options.size {
        let differs = |(own, said): (Option<u32>, u32)| own.is_some_and(|own| own != said);
        if own.into_iter().zip(said).any(differs) {
            return Err(format!(
                "input {:?} is {spec}, which does not fit the size {} x {} that model.toml or preprocessor_config.json \
                 sets",
                spec.name, said[0], said[1]
            ));
        }
        return Ok(Some(said));
    }
    Ok(own[0].zip(own[1]).map(|(width, height)| [width, height]))
}

fn by_shorter_side([width, height]: [u32; 2], side: u32) -> [u32; 2] {
    let longer = |long: u32, short: u32| {
        let long = u64::from(side) * u64::from(long) / u64::from(short.max(1));
        u32::try_from(long).unwrap_or(u32::MAX)
    };
    match width <= height {
        true => [side, longer(height, width)],
        false => [longer(width, height), side],
    }
}

fn fixed(dim: &Dim) -> Option<usize> {
    match dim {
        Dim::Fixed(n) => Some(*n),
        Dim::Dynamic(_) => None,
    }
}

/// Whether an axis can be no axis of rows: one picture is one row.
fn is_side(dim: &Dim) -> bool {
    fixed(dim).is_some_and(|n| n != 1)
}

/// Whether three axes are all the picture's own. Else the first one is that of rows.
fn is_whole(axes: &[Dim], options: &InputOptions) -> bool {
    if let Some(layout) = options.layout {
        return layout != ImageLayout::Hw;
    }
    let [first, second, third] = axes else {
        return false;
    };
    let colours = |dim| matches!(fixed(dim), Some(3 | 4));
    let named_rows = matches!(first, Dim::Dynamic(Some(name)) if is_named(name, "batch", "n"));
    let alike = is_side(first) || (fixed(first).is_none() && fixed(second).is_none());
    match fixed(third) {
        _ if colours(first) => true,
        Some(3 | 4) => alike && !named_rows,
        Some(1) => is_side(first),
        _ => is_side(first) && names_channels(first),
    }
}

fn is_named(name: &str, word: &str, letter: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains(word) || name == letter
}

fn names_channels(dim: &Dim) -> bool {
    matches!(dim, Dim::Dynamic(Some(name)) if is_named(name, "channel", "c"))
}

/// The order of a picture's axes, by what is said, the lengths and the names of its axes, in this order.
fn layout(axes: &[Dim], options: &InputOptions) -> Option<ImageLayout> {
    if options.layout.is_some() {
        return options.layout;
    }
    let [first, second, third] = axes else {
        return (axes.len() == 2).then_some(ImageLayout::Hw);
    };
    let is = |dim, counts: &[usize]| fixed(dim).is_some_and(|n| counts.contains(&n));
    let any_said = options.size.is_some() || options.resize.is_some() || options.channels.is_some();
    match [fixed(first), fixed(second), fixed(third)] {
        _ if is(first, &[1, 3]) => Some(ImageLayout::Chw),
        _ if is(third, &[1, 3]) => Some(ImageLayout::Hwc),
        _ if is(first, &[4]) => Some(ImageLayout::Chw),
        _ if is(third, &[4]) => Some(ImageLayout::Hwc),
        [None, ..] if names_channels(first) => Some(ImageLayout::Chw),
        [.., None] if names_channels(third) => Some(ImageLayout::Hwc),
        [None, Some(_), Some(_)] => Some(ImageLayout::Chw),
        [Some(_), Some(_), None] => Some(ImageLayout::Hwc),
        // Most exporters put channels first.
        [None, None, None] if any_said => Some(ImageLayout::Chw),
        _ => None,
    }
}

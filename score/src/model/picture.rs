//! Values of the keys in `model.toml` that say how a picture is scaled.

use serde::Deserialize;

/// To what the whole picture is scaled before its middle is cut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected the pixels of the shorter side, or [width, height]"
)]
pub enum Resize {
    /// The shorter side gets so many pixels, the longer one as many as keep the proportions.
    ShorterSide(u32),
    /// Width and height.
    To([u32; 2]),
}

impl Resize {
    /// The sides it names.
    pub(super) fn sides(self) -> [u32; 2] {
        match self {
            Self::ShorterSide(side) => [side, side],
            Self::To(sides) => sides,
        }
    }
}

/// How pixels are made from others where a picture is scaled, under the names that Pillow has for its filters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resample {
    /// The nearest pixel alone.
    Nearest,
    /// The mean of the pixels below.
    Box,
    /// Weights that fall off linearly.
    #[default]
    Bilinear,
    /// A sharper bilinear filter that looks as smooth.
    Hamming,
    /// Cubic weights.
    Bicubic,
    /// A sinc function over three pixels on each side.
    Lanczos,
}

impl Resample {
    /// The name it has in `model.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Box => "box",
            Self::Bilinear => "bilinear",
            Self::Hamming => "hamming",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        }
    }

    /// The filter that has this number in Pillow.
    pub(super) fn from_pillow(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Nearest,
            1 => Self::Lanczos,
            2 => Self::Bilinear,
            3 => Self::Bicubic,
            4 => Self::Box,
            5 => Self::Hamming,
            _ => return None,
        })
    }
}

/// The colour behind transparent pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number from 0 to 255, or [red, green, blue]"
)]
pub enum Background {
    /// A grey.
    Grey(u8),
    /// Red, green, blue.
    Colour([u8; 3]),
}

impl Background {
    /// Red, green, blue.
    pub fn colour(self) -> [u8; 3] {
        match self {
            Self::Grey(shade) => [shade; 3],
            Self::Colour(colour) => colour,
        }
    }
}

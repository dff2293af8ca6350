//! Pictures turned upright, scaled as Pillow scales them, and cut.

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, MulDiv, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage, RgbaImage};
use score::Resample;

/// Turns a picture upright and scales it. In this order, although the scaled picture would be turned faster: the filters
/// round and clip between the two directions, and they are to do so where Pillow does.
///
/// # Errors
/// If the picture cannot be scaled.
pub(super) fn scaled(
    mut picture: DynamicImage,
    orientation: Orientation,
    sides: [u32; 2],
    resample: Resample,
) -> Result<DynamicImage, String> {
    picture.apply_orientation(orientation);
    if [picture.width(), picture.height()] == sides {
        return Ok(picture);
    }
    resized(picture, sides, resample)
        .ok_or_else(|| "the picture cannot be scaled to the model's size".to_owned())
}

fn resized(
    picture: DynamicImage,
    [width, height]: [u32; 2],
    resample: Resample,
) -> Option<DynamicImage> {
    let ty = match &picture {
        DynamicImage::ImageLuma8(_) => PixelType::U8,
        DynamicImage::ImageRgb8(_) => PixelType::U8x3,
        DynamicImage::ImageRgba8(_) => PixelType::U8x4,
        _ => return None,
    };
    // The colour of a clear pixel must not leak into its neighbours; Pillow leaves it to the nearest pixel.
    let has_opacity = ty == PixelType::U8x4 && resample != Resample::Nearest;
    let original = [picture.width(), picture.height()];
    let mut from = Image::from_vec_u8(original[0], original[1], picture.into_bytes(), ty).ok()?;
    if has_opacity {
        MulDiv::new().multiply_alpha_inplace(&mut from).ok()?;
    }
    // The library on its own begins with the columns.
    let mut wide = scaled_by_pass(from, [width, original[1]], resample)?;
    wide = scaled_by_pass(wide, [width, height], resample)?;
    if has_opacity {
        MulDiv::new().divide_alpha_inplace(&mut wide).ok()?;
    }
    let samples = wide.into_vec();
    Some(match ty {
        PixelType::U8 => GrayImage::from_raw(width, height, samples)?.into(),
        PixelType::U8x3 => RgbImage::from_raw(width, height, samples)?.into(),
        _ => RgbaImage::from_raw(width, height, samples)?.into(),
    })
}

fn scaled_by_pass(
    from: Image<'static>,
    [width, height]: [u32; 2],
    resample: Resample,
) -> Option<Image<'static>> {
    let algorithm = match resample {
        Resample::Nearest => ResizeAlg::Nearest,
        Resample::Box => ResizeAlg::Convolution(FilterType::Box),
        Resample::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        Resample::Hamming => ResizeAlg::Convolution(FilterType::Hamming),
        Resample::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        Resample::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
    };
    if (from.width(), from.height()) == (width, height) {
        return Some(from);
    }
    let mut to = Image::new(width, height, from.pixel_type());
    let options = ResizeOptions::new().resize_alg(algorithm).use_alpha(false);
    Resizer::new().resize(&from, &mut to, &options).ok()?;
    Some(to)
}

/// The samples of a picture's middle; where it is too small, black is around it. As Hugging Face's `center_crop`.
pub(super) fn middle(picture: DynamicImage, cut: [u32; 2]) -> Vec<u8> {
    let (width, height) = (picture.width(), picture.height());
    if [width, height] == cut {
        return picture.into_bytes();
    }
    let channels = usize::from(picture.color().channel_count());
    let offset = |has: u32, wants: u32| (i64::from(has) - i64::from(wants)).div_euclid(2);
    let (left, top) = (offset(width, cut[0]), offset(height, cut[1]));
    let within = |at: i64, length: u32| u32::try_from(at).ok().filter(|at| *at < length);
    let mut samples = vec![0; cut[0] as usize * cut[1] as usize * channels];
    let rows = samples.chunks_exact_mut((cut[0] as usize * channels).max(1));
    for (y, row) in (top..).zip(rows) {
        let Some(y) = within(y, height) else { continue };
        let from = y as usize * width as usize;
        for (x, pixel) in (left..).zip(row.chunks_exact_mut(channels)) {
            let Some(x) = within(x, width) else { continue };
            let at = (from + x as usize) * channels;
            pixel.copy_from_slice(&picture.as_bytes()[at..at + channels]);
        }
    }
    samples
}

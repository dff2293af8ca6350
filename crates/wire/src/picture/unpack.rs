//! The bytes of a picture as pixels of 8 bits per channel, within bounds that its header is held to.

mod bytes;

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::watch::Watch;
use bytes::Bytes;

/// What the pixels of a picture may take: 64 Mi pixels of colour with 8 bits per channel.
pub(super) const MAX_UNPACKED_BYTES: u64 = 192 << 20;
/// What the metadata of a PNG file may unpack to. Colour profiles take up to some megabytes.
const MAX_METADATA_BYTES: u64 = 8 << 20;
/// JPEG has no longer sides; the weights of the filters grow with them.
const MAX_SIDE: u32 = 65_535;

/// A decoded picture, as its file holds it.
pub(super) struct Unpacked {
    picture: DynamicImage,
    orientation: Orientation,
}

/// Whether these are the first bytes of a picture that can be read.
pub(crate) fn begins_like_one(body: &[u8]) -> bool {
    body.starts_with(b"\x89PNG\r\n\x1a\n")
        || body.starts_with(b"\xff\xd8\xff")
        || (body.starts_with(b"RIFF") && body.get(8..12) == Some(b"WEBP"))
}

/// Decodes a picture. `fits` is asked before, with the width and height that the picture has when it is upright, and the bytes
/// that its pixels take.
///
/// # Errors
/// What is wrong with the bytes, which bound they exceed, or what `fits` says.
pub(super) fn unpack(
    body: &[u8],
    fits: impl Fn([u32; 2], u64) -> Result<(), String>,
    watch: &dyn Watch,
) -> Result<Unpacked, String> {
    let format = match image::guess_format(body) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) => format,
        Ok(other) => return Err(no_picture(&format!("it is {}", other.to_mime_type()))),
        // ISO media files, as phones write them.
        Err(_) if body.get(4..8) == Some(b"ftyp") => return Err(no_picture("it is HEIC or AVIF")),
        Err(_) => return Err(no_picture("it begins like none")),
    };
    // A decoder that fails on an unforeseen file is not a fault of this program.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode(body, format, fits, watch)));
    decoded.unwrap_or_else(|_| Err(no_picture("the decoder cannot read it")))
}

fn no_picture(reason: &str) -> String {
    format!("not a picture: {reason}; expected PNG, JPEG or WebP")
}

fn decode(
    body: &[u8],
    format: ImageFormat,
    fits: impl Fn([u32; 2], u64) -> Result<(), String>,
    watch: &dyn Watch,
) -> Result<Unpacked, String> {
    let mut reader = ImageReader::with_format(Bytes::new(body, watch), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(match format {
        // Its pixels do not count, but what is unpacked of its metadata before its size is known.
        ImageFormat::Png => MAX_METADATA_BYTES,
        _ => MAX_UNPACKED_BYTES,
    });
    reader.limits(limits);
    let unreadable = |error: ImageError| match error {
        ImageError::Limits(_) => too_large("it"),
        error => no_picture(&error.to_string()),
    };
    let mut decoder = reader.into_decoder().map_err(unreadable)?;
    let (width, height) = decoder.dimensions();
    if decoder.total_bytes() > MAX_UNPACKED_BYTES || width.max(height) > MAX_SIDE {
        return Err(too_large(&format!("{width} x {height}")));
    }
    // What cannot be read as metadata does not turn the picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    fits(upright([width, height], orientation), decoder.total_bytes())?;
    match format {
        ImageFormat::Jpeg if !has_end(body) => return Err(no_picture("its end is missing")),
        ImageFormat::WebP if has_frames_beyond(body, [width, height]) => {
            return Err(no_picture("a frame in it is larger than the whole"));
        }
        _ => {}
    }
    let picture = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
    Ok(Unpacked {
        picture,
        orientation,
    })
}

/// Whether a JPEG file goes on to its last marker. The decoder makes up what is missing, and a score of that is none.
fn has_end(jpeg: &[u8]) -> bool {
    const MARKER: u8 = 0xff;
    const SCAN: u8 = 0xda;
    const END: [u8; 2] = [MARKER, 0xd9];
    // A preview in the metadata has an end of its own.
    let mut rest = jpeg.get(2..).unwrap_or_default();
    while let [MARKER, kind, high, low, ..] = rest {
        match *kind {
            MARKER => rest = &rest[1..],
            SCAN => return rest.windows(2).rev().any(|pair| pair == END),
            _ => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                rest = rest.get(2 + length..).unwrap_or_default();
            }
        }
    }
    // What is this unusual is left to the decoder.
    true
}

/// Whether a lossy frame of a WebP file exceeds the file's own size. The decoder makes room for it before it compares.
fn has_frames_beyond(webp: &[u8], [width, height]: [u32; 2]) -> bool {
    // Name and length of a chunk, three bytes of flags, a mark, width and height with two bits more.
    let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    webp.windows(18).any(|chunk| match chunk {
        [
            b'V',
            b'P',
            b'8',
            b' ',
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            0x9d,
            0x01,
            0x2a,
            w0,
            w1,
            h0,
            h1,
        ] => side(*w0, *w1) > width || side(*h0, *h1) > height,
        _ => false,
    })
}

fn too_large(what: &str) -> String {
    format!(
        "the picture is too large: {what} is more than {MAX_SIDE} pixels along one side, or than \
         {MAX_UNPACKED_BYTES} bytes unpacked (64 megapixels of 8-bit colour); send a smaller one"
    )
}

/// Width and height once the picture is turned.
pub(super) fn upright([width, height]: [u32; 2], orientation: Orientation) -> [u32; 2] {
    match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => [height, width],
        _ => [width, height],
    }
}

impl Unpacked {
    /// Pixels of 8 bits in one, three or four channels, and how they are yet to be turned.
    pub(super) fn with_channels(
        self,
        channels: usize,
        background: [u8; 3],
    ) -> (DynamicImage, Orientation) {
        let picture = self.picture;
        let picture = match channels {
            4 => picture.into_rgba8().into(),
            1 if !picture.color().has_color() && !picture.color().has_alpha() => {
                picture.into_luma8().into()
            }
            _ => {
                let opaque = match picture.color().has_alpha() {
                    true => over(background, picture.into_rgba8()),
                    false => picture.into_rgb8(),
                };
                match channels {
                    1 => grey(opaque).into(),
                    _ => opaque.into(),
                }
            }
        };
        (picture, self.orientation)
    }
}

/// Lays pixels over a background, in the buffer they have.
fn over(background: [u8; 3], picture: image::RgbaImage) -> image::RgbImage {
    let (width, height) = picture.dimensions();
    let samples = packed(
        picture.into_raw(),
        |[red, green, blue, opacity]: [u8; 4]| {
            let opacity = u32::from(opacity);
            let colour = [red, green, blue];
            std::array::from_fn::<u8, 3, _>(|channel| {
                let front = u32::from(colour[channel]) * opacity;
                let back = u32::from(background[channel]) * (255 - opacity);
                ((front + back + 127) / 255) as u8
            })
        },
    );
    image::RgbImage::from_raw(width, height, samples).unwrap_or_default()
}

/// Shades as PIL makes them (ITU-R 601), which is what most models were trained on.
fn grey(picture: image::RgbImage) -> image::GrayImage {
    let (width, height) = picture.dimensions();
    let samples = packed(picture.into_raw(), |[red, green, blue]: [u8; 3]| {
        let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
        [((sum + 0x8000) >> 16) as u8]
    });
    image::GrayImage::from_raw(width, height, samples).unwrap_or_default()
}

/// Makes pixels of fewer channels in place: a second buffer would double what a large picture takes.
fn packed<const FROM: usize, const TO: usize>(
    mut samples: Vec<u8>,
    pixel: impl Fn([u8; FROM]) -> [u8; TO],
) -> Vec<u8> {
    let pixels = samples.len() / FROM;
    for index in 0..pixels {
        let from = std::array::from_fn(|channel| samples[index * FROM + channel]);
        samples[index * TO..][..TO].copy_from_slice(&pixel(from));
    }
    samples.truncate(pixels * TO);
    samples
}

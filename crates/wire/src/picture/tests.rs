mod announced;

use std::fs;
use std::path::PathBuf;

use score::{Background, Resample, TensorSpec};

use super::*;
use crate::samples::spec;
use crate::watch::Unwatched;
use crate::watch::tests::Looks;

fn fixture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/pictures");
    fs::read(folder.join(name)).unwrap()
}

/// The samples and the shape that a picture becomes in a model that takes 8-bit values.
fn samples(
    body: &[u8],
    shape: &[i64],
    options: &InputOptions,
) -> Result<(Vec<usize>, Vec<u8>), String> {
    let tensor = tensor(
        body,
        &spec("x", ElementType::Uint8, shape),
        options,
        &mut { u64::MAX },
        &Unwatched,
    )?;
    let (shape, data) = tensor.into_parts();
    match data {
        TensorData::Uint8(samples) => Ok((shape, samples)),
        other => panic!("{other:?}"),
    }
}

const COLOURS: [i64; 4] = [-1, -1, -1, 3];

/// A picture as it lies in the file.
fn plain(name: &str) -> (Vec<usize>, Vec<u8>) {
    samples(&fixture(name), &COLOURS, &InputOptions::default()).unwrap()
}

#[track_caller]
fn assert_within(one: &[u8], other: &[u8], bound: u8, what: &str) {
    assert_eq!(one.len(), other.len(), "{what}");
    let apart = one.iter().zip(other).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(apart <= Some(bound), "{what}: {apart:?}");
}

#[test]
fn scales_as_pillow_does() {
    for resample in [
        Resample::Nearest,
        Resample::Box,
        Resample::Bilinear,
        Resample::Hamming,
        Resample::Bicubic,
        Resample::Lanczos,
    ] {
        for size in [[16, 11], [50, 41], [37, 9]] {
            let options = InputOptions {
                size: Some(size),
                resample: Some(resample),
                ..InputOptions::default()
            };
            let end = format!("{}_{}x{}.png", resample.as_str(), size[0], size[1]);
            let expected = plain(&format!("scaled/photo_{end}"));
            let (shape, scaled) = samples(&fixture("photo.png"), &COLOURS, &options).unwrap();
            assert_eq!(shape, expected.0);
            let bound = u8::from(resample != Resample::Nearest);
            assert_within(&scaled, &expected.1, bound, &end);
        }
    }
    let options = InputOptions {
        size: Some([16, 11]),
        resample: Some(Resample::Bicubic),
        ..InputOptions::default()
    };
    for (picture, channels, bound) in [("photo", 1, 1), ("grey", 1, 1), ("clear", 4, 2)] {
        let name = match channels {
            1 => "scaled/grey_bicubic_16x11.png".to_owned(),
            _ => format!("scaled/{picture}_bicubic_16x11.png"),
        };
        let shape = [-1, -1, -1, channels];
        let expected = samples(&fixture(&name), &shape, &InputOptions::default()).unwrap();
        let body = fixture(&format!("{picture}.png"));
        let (_, scaled) = samples(&body, &shape, &options).unwrap();
        // What little of a colour an almost clear pixel has is lost in 8 bits, here and there.
        let seen = |samples: &[u8]| match channels {
            4 => samples
                .chunks(4)
                .filter(|pixel| pixel[3] > 40)
                .flatten()
                .copied()
                .collect(),
            _ => samples.to_vec(),
        };
        assert_within(&seen(&scaled), &seen(&expected.1), bound, picture);
    }
}

#[test]
fn small_grey_pictures_become_what_they_always_became() {
    let body = fixture("grey.png");
    let options = InputOptions {
        size: Some([28, 28]),
        ..InputOptions::default()
    };
    let (shape, now) = samples(&body, &[-1, 784], &options).unwrap();
    let before = image::load_from_memory(&body).unwrap();
    let before = before.resize_exact(28, 28, image::imageops::FilterType::Triangle);
    assert_eq!(shape, [1, 784]);
    assert_within(&now, before.as_bytes(), 1, "bilinear");
}

#[test]
fn pictures_are_turned_as_exif_says() {
    for orientation in 1..=8 {
        let turned = plain(&format!("turned{orientation}.png"));
        assert_eq!(
            turned,
            plain(&format!("upright{orientation}.png")),
            "{orientation}"
        );
    }
    assert_eq!(plain("turned6.webp"), plain("upright6.png"));
    assert_eq!(plain("turned77.png"), plain("upright1.png"));
    // Sizes are those of the upright picture.
    let options = InputOptions {
        size: Some([2, 6]),
        resample: Some(Resample::Nearest),
        ..InputOptions::default()
    };
    let turned = samples(&fixture("turned6.png"), &COLOURS, &options).unwrap();
    let upright = samples(&fixture("upright6.png"), &COLOURS, &options).unwrap();
    assert_eq!(turned, upright);
}

#[test]
fn what_shines_through_is_laid_over_the_background() {
    let white = plain("over_white.png");
    for name in ["clear.png", "clear.webp"] {
        assert_within(&plain(name).1, &white.1, 1, name);
    }
    let over = |background| InputOptions {
        background: Some(background),
        ..InputOptions::default()
    };
    for (background, corner) in [
        (Background::Grey(7), [7, 7, 7]),
        (Background::Colour([1, 2, 3]), [1, 2, 3]),
    ] {
        let (_, found) = samples(&fixture("clear.png"), &COLOURS, &over(background)).unwrap();
        assert_eq!(found[..3], corner);
    }
    let black = over(Background::Grey(0));
    let (_, grey) = samples(&fixture("clear.png"), &[-1, 29, 37], &black).unwrap();
    assert_eq!(grey[0], 0);
    let (shape, all) = samples(&fixture("clear.png"), &[-1, 4, -1, -1], &black).unwrap();
    assert_eq!((&shape[..], all[3 * 29 * 37]), (&[1, 4, 29, 37][..], 0));
    let (_, opaque) = samples(&fixture("photo.png"), &[-1, 4, -1, -1], &black).unwrap();
    assert_eq!(opaque[3 * 29 * 37..], [255; 29 * 37]);
}

#[test]
fn all_kinds_of_files_give_their_first_picture() {
    let upright = plain("upright1.png");
    for (name, bound) in [
        ("animated.webp", 0),
        ("animated.png", 0),
        ("palette.png", 255),
        ("sixteen.png", 255),
    ] {
        let found = plain(name);
        assert_eq!(found.0, [1, 4, 6, 3], "{name}");
        assert_within(&found.1, &upright.1, bound, name);
    }
    // JPEG decoders round in ways of their own.
    for (name, bound) in [("progressive", 3), ("cmyk", 6)] {
        let found = plain(&format!("{name}.jpg"));
        let expected = plain(&format!("{name}.png"));
        assert_eq!(found.0, expected.0, "{name}");
        assert_within(&found.1, &expected.1, bound, name);
    }
    let grey = |name| samples(&fixture(name), &[-1, 4, 6], &InputOptions::default()).unwrap();
    assert_within(
        &grey("sixteen.png").1,
        &grey("upright1.png").1,
        0,
        "16 bits",
    );
}

#[test]
fn axes_are_told_by_what_is_said_by_lengths_and_by_names() {
    let sized = InputOptions {
        size: Some([6, 4]),
        ..InputOptions::default()
    };
    let layout = |layout| InputOptions {
        layout: Some(layout),
        ..InputOptions::default()
    };
    let channels = |channels| InputOptions {
        channels: Some(channels),
        ..sized.clone()
    };
    let none = InputOptions::default();
    let body = fixture("upright1.png");
    for (shape, options, expected) in [
        (&[-1, -1, 4, 6][..], &none, &[1, 3, 4, 6][..]),
        (&[-1, 5, 6, -1], &none, &[1, 5, 6, 3]),
        (&[-1, -1, -1, -1], &sized, &[1, 3, 4, 6]),
        (&[-1, -1, -1, -1], &layout(ImageLayout::Hwc), &[1, 4, 6, 3]),
        (&[-1, -1, -1, -1], &channels(1), &[1, 1, 4, 6]),
        (&[-1, -1, -1, -1], &channels(4), &[1, 4, 4, 6]),
        (&[3, 4, 6], &none, &[3, 4, 6]),
        (&[3, -1, -1], &none, &[3, 4, 6]),
        (&[4, 6, 3], &none, &[4, 6, 3]),
        (&[-1, -1, 3], &none, &[4, 6, 3]),
        (&[4, 6, 1], &none, &[4, 6, 1]),
        (&[-1, -1, -1], &layout(ImageLayout::Chw), &[3, 4, 6]),
        (&[-1, -1, -1], &none, &[1, 4, 6]),
        (&[1, 4, 6], &none, &[1, 4, 6]),
        (&[4, 6], &none, &[4, 6]),
        (&[-1, -1], &none, &[4, 6]),
        (&[1, 9], &none, &[1, 9]),
        (&[-1, 72], &sized, &[1, 72]),
        (&[-1, 96], &channels(4), &[1, 96]),
        (&[-1, 4, 6, 3], &none, &[1, 4, 6, 3]),
    ] {
        let found = samples(&body, shape, options).map(|(shape, _)| shape);
        assert_eq!(found.as_deref(), Ok(expected), "{shape:?}");
    }
    for (shape, options, words) in [
        (&[-1, -1, -1, -1][..], &none, "set layout"),
        (&[-1, 5, 4, 6], &none, "set layout"),
        (&[-1, 3, 8, 8], &sized, "does not fit the size 6 x 4"),
        (&[-1, 3, 4, 6], &channels(1), "model.toml says 1"),
        (&[-1, 3, 4, 6], &layout(ImageLayout::Hw), "set layout"),
        (&[-1], &none, "set layout"),
        (&[], &none, "set layout"),
    ] {
        let error = samples(&body, shape, options).unwrap_err();
        assert!(error.contains(words), "{shape:?}: {error}");
    }
    let named = |names: [&str; 4]| TensorSpec {
        shape: Some(
            names
                .map(|name| score::Dim::Dynamic(Some(name.into())))
                .to_vec(),
        ),
        ..spec("x", ElementType::Float32, &[])
    };
    for (names, expected) in [
        (["batch", "num_channels", "height", "width"], [1, 3, 4, 6]),
        (["N", "H", "W", "C"], [1, 4, 6, 3]),
    ] {
        let found = tensor(&body, &named(names), &none, &mut { u64::MAX }, &Unwatched).unwrap();
        assert_eq!(found.shape(), expected);
    }
}

#[test]
fn the_middle_is_cut_out_of_what_was_scaled() {
    let cut = |resize, size| InputOptions {
        resize: Some(resize),
        size,
        ..InputOptions::default()
    };
    let body = fixture("photo.png");
    for (options, expected) in [
        (cut(Resize::ShorterSide(14), None), [1, 14, 17, 3]),
        (cut(Resize::ShorterSide(14), Some([12, 12])), [1, 12, 12, 3]),
        (cut(Resize::To([20, 30]), None), [1, 30, 20, 3]),
        (cut(Resize::To([9, 9]), Some([12, 13])), [1, 13, 12, 3]),
    ] {
        let (shape, _) = samples(&body, &COLOURS, &options).unwrap();
        assert_eq!(shape, expected);
    }
    // Too small a picture has black around it, half a pixel more in front.
    let options = cut(Resize::To([1, 1]), Some([3, 4]));
    let (_, found) = samples(&body, &[-1, 4, 3], &options).unwrap();
    let lit: Vec<usize> = (0..12).filter(|at| found[*at] > 0).collect();
    assert_eq!(lit, [7]);
}

/// A PNG header for any size, with nothing behind it.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    let mut crc = flate2::Crc::new();
    crc.update(&chunk);
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(chunk);
    png.extend(crc.sum().to_be_bytes());
    png.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    png
}

#[test]
fn headers_alone_are_held_to_the_bounds() {
    let jpeg = |width: u16, height: u16| {
        let mut jpeg = fixture("progressive.jpg");
        let at = jpeg.windows(2).position(|m| m == b"\xff\xc2").unwrap() + 5;
        jpeg[at..at + 2].copy_from_slice(&height.to_be_bytes());
        jpeg[at + 2..at + 4].copy_from_slice(&width.to_be_bytes());
        jpeg
    };
    let mut webp = fixture("turned6.webp");
    let at = webp.windows(4).position(|m| m == b"VP8X").unwrap() + 12;
    webp[at..at + 6].fill(0xff);
    let sized = InputOptions {
        size: Some([8, 8]),
        ..InputOptions::default()
    };
    for (body, words) in [
        (png_header(65_535, 65_535), "65535 x 65535 is more than"),
        (png_header(u32::MAX >> 1, u32::MAX >> 1), "too large"),
        (png_header(70_000, 1), "70000 x 1 is more than"),
        (png_header(0, 5), "not a picture"),
        (jpeg(65_535, 65_535), "65535 x 65535 is more than"),
        (jpeg(0, 5), "not a picture"),
        (webp, "not a picture"),
        (png_header(6000, 4000), "not a picture"),
    ] {
        let error = samples(&body, &COLOURS, &sized).unwrap_err();
        assert!(error.contains(words), "{error}");
        assert!(!error.contains("Memory limit"), "{error}");
    }
    // The same where the picture keeps its size, before a pixel of it is read.
    for (width, height, is_fine) in [(2048, 2048, true), (2400, 2400, false)] {
        let error = samples(
            &png_header(width, height),
            &COLOURS,
            &InputOptions::default(),
        );
        let error = error.unwrap_err();
        assert_eq!(!error.contains("set size of the input"), is_fine, "{error}");
    }
    let shorter = InputOptions {
        resize: Some(Resize::ShorterSide(800)),
        size: Some([8, 8]),
        ..InputOptions::default()
    };
    let error = samples(&png_header(60_000, 10), &COLOURS, &shorter).unwrap_err();
    assert!(error.contains("too long: 60000 x 10"), "{error}");
}

#[test]
fn a_jpeg_without_its_end_is_refused() {
    let read = |body: &[u8]| samples(body, &COLOURS, &InputOptions::default());
    let whole = fixture("progressive.jpg");
    let error = read(&whole[..whole.len() - 2]).unwrap_err();
    assert!(error.contains("its end is missing"), "{error}");
    // Phones append films; previews in the metadata end too.
    let trailed = [&whole[..], b"\xff\xda\0\0ftypmp42"].concat();
    assert_eq!(read(&trailed).unwrap(), read(&whole).unwrap());
    let preview = [b"\xff\xe1\0\x06", &b"\xff\xda\xff\xd9"[..]].concat();
    let mut with_preview = whole.clone();
    with_preview.splice(2..2, preview);
    assert!(read(&with_preview).is_ok());
    assert!(read(&with_preview[..with_preview.len() - 2]).is_err());
}

#[test]
fn a_webp_frame_is_held_to_the_size_of_the_whole() {
    let whole = fixture("lossy.webp");
    assert_eq!(plain("lossy.webp").0, [1, 4, 6, 3]);
    let at = whole.windows(3).position(|m| m == b"\x9d\x01\x2a").unwrap() + 3;
    let mut larger = whole.clone();
    larger[at..at + 4].copy_from_slice(b"\xff\x3f\xff\x3f");
    let error = samples(&larger, &COLOURS, &InputOptions::default()).unwrap_err();
    assert!(error.contains("larger than the whole"), "{error}");
}

#[test]
fn what_is_no_picture_or_a_broken_one_is_named() {
    let read = |body: &[u8]| samples(body, &COLOURS, &InputOptions::default());
    for (body, words) in [
        (&b"GIF89a\x01\0\x01\0\0\0\0"[..], "it is image/gif"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "it is HEIC or AVIF"),
        (b"<html>", "it begins like none"),
        (b"", "it begins like none"),
        (b"\x89PNG\r\n\x1a\n", "not a picture"),
        (b"\xff\xd8\xff", "not a picture"),
        (b"RIFF\x04\0\0\0WEBP", "not a picture"),
    ] {
        let error = read(body).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    for name in [
        "photo.png",
        "clear.webp",
        "lossy.webp",
        "turned6.webp",
        "animated.webp",
        "animated.png",
        "palette.png",
        "progressive.jpg",
        "cmyk.jpg",
    ] {
        let whole = fixture(name);
        for length in 0..whole.len() {
            let _ = read(&whole[..length]);
        }
        assert!(read(&whole[..whole.len() / 2]).is_err(), "{name}");
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..300 {
            let mut broken = whole.clone();
            for _ in 0..3 {
                let at = random.usize(..broken.len());
                broken[at] = random.u8(..);
            }
            let _ = read(&broken);
        }
    }
}

#[test]
fn a_picture_is_not_unpacked_to_its_end_once_that_is_over() {
    // Noise, which stays as large as it is.
    let mut state = 1_u32;
    let noise = image::RgbImage::from_fn(400, 400, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, samples @ ..] = state.to_le_bytes();
        image::Rgb(samples)
    });
    for format in [image::ImageFormat::Png, image::ImageFormat::WebP] {
        let mut file = std::io::Cursor::new(Vec::new());
        noise.write_to(&mut file, format).unwrap();
        let file = file.into_inner();
        assert!(file.len() > 300_000);
        let watch = Looks::default();
        assert!(unpack::unpack(&file, |_, _| Ok(()), &watch).is_err());
        assert_eq!(watch.count(), 2, "{format:?}");
        assert!(unpack::unpack(&file, |_, _| Ok(()), &Unwatched).is_ok());
    }
}

//! Bodies that are one picture: PNG, JPEG and WebP.

use super::{Elements, Format};
use crate::picture;
use crate::watch::Unwatched;

/// `image/png`, `image/jpeg`, `image/webp`
pub(crate) static PICTURE: Format = Format {
    body: "one [picture](pictures.md)",
    answer: "the bare result",
    content_types: &["image/png", "image/jpeg", "image/webp"],
    coding: None,
    aliases: &[],
    is_text: false,
    is_packed: true,
    elements: Elements::Unpacked,
    recognises: |body, _| picture::begins_like_one(body),
    read: Some(|contents| {
        let watch = contents.bounds.watch;
        Ok(picture::read(contents.body, contents.metadata, watch)?.into())
    }),
    writing: None,
    // Shape, type and `model.toml` decide, so the reader is asked.
    described: |metadata| {
        let takes_one = picture::read(ONE_PIXEL, metadata, &Unwatched).is_ok();
        takes_one.then(|| "One picture.".to_owned())
    },
    sample: None,
};

const ONE_PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\
    \0\0\0\nIDATx\x9cc`\0\0\0\x02\0\x01H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82";

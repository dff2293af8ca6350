"""Writes small pictures and what Pillow and Hugging Face's image processors make of them, into pictures/ beside this file.

Run:    pip install "pillow==13.0.0" "numpy==2.4.6" "transformers==4.57.6" && python make_pictures.py
Writes: pictures/README.md has a line on each
"""

import json
from pathlib import Path

import numpy as np
import transformers
from PIL import Image, ImageOps

OUT = Path(__file__).resolve().parent / "pictures"
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SIZES = [(16, 11), (50, 41), (37, 9)]
ORIENTATION = 0x0112
PROCESSORS = {
    "vit": transformers.ViTImageProcessor(size={"height": 12, "width": 12}),
    "clip": transformers.CLIPImageProcessor(size={"shortest_edge": 14}, crop_size={"height": 12, "width": 12}),
    "deit": transformers.DeiTImageProcessor(size={"height": 16, "width": 16}, crop_size={"height": 13, "width": 13}),
    "convnext": transformers.ConvNextImageProcessor(size={"shortest_edge": 14}, crop_pct=0.875, resample=3),
    "siglip": transformers.SiglipImageProcessor(size={"height": 11, "width": 17}, resample=1),
    "padded": transformers.CLIPImageProcessor(size={"shortest_edge": 9}, crop_size={"height": 14, "width": 13}),
}


def photo():
    """Slopes, an edge and noise: what filters treat differently."""
    random = np.random.default_rng(7)
    y, x = np.mgrid[0:29, 0:37]
    shades = np.stack([x * 6.5, y * 8, 255 - x * 3 - y * 4], axis=-1) + random.normal(0, 12, (29, 37, 3))
    shades[8:20, 10:22] = [250, 20, 40]
    return Image.fromarray(np.clip(shades, 0, 255).astype(np.uint8))


def main():
    (OUT / "scaled").mkdir(parents=True, exist_ok=True)
    colour = photo()
    grey = colour.convert("L")
    colour.save(OUT / "photo.png")
    grey.save(OUT / "grey.png")
    opacity = Image.fromarray(np.tile(np.linspace(0, 255, 37).astype(np.uint8), (29, 1)))
    clear = colour.copy()
    clear.putalpha(opacity)
    clear.save(OUT / "clear.png")
    clear.save(OUT / "clear.webp", lossless=True, exact=True)
    white = Image.new("RGBA", clear.size, "white")
    Image.alpha_composite(white, clear).convert("RGB").save(OUT / "over_white.png")
    for name, resample in FILTERS.items():
        for size in SIZES:
            end = f"{name}_{size[0]}x{size[1]}.png"
            colour.resize(size, resample).save(OUT / "scaled" / f"photo_{end}")
    grey.resize((16, 11), Image.Resampling.BICUBIC).save(OUT / "scaled" / "grey_bicubic_16x11.png")
    clear.resize((16, 11), Image.Resampling.BICUBIC).save(OUT / "scaled" / "clear_bicubic_16x11.png")
    turned(colour)
    processors(colour)


def turned(colour):
    """One picture in all orientations of EXIF, and what is upright."""
    small = colour.resize((6, 4), Image.Resampling.BOX)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        small.save(OUT / f"turned{orientation}.png", exif=exif)
        upright = ImageOps.exif_transpose(Image.open(OUT / f"turned{orientation}.png"))
        Image.fromarray(np.asarray(upright)).save(OUT / f"upright{orientation}.png")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    small.save(OUT / "turned6.webp", exif=exif, lossless=True)
    exif[ORIENTATION] = 1
    small.save(OUT / "lossy.webp", exif=exif)
    exif[ORIENTATION] = 77
    small.save(OUT / "turned77.png", exif=exif)
    small.save(OUT / "progressive.jpg", progressive=True, subsampling=0, quality=95)
    small.convert("CMYK").save(OUT / "cmyk.jpg", quality=95)
    for name in ["progressive", "cmyk"]:
        Image.open(OUT / f"{name}.jpg").convert("RGB").save(OUT / f"{name}.png")
    frames = [small, small.rotate(180)]
    small.save(OUT / "animated.webp", save_all=True, append_images=frames[1:], lossless=True)
    small.save(OUT / "animated.png", save_all=True, append_images=frames[1:])
    small.quantize(8).save(OUT / "palette.png", transparency=0)
    wide = np.asarray(small.convert("L")).astype(np.uint16) * 257
    Image.fromarray(wide).save(OUT / "sixteen.png")


def processors(colour):
    for name, processor in PROCESSORS.items():
        folder = OUT / "processors" / name
        folder.mkdir(parents=True, exist_ok=True)
        config = json.loads(processor.to_json_string())
        (folder / "preprocessor_config.json").write_text(json.dumps(config, indent=2) + "\n")
        prepared = processor(colour, return_tensors="np")["pixel_values"]
        np.save(folder / "prepared.npy", prepared.astype(np.float32))


if __name__ == "__main__":
    main()

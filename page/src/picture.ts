// From shades to what the model takes, as the server does it with PNG and JPEG.

import type { Picture } from "./model.ts";

/** Shades from 0 to 255, row by row. */
export interface Grey {
  width: number;
  height: number;
  shades: Float64Array;
}

/** What of MNIST's pictures the digit fills: it was scaled to a box of 20 pixels, then centred by its mass in 28. */
const BOX = 20 / 28;
/** Small drawings are not blown up beyond what their pixels hold. */
const MAX_BOX_SHARE = 6;

/**
 * Scales a drawing to the model's size; as MNIST's digits were prepared if `centred`.
 * Every pixel is spread over the four that it touches, so that edges keep their shades.
 */
export function scale(drawn: Grey, width: number, height: number, centred: boolean): Grey {
  const shades = new Float64Array(width * height);
  const found = centred ? extent(drawn) : { x: drawn.width / 2, y: drawn.height / 2, side: 0 };
  const smaller = Math.min(width, height);
  const factorX = found.side > 0 ? (BOX * smaller) / found.side : width / drawn.width;
  const factorY = found.side > 0 ? factorX : height / drawn.height;
  for (let y = 0; y < drawn.height; y++) {
    for (let x = 0; x < drawn.width; x++) {
      const shade = drawn.shades[y * drawn.width + x] ?? 0;
      if (shade === 0) continue;
      const toX = (x + 0.5 - found.x) * factorX + (width - 1) / 2;
      const toY = (y + 0.5 - found.y) * factorY + (height - 1) / 2;
      spread(shades, width, height, toX, toY, shade * factorX * factorY);
    }
  }
  return { width, height, shades: shades.map((shade) => Math.min(255, Math.round(shade))) };
}

function spread(shades: Float64Array, width: number, height: number, x: number, y: number, shade: number): void {
  const left = Math.floor(x);
  const top = Math.floor(y);
  for (const [column, row] of [[left, top], [left + 1, top], [left, top + 1], [left + 1, top + 1]] as const) {
    if (column < 0 || row < 0 || column >= width || row >= height) continue;
    const share = (1 - Math.abs(x - column)) * (1 - Math.abs(y - row));
    const at = row * width + column;
    shades[at] = (shades[at] ?? 0) + shade * share;
  }
}

/** The centre of mass, as far as all stays within the picture, and the longer side of what is drawn. */
function extent({ width, height, shades }: Grey): { x: number; y: number; side: number } {
  let [left, right, top, bottom] = [width, 0, height, 0];
  let [mass, x, y] = [0, 0, 0];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const shade = shades[row * width + column] ?? 0;
      if (shade === 0) continue;
      left = Math.min(left, column);
      right = Math.max(right, column + 1);
      top = Math.min(top, row);
      bottom = Math.max(bottom, row + 1);
      mass += shade;
      x += shade * (column + 0.5);
      y += shade * (row + 0.5);
    }
  }
  if (mass === 0) return { x: width / 2, y: height / 2, side: 0 };
  const side = Math.max(right - left, bottom - top, Math.max(width, height) / MAX_BOX_SHARE);
  const slack = (side * (1 / BOX - 1)) / 2;
  const near = (value: number, middle: number) => Math.max(middle - slack, Math.min(middle + slack, value));
  return { x: near(x / mass, (left + right) / 2), y: near(y / mass, (top + bottom) / 2), side };
}

/** Scaled and normalised values in the order of the model's axes. */
export function toValues({ shades }: Grey, picture: Picture, datatype: string): number[] {
  const { channels, layout } = picture;
  const area = shades.length;
  const whole = /^U?INT/.test(datatype);
  return Array.from({ length: area * channels }, (_, index) => {
    const chw = layout === "chw";
    const pixel = chw ? index % area : Math.floor(index / channels);
    const channel = chw ? Math.floor(index / area) : index % channels;
    const ofChannel = (values: number[], otherwise: number) => values[channel] ?? values[0] ?? otherwise;
    const value = ((shades[pixel] ?? 0) * picture.scale - ofChannel(picture.mean, 0)) / ofChannel(picture.std, 1);
    return whole ? Math.round(value) : Math.round(value * 1e4) / 1e4;
  });
}

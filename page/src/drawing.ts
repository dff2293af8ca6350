// The board: strokes by pointer, or sample digits for those who cannot use one.

import { byId, element } from "./dom.ts";
import type { Grey } from "./picture.ts";

type Point = [x: number, y: number];
type Stroke = Point[];

/** Of the board's side. */
const PEN = 0.085;

/** Digits as strokes on a board of 100 by 100. */
const DIGITS: Stroke[][] = [
  [[[50, 15], [35, 20], [27, 50], [35, 80], [50, 85], [65, 80], [73, 50], [65, 20], [50, 15]]],
  [[[52, 14], [50, 50], [48, 86]]],
  [[[28, 32], [35, 17], [52, 14], [68, 24], [66, 42], [48, 62], [28, 84], [50, 82], [76, 83]]],
  [[[29, 22], [45, 14], [65, 19], [67, 36], [47, 48], [67, 56], [71, 74], [52, 86], [28, 79]]],
  [[[34, 16], [29, 35], [28, 52], [50, 53], [72, 51]], [[68, 16], [66, 50], [63, 86]]],
  [[[70, 16], [50, 16], [35, 17], [33, 30], [31, 45], [50, 42], [67, 54], [66, 73], [50, 86], [28, 80]]],
  [[[62, 14], [44, 32], [32, 58], [38, 80], [52, 85], [66, 77], [65, 60], [50, 53], [35, 64]]],
  [[[27, 18], [27, 18], [50, 17], [73, 17], [73, 17], [61, 45], [46, 86]]],
  [[[66, 24], [50, 14], [34, 24], [40, 42], [58, 54], [66, 72], [50, 86], [34, 73], [41, 56], [60, 42], [66, 24]]],
  [[[67, 26], [50, 15], [34, 27], [36, 43], [52, 49], [67, 36], [68, 24], [66, 52], [60, 86]]],
];

export class Board {
  private readonly canvas = byId<HTMLCanvasElement>("board");
  private strokes: Stroke[] = [];
  private current: Stroke | null = null;

  /** `changed` is called after every stroke, with null once the board is empty. */
  constructor(private readonly changed: (drawn: Grey | null) => void) {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      this.current = [this.point(event)];
      this.strokes.push(this.current);
      this.paint();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.current) return;
      // Not every browser has them, nor are there always some.
      const parts = event.getCoalescedEvents?.() ?? [];
      this.current.push(...(parts.length > 0 ? parts : [event]).map((part) => this.point(part)));
      this.paint();
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => this.finish());
    byId("clear").addEventListener("click", () => this.set([]));
    const buttons = DIGITS.map((strokes, digit) => {
      const button = element("button", { type: "button", "aria-label": `Draw a sample ${digit}` }, String(digit));
      button.addEventListener("click", () => this.set(strokes));
      return button;
    });
    byId("digits").append(...buttons);
  }

  clear(): void {
    this.strokes = [];
    this.paint();
  }

  private set(strokes: Stroke[]): void {
    const side = this.canvas.width;
    this.strokes = strokes.map((stroke) => stroke.map(([x, y]) => [(x * side) / 100, (y * side) / 100]));
    this.paint();
    this.changed(strokes.length > 0 ? this.grey() : null);
  }

  private finish(): void {
    if (!this.current) return;
    this.current = null;
    this.changed(this.grey());
  }

  private point(event: PointerEvent): Point {
    const box = this.canvas.getBoundingClientRect();
    const factor = this.canvas.width / box.width;
    return [(event.clientX - box.left) * factor, (event.clientY - box.top) * factor];
  }

  private context(): CanvasRenderingContext2D {
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("no canvas");
    return context;
  }

  private paint(): void {
    const context = this.context();
    const { width, height } = this.canvas;
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    context.strokeStyle = "#fff";
    context.lineWidth = PEN * width;
    context.lineCap = "round";
    context.lineJoin = "round";
    for (const stroke of this.strokes) {
      context.beginPath();
      trace(context, stroke);
      context.stroke();
    }
  }

  private grey(): Grey {
    const { width, height } = this.canvas;
    const { data } = this.context().getImageData(0, 0, width, height);
    return { width, height, shades: Float64Array.from({ length: width * height }, (_, pixel) => data[pixel * 4] ?? 0) };
  }
}

/** Curves through the middles between points; a lone point becomes a dot. */
function trace(context: CanvasRenderingContext2D, stroke: Stroke): void {
  const [first, ...rest] = stroke;
  const last = rest.at(-1) ?? first;
  if (!first || !last) return;
  context.moveTo(...first);
  rest.slice(0, -1).forEach(([x, y], index) => {
    const [nextX, nextY] = rest[index + 1] ?? [x, y];
    context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
  });
  context.lineTo(...last);
}

/** Shows the picture that the model gets. */
export function preview({ width, height, shades }: Grey): void {
  const canvas = byId<HTMLCanvasElement>("seen");
  canvas.width = width;
  canvas.height = height;
  const pixels = Uint8ClampedArray.from({ length: shades.length * 4 }, (_, index) =>
    index % 4 === 3 ? 255 : (shades[index >> 2] ?? 0),
  );
  canvas.getContext("2d")?.putImageData(new ImageData(pixels, width, height), 0, 0);
}

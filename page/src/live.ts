// Live metrics: what the server counts, read every two seconds while the page is seen, unless they are paused.

import { byId, element, setText, svg } from "./dom.ts";
import { type Sample, buckets, parse, quantile, since, sum } from "./metrics.ts";
import type { Server } from "./server.ts";

const EVERY_MS = 2000;
/** After failures the wait doubles up to this. */
const MAX_WAIT_MS = 60_000;
/** Two minutes. */
const KEPT = 61;
/** The least that a chart shows, so that it does not begin with one long line. */
const LEAST_INTERVALS = 15;
const WORDS = "Read every two seconds, over two minutes at most. What was found counts all models.";
const LATENCY = "score_request_seconds";

interface Reading {
  at: number;
  samples: Sample[];
}

interface Tile {
  title: string;
  number: string;
  /** One value for each interval; null where there was nothing to measure. */
  points: (number | null)[];
  unit: string;
}

/** A tile's place in the page; it stays while its numbers change, so that a screen reader keeps its place too. */
interface View {
  item: HTMLElement;
  update(tile: Tile): void;
}

export class Live {
  private readings: Reading[] = [];
  private readonly views = new Map<string, View>();
  private model = "";
  private reading = false;
  private paused = false;
  private wait = EVERY_MS;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly server: Server) {
    document.addEventListener("visibilitychange", () => void this.read());
    byId("metrics-pause").addEventListener("click", () => this.pause(!this.paused));
  }

  /** Shows this model's metrics from now on; those of none if it has no name. */
  show(model: string): void {
    this.model = model;
    this.wait = EVERY_MS;
    this.draw();
    void this.read();
  }

  private pause(paused: boolean): void {
    this.paused = paused;
    byId("metrics-pause").setAttribute("aria-pressed", String(paused));
    this.wait = EVERY_MS;
    setText(byId("metrics-state"), paused ? "Paused." : WORDS);
    void this.read();
  }

  /** Reads now, and then repeatedly while the page is visible. */
  private async read(): Promise<void> {
    clearTimeout(this.timer);
    if (this.model === "" || this.paused || document.hidden || this.reading) return;
    this.reading = true;
    let words = WORDS;
    try {
      const response = await this.server.get(`${this.server.base}/metrics`, "*/*");
      this.readings.push({ at: performance.now(), samples: parse(await response.text()) });
      this.readings = this.readings.slice(-KEPT);
      this.wait = EVERY_MS;
    } catch (error) {
      this.wait = Math.min(this.wait * 2, MAX_WAIT_MS);
      words = `No new metrics; asking less often. ${error instanceof Error ? error.message : ""}`;
    } finally {
      this.reading = false;
    }
    if (this.paused) return;
    setText(byId("metrics-state"), words);
    this.draw();
    this.timer = setTimeout(() => void this.read(), this.wait);
  }

  private draw(): void {
    const place = byId("tiles");
    const shown = this.readings.length > 0 ? tiles(this.readings, this.model) : [];
    const items = shown.map((tile) => {
      const view = this.views.get(tile.title) ?? makeView(tile.title);
      this.views.set(tile.title, view);
      view.update(tile);
      return view.item;
    });
    const isSame = items.length === place.children.length && items.every((item, index) => item === place.children[index]);
    if (!isSame) place.replaceChildren(...items);
  }
}

function tiles(readings: Reading[], model: string): Tile[] {
  const now = readings.at(-1)?.samples ?? [];
  const own = { model };
  const found: Tile[] = [];
  const counted = (title: string, read: (samples: Sample[]) => number | null): void => {
    const total = read(now);
    if (total === null) return;
    const points = intervals(readings, (a, b, seconds) => Math.max(0, (read(b) ?? 0) - (read(a) ?? 0)) / seconds);
    found.push({ title, number: total.toLocaleString("en"), points, unit: "per second" });
  };
  counted(
    "Requests",
    (samples) => sum(samples, `${LATENCY}_count`, own) ?? sum(samples, "score_cache_requests_total", own),
  );
  counted("Rows", (samples) => sum(samples, "score_rows_total", own));
  counted("Rows computed", (samples) => sum(samples, "score_computed_rows_total", own));
  found.push(tier("Found in process", readings, "score_cache_local_hits_total"));
  found.push(tier("Found in Redis", readings, "score_cache_redis_hits_total"));
  const saved = sum(now, "score_cache_saved_seconds", own);
  if (saved !== null) {
    const points = readings.map(({ samples }) => (sum(samples, "score_cache_saved_seconds", own) ?? 0) * 1000);
    found.push({ title: "Time saved", number: milliseconds(saved * 1000), points, unit: "ms in all" });
  }
  for (const share of [0.5, 0.95, 0.99]) {
    const tile = latency(readings, model, share);
    if (tile) found.push(tile);
  }
  return found;
}

/** Of the rows that were looked up, those that this tier had; of all models. */
function tier(title: string, readings: Reading[], name: string): Tile {
  const lookedUp = (samples: Sample[]): number =>
    ["score_cache_local_hits_total", "score_cache_redis_hits_total", "score_cache_misses_total"]
      .map((counter) => sum(samples, counter) ?? 0)
      .reduce((a, b) => a + b, 0);
  const share = (hits: number, all: number): number | null => (all > 0 ? (100 * hits) / all : null);
  const now = readings.at(-1)?.samples ?? [];
  const whole = share(sum(now, name) ?? 0, lookedUp(now));
  const points = intervals(readings, (a, b) => share((sum(b, name) ?? 0) - (sum(a, name) ?? 0), lookedUp(b) - lookedUp(a)));
  return { title, number: whole === null ? "–" : `${whole.toFixed(0)} %`, points, unit: "% of rows" };
}

function latency(readings: Reading[], model: string, share: number): Tile | null {
  const of = ({ samples }: Reading) => buckets(samples, LATENCY, model);
  const [first, last] = [readings[0], readings.at(-1)];
  if (!first || !last || of(last).length === 0) return null;
  const lately = quantile(share, since(of(last), of(first))) ?? quantile(share, of(last));
  const points = readings.slice(1).map((reading, index) => {
    const before = readings[index];
    const seconds = before ? quantile(share, since(of(reading), of(before))) : null;
    return seconds === null ? null : seconds * 1000;
  });
  const number = lately === null ? "–" : milliseconds(lately * 1000);
  return { title: `Latency p${share * 100}`, number, points, unit: "ms" };
}

function intervals(
  readings: Reading[],
  measure: (before: Sample[], after: Sample[], seconds: number) => number | null,
): (number | null)[] {
  return readings.slice(1).map((reading, index) => {
    const before = readings[index];
    return before ? measure(before.samples, reading.samples, (reading.at - before.at) / 1000) : null;
  });
}

function milliseconds(time: number): string {
  return Math.abs(time) >= 1000 ? `${(time / 1000).toFixed(1)} s` : `${time.toPrecision(3)} ms`;
}

const [WIDTH, HEIGHT] = [120, 36];

function makeView(title: string): View {
  const line = svg("path", {
    fill: "none",
    stroke: "currentColor",
    "stroke-width": "2",
    "stroke-linecap": "round",
    "stroke-linejoin": "round",
    "vector-effect": "non-scaling-stroke",
  });
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, line);
  const whole = element("span", { class: "number" });
  const lately = element("span", { class: "quiet" });
  const item = element("li", {}, element("span", { class: "quiet" }, title), whole, chart, lately);
  const update = ({ number, points, unit }: Tile): void => {
    const measured = points.filter((point) => point !== null);
    const [least, most] = [Math.min(0, ...measured), Math.max(...measured, 0)];
    const last = measured.at(-1);
    const label = last === undefined ? "nothing yet" : `lately ${round(last)}, at most ${round(most)} ${unit}`;
    setText(whole, number);
    setText(lately, last === undefined ? unit : `${round(last)} ${unit}`);
    chart.setAttribute("aria-label", `${title}: ${label}`);
    line.setAttribute("d", sparkline(points, least, most));
  };
  return { item, update };
}

const round = (value: number): string => String(Number(value.toPrecision(3)));

function sparkline(points: (number | null)[], least: number, most: number): string {
  const step = WIDTH / (Math.max(points.length, LEAST_INTERVALS) - 1);
  const start = WIDTH - (points.length - 1) * step;
  const y = (value: number) => HEIGHT - ((value - least) / (most - least || 1)) * HEIGHT;
  let [path, drawing] = ["", false];
  points.forEach((point, index) => {
    if (point !== null) {
      const x = (start + index * step).toFixed(1);
      // A lone point shows as a dot, by its round ends.
      path += `${drawing ? "L" : `M${x} ${y(point).toFixed(1)}L`}${x} ${y(point).toFixed(1)}`;
    }
    drawing = point !== null;
  });
  return path;
}

// The Prometheus text of the server, and what can be read from two readings of it.

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export function parse(text: string): Sample[] {
  const samples = [];
  for (const line of text.split("\n")) {
    // What follows " # " is an exemplar.
    const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line.split(" # ", 1)[0] ?? "");
    if (!found) continue;
    const labels: Record<string, string> = {};
    for (const [, name = "", value = ""] of (found[2] ?? "").matchAll(/(\w+)="((?:\\.|[^"\\])*)"/g)) {
      labels[name] = value.replace(/\\(.)/g, (_, escaped: string) => (escaped === "n" ? "\n" : escaped));
    }
    samples.push({ name: found[1] ?? "", labels, value: Number((found[3] ?? "").replace("Inf", "Infinity")) });
  }
  return samples;
}

/** The sum over all series that fit; null if there is none. */
export function sum(samples: Sample[], name: string, labels: Record<string, string> = {}): number | null {
  const wanted = Object.entries(labels);
  const fitting = samples.filter((s) => s.name === name && wanted.every(([label, value]) => s.labels[label] === value));
  return fitting.length > 0 ? fitting.reduce((total, { value }) => total + value, 0) : null;
}

/** Upper bounds and how many observations lie at or below each. */
export type Buckets = [bound: number, count: number][];

export function buckets(samples: Sample[], name: string, model: string): Buckets {
  const counts = new Map<number, number>();
  for (const sample of samples) {
    if (sample.name !== `${name}_bucket` || sample.labels.model !== model) continue;
    const bound = Number((sample.labels.le ?? "").replace("+Inf", "Infinity"));
    counts.set(bound, (counts.get(bound) ?? 0) + sample.value);
  }
  return [...counts].sort(([a], [b]) => a - b);
}

/** What was observed between two readings. */
export function since(now: Buckets, then: Buckets): Buckets {
  const before = new Map(then);
  return now.map(([bound, count]) => [bound, count - (before.get(bound) ?? 0)]);
}

/** As PromQL's histogram_quantile: evenly spread within a bucket. Null if nothing was observed. */
export function quantile(share: number, observed: Buckets): number | null {
  const total = observed.at(-1)?.[1] ?? 0;
  if (total <= 0) return null;
  const rank = share * total;
  let [lower, below] = [0, 0];
  for (const [bound, count] of observed) {
    if (count >= rank) {
      if (bound === Infinity) return lower;
      return count > below ? lower + ((bound - lower) * (rank - below)) / (count - below) : bound;
    }
    [lower, below] = [bound, count];
  }
  return lower;
}

// JSON whose numbers stay as they are written, and JSON laid out for people.

/** A number by its digits: whole numbers beyond 2^53, such as ids, would be rounded otherwise. */
export class Exact {
  constructor(readonly digits: string) {}

  toString(): string {
    return this.digits;
  }
}

/** Reads JSON; where the browser does not hand out the source of a number, large ones are rounded as ever. */
export function parse(text: string): unknown {
  const exact = (_name: string, value: unknown, context?: { source?: string }): unknown => {
    const isRounded = Number.isInteger(value) && !Number.isSafeInteger(value);
    return isRounded && /^-?\d+$/.test(context?.source ?? "") ? new Exact(context?.source ?? "") : value;
  };
  return JSON.parse(text, exact);
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Exact);

export function stringify(value: unknown): string {
  if (value instanceof Exact) return value.digits;
  if (Array.isArray(value)) return `[${value.map(stringify).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value) ?? "null";
  return `{${Object.entries(value).map(([name, inner]) => `${JSON.stringify(name)}:${stringify(inner)}`).join(",")}}`;
}

const LINE = 100;
const PER_LINE = 20;

/** Indented, but with numbers side by side; `perLine` of them, if there is a width that suits. */
export function layOut(value: unknown, perLine = PER_LINE, indent = ""): string {
  const short = stringify(value);
  const isNested = Array.isArray(value) || isObject(value);
  if (!isNested || indent.length + short.length <= LINE) return short;
  const inner = `${indent} `;
  if (!Array.isArray(value)) {
    const members = Object.entries(value).map(([name, v]) => `${inner}${JSON.stringify(name)}: ${layOut(v, perLine, inner)}`);
    return `{\n${members.join(",\n")}\n${indent}}`;
  }
  const items = value.map((item) => layOut(item, perLine, inner));
  const isFlat = !value.some((item) => Array.isArray(item) || isObject(item) || (typeof item === "string" && item.length > LINE));
  const lines = isFlat ? fillLines(items, perLine) : items;
  return `[\n${lines.map((line) => inner + line).join(",\n")}\n${indent}]`;
}

function fillLines(items: string[], perLine: number): string[] {
  const lines = [];
  for (let start = 0; start < items.length; start += perLine) lines.push(items.slice(start, start + perLine).join(","));
  return lines;
}

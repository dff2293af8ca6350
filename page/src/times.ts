// Where the time of an answer went.

import { byId, element } from "./dom.ts";

/** `decode;dur=0.17, cache;dur=0.07` as parts of one bar, beside the whole round trip. */
export function showTimes(header: string | null, milliseconds: number): void {
  const steps = (header ?? "").split(",").flatMap((part): [string, number][] => {
    const found = /^\s*([\w-]+);dur=([\d.]+)/.exec(part);
    return found ? [[found[1] ?? "", Number(found[2])]] : [];
  });
  if (steps.length === 0) return;
  const inServer = steps.reduce((sum, [, time]) => sum + time, 0);
  const elsewhere = Math.max(0, milliseconds - inServer);
  const whole = Math.max(inServer, 1e-6);
  const parts = steps.map(([, time], index) => {
    const part = element("span", { class: `part part-${index % 5}` });
    part.style.width = `${(time / whole) * 100}%`;
    return part;
  });
  const legend = steps.map(([name, time], index) =>
    element("li", {}, element("span", { class: `dot part-${index % 5}`, "aria-hidden": "true" }), `${name} `, element("b", {}, `${time} ms`)),
  );
  byId("timing").replaceChildren(
    element("h3", {}, "Times"),
    element("div", { class: "stack", "aria-hidden": "true" }, ...parts),
    element("ul", { class: "legend" }, ...legend),
    element("p", { class: "quiet" }, `${inServer.toFixed(2)} ms in the server, ${elsewhere.toFixed(1)} ms network and page`),
  );
}

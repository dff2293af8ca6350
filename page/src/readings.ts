// Rankings as an ordered list, and entities as marks in their text.

import { byId, element } from "./dom.ts";
import type { Entity, Ranked } from "./text_forms.ts";

const MAX_ITEMS = 100;
/** As many colours as style.css has for labels. */
const COLOURS = 5;

/** The best first, with bars from the least to the highest score. */
export function showRanking(ranking: Ranked[], texts: string[] | null): void {
  const scores = ranking.map(({ score }) => score);
  const [least, most] = [Math.min(0, ...scores), Math.max(...scores)];
  const items = [...ranking].sort((a, b) => b.score - a.score).slice(0, MAX_ITEMS).map(({ index, score }, place) => {
    const fill = element("span", { class: "fill" });
    fill.style.width = `${(100 * (score - least)) / (most - least || 1)}%`;
    return element(
      "li",
      place === 0 ? { class: "best" } : {},
      element("span", { class: "text" }, element("bdi", {}, texts?.[index] ?? `text ${index + 1}`)),
      element("span", { class: "track", "aria-hidden": "true" }, fill),
      element("span", { class: "value" }, String(Number(score.toPrecision(4)))),
    );
  });
  byId("ranking").replaceChildren(...items);
}

/** The texts with their entities marked, each label in a colour of its own and by its name. */
export function showEntities(rows: Entity[][], texts: string[] | null): void {
  const labels = [...new Set(rows.flat().map((entity) => entity.entity_group))].sort();
  const items = rows.slice(0, MAX_ITEMS).map((entities, row) => marked(texts?.[row] ?? "", entities, labels));
  byId("spans").replaceChildren(...items);
}

function marked(text: string, entities: Entity[], labels: string[]): HTMLElement {
  const points = [...text];
  const parts: (Node | string)[] = [];
  let end = 0;
  for (const entity of [...entities].sort((a, b) => a.start - b.start)) {
    if (entity.start < end) continue;
    parts.push(points.slice(end, entity.start).join(""));
    const colour = labels.indexOf(entity.entity_group) % COLOURS;
    const score = `${(entity.score * 100).toFixed(1)} %`;
    const label = element("span", { class: "label" }, entity.entity_group);
    parts.push(element("mark", { class: `label-${colour}`, title: score }, element("bdi", {}, points.slice(entity.start, entity.end).join("")), label));
    end = entity.end;
  }
  return element("p", { dir: "auto" }, ...parts, points.slice(end).join(""));
}

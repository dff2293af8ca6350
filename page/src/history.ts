// The calls of this page, newest first; one may be taken up again. Nothing of them is stored.

import { byId, element } from "./dom.ts";

export interface Entry {
  model: string;
  /** What was sent, in short. */
  sent: string;
  /** What came back: the answer's word, or the error. */
  label: string;
  failed: boolean;
  cache: string | null;
  milliseconds: number;
  again: (() => void) | null;
}

const MAX_ENTRIES = 30;
const MAX_CHARACTERS = 80;

export function remember({ model, sent, label, failed, cache, milliseconds, again }: Entry): void {
  const list = byId("calls");
  const at = new Date().toLocaleTimeString("en-GB");
  const kind = cache?.startsWith("HIT") ? "badge hit" : "badge";
  const outcome = element("bdi", { class: failed ? "outcome failed" : "outcome" }, short(label));
  const what = element("span", { class: "sent" }, element("bdi", {}, short(sent)));
  const facts = [
    ...(cache ? [element("span", { class: kind }, cache.split(";")[0] ?? cache)] : []),
    element("span", { class: "quiet time" }, `${milliseconds.toFixed(1)} ms`),
    element("time", { class: "quiet" }, at),
  ];
  const head = element("span", { class: "call" }, outcome, what);
  const button = element("button", { type: "button", class: "entry", title: `${model}: send this again` }, head, element("span", { class: "facts" }, ...facts));
  if (again) button.addEventListener("click", again);
  else button.disabled = true;
  list.prepend(element("li", {}, button));
  while (list.children.length > MAX_ENTRIES) list.lastElementChild?.remove();
  byId("no-calls").hidden = true;
}

const short = (text: string): string => (text.length > MAX_CHARACTERS ? `${text.slice(0, MAX_CHARACTERS - 1)}…` : text);

// Puts the parts together: which model, what is sent, what came back.

import { clearAnswer, showAnswer, showError } from "./answer.ts";
import { byId, element, fillSelect, show } from "./dom.ts";
import { remember } from "./history.ts";
import { Input, type Outgoing } from "./input.ts";
import { Live } from "./live.ts";
import { type Catalogue, type Model, type TensorSpec, describe, loadCatalogue, loadModel, summarize } from "./model.ts";
import { Refusal, Server, place, takeKey } from "./server.ts";
import { Code } from "./code.ts";
import { describeTexts, forgetVectors } from "./texts.ts";

/** How long after a stroke it is sent, unless another follows. */
const PAUSE_MS = 500;

const key = byId<HTMLInputElement>("key");
const models = byId<HTMLSelectElement>("models");

// Before anything that may fail.
const sentKey = takeKey();
const { base, model: named } = place();
const server = new Server(base, sentKey);
const live = new Live(server);
const code = new Code(server);
const input = new Input(changed, complete);

let model: Model | null = null;
let catalogue: Catalogue = new Map();
let pause: ReturnType<typeof setTimeout> | undefined;
/** Only what was asked for last may show. */
let opened = 0;
let sent = 0;

async function open(name: string | null): Promise<void> {
  const turn = ++opened;
  const [found, all] = await Promise.allSettled([loadModel(server, name), loadCatalogue(server)]);
  if (turn !== opened) return;
  // A stroke for the model before is not meant for this one.
  clearTimeout(pause);
  // Without it there is a page for one model, and without a model still the choice of another one.
  if (all.status === "fulfilled") catalogue = all.value;
  model = found.status === "fulfilled" ? found.value : null;
  for (const section of document.querySelectorAll<HTMLElement>("main section")) section.hidden = model === null;
  byId("problem").hidden = model !== null;
  fillSelect(models, [...catalogue.keys()].map((known) => [known, known]), model?.name ?? "");
  byId("switch").hidden = catalogue.size === 0 || model === null || catalogue.size === 1;
  if (found.status === "fulfilled") {
    show(byId("page-error"), null);
    present(found.value);
    return;
  }
  const error: unknown = found.reason;
  entitle(name ?? "score", "", "");
  live.show("");
  show(byId("page-error"), message(error));
  offerOthers();
  if (error instanceof Refusal && error.retryAfterSeconds !== null) {
    setTimeout(() => void (turn === opened && open(name)), error.retryAfterSeconds * 1000);
  }
}

/** What can be tried instead of a model that is not there. */
function offerOthers(): void {
  const links = [...catalogue.keys()].map((known) => {
    const link = element("a", { href: server.path(known) }, element("bdi", {}, known));
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      go(known);
    });
    return element("li", {}, link);
  });
  byId("other-models").replaceChildren(...links);
  byId("others").hidden = links.length === 0;
}

function go(name: string): void {
  history.pushState(null, "", server.path(name));
  void open(name);
}

function entitle(name: string, summary: string, version: string): void {
  document.title = name === "score" ? name : `${name} · score`;
  byId("name").textContent = name;
  byId("summary").textContent = summary;
  byId("version").textContent = version;
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function present(shown: Model): void {
  entitle(shown.name, summarize(shown), `version ${shown.version}`);
  presentFacts(shown);
  sent++;
  byId("answer").setAttribute("aria-busy", "false");
  clearAnswer();
  forgetVectors();
  showError(null);
  input.present(shown, catalogue.get(shown.name) ?? []);
  live.show(shown.name);
}

function presentFacts(shown: Model): void {
  const list = (specs: TensorSpec[]): string => specs.map(describe).join("; ") || "none";
  const facts: [string, string][] = [
    ["Inputs", list(shown.inputs)],
    ...(shown.optional_inputs.length > 0 ? [["Optional inputs", list(shown.optional_inputs)] as [string, string]] : []),
    ["Outputs", list(shown.outputs)],
    ...(shown.text ? [["Texts", describeTexts(shown.text)] as [string, string]] : []),
    ["Answers with", shown.answers_with.join(", ")],
    ["Rows", `${shown.rows.treated}: ${shown.rows.reason}`],
    ["Deterministic", shown.deterministic === null ? "not known" : shown.deterministic ? "yes" : "no"],
    ["Remembered", shown.memoized ? `yes, policy ${shown.cache?.policy ?? "off"}` : "no"],
    ["Version", shown.version],
    ["Digest", shown.digest],
  ];
  byId("facts").replaceChildren(
    ...facts.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]),
  );
}

function changed(): void {
  clearTimeout(pause);
  if (model) code.show(model, () => input.outgoing());
}

function complete(soon: boolean): void {
  clearTimeout(pause);
  if (soon) pause = setTimeout(() => void score(), PAUSE_MS);
  else void score();
}

async function score(): Promise<void> {
  clearTimeout(pause);
  if (!model) return;
  const asked = model;
  const turn = ++sent;
  byId("answer").setAttribute("aria-busy", "true");
  const start = performance.now();
  let outgoing: Outgoing | null = null;
  let again: (() => void) | null = null;
  try {
    outgoing = input.outgoing();
    input.mark(null);
    again = input.remember();
    const response = await server.post(server.base + outgoing.path, outgoing.body, outgoing.type);
    const text = await response.text();
    const milliseconds = performance.now() - start;
    if (turn !== sent || asked !== model) return;
    showError(null);
    const { under, texts, rows, short } = outgoing;
    const told = showAnswer(asked, { text, headers: response.headers, milliseconds, under, texts, rows });
    remember({ model: asked.name, sent: short, ...told, failed: false, milliseconds, again: of(asked, again) });
  } catch (error) {
    if (turn !== sent || asked !== model) return;
    const milliseconds = performance.now() - start;
    clearAnswer("No answer.");
    showError(message(error));
    if (outgoing === null) input.mark(error);
    else remember({ model: asked.name, sent: outgoing.short, label: message(error), failed: true, cache: null, milliseconds, again: of(asked, again) });
  } finally {
    if (turn === sent) byId("answer").setAttribute("aria-busy", "false");
  }
}

/** Sends it again as long as the page is that model's; else opens the model. */
const of = (asked: Model, again: (() => void) | null) => (): void => {
  if (asked === model) again?.();
  else go(asked.name);
};

key.value = server.key;
key.addEventListener("change", () => {
  server.key = key.value.trim();
  changed();
  if (model) live.show(model.name);
  else void open(place().model);
});
models.addEventListener("change", () => go(models.value));
addEventListener("popstate", () => void open(place().model));
byId("send").addEventListener("click", () => void score());
byId("request").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    void score();
  }
});
for (const section of document.querySelectorAll<HTMLElement>("main section")) section.hidden = true;
void open(named);

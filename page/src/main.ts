// Puts the parts together: which model, what is sent, what came back.

import { clearAnswer, showAnswer, showError } from "./answer.ts";
import { type Dialect, FIRST, PROTOCOL, type Values, dialectOf, memberOfAnswer, nest, offered, sampleValues, typeOf, write } from "./body.ts";
import { byId, element, fillSelect, show } from "./dom.ts";
import { Board, preview } from "./drawing.ts";
import { Figures } from "./figures.ts";
import { contentType, pickable, takeDrops } from "./files.ts";
import { type Catalogue, type Model, type TensorSpec, describe, loadCatalogue, loadModel } from "./model.ts";
import { type Grey, scale, toValues } from "./picture.ts";
import { Refusal, Server, place, takeKey } from "./server.ts";
import { LANGUAGES, type Language, snippet } from "./snippets.ts";
import { describeTexts, embeds, forgetVectors, readTexts, writeTexts } from "./texts.ts";

/** Larger pictures are too much for an editor; they can be sent as files. */
const MAX_DRAWN_SIDE = 64;
/** MNIST's size, whose pictures are prepared in a way of their own. */
const MNIST_SIDE = 28;
/** How long after a stroke it is sent, unless another follows. */
const PAUSE_MS = 500;

const key = byId<HTMLInputElement>("key");
const models = byId<HTMLSelectElement>("models");
const dialect = byId<HTMLSelectElement>("dialect");
const body = byId<HTMLTextAreaElement>("body");
const texts = byId<HTMLTextAreaElement>("texts");
const file = byId<HTMLInputElement>("file");
const language = byId<HTMLSelectElement>("language");
const picturePreview = byId<HTMLImageElement>("preview");

// Before anything that may fail.
const sentKey = takeKey();
const { base, model: named } = place();
const server = new Server(base, sentKey);
const figures = new Figures(server);
const board = new Board(drawn);

let model: Model | null = null;
let catalogue: Catalogue = new Map();
let values: Values | null = null;
/** What was typed, or read from a file, in a dialect: no other one writes over it. */
const typed = new Map<Dialect, string>();
let attached: File | null = null;
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
  showSections();
  fillSelect(models, [...catalogue.keys()].map((known) => [known, known]), model?.name ?? "");
  byId("switch").hidden = catalogue.size === 0 || (model !== null && catalogue.size === 1);
  if (found.status === "fulfilled") {
    show(byId("page-error"), null);
    present(found.value);
    return;
  }
  const error: unknown = found.reason;
  entitle(name ?? "score", "");
  figures.show("");
  show(byId("page-error"), message(error));
  if (error instanceof Refusal && error.retryAfterSeconds !== null) {
    setTimeout(() => void (turn === opened && open(name)), error.retryAfterSeconds * 1000);
  }
}

/** Without a model there is nothing to send, and nothing to tell but why. */
function showSections(): void {
  for (const section of document.querySelectorAll<HTMLElement>("main section")) section.hidden = model === null;
}

function entitle(name: string, version: string): void {
  document.title = name === "score" ? name : `${name} · score`;
  byId("name").textContent = name;
  byId("version").textContent = version;
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function present(shown: Model): void {
  entitle(shown.name, `version ${shown.version}`);
  presentFacts(shown);
  const accepted = catalogue.get(shown.name) ?? [];
  // All outputs can be asked for in this dialect alone.
  const answers = shown.answers_with;
  // A map or a sequence is two tensors, of which the other bears a name within its own.
  const belongs = (name: string) => answers.some((own) => name === own || name.startsWith(`${own}.`));
  const chosen = shown.outputs.every(({ name }) => belongs(name)) ? FIRST : PROTOCOL;
  fillSelect(dialect, offered(shown, accepted).map((name) => [name, name]), chosen);
  file.accept = pickable(accepted);
  const side = Math.max(shown.picture?.width ?? Infinity, shown.picture?.height ?? Infinity);
  byId("drawing").hidden = side > MAX_DRAWN_SIDE;
  board.clear();
  if (shown.picture && side <= MAX_DRAWN_SIDE) {
    const { width, height } = shown.picture;
    preview({ width, height, shades: new Float64Array(width * height) });
  }
  byId("writing").hidden = !embeds(shown);
  const languages = Object.entries(LANGUAGES).filter(([name]) => name !== "openai" || embeds(shown));
  const isOffered = languages.some(([name]) => name === language.value);
  fillSelect(language, languages, isOffered ? language.value : "curl");
  detach();
  clearAnswer();
  forgetVectors();
  showError(null);
  typed.clear();
  useSample();
  figures.show(shown.name);
}

function presentFacts(shown: Model): void {
  const list = (specs: TensorSpec[]): string => specs.map(describe).join("; ") || "none";
  const facts: [string, string][] = [
    ["Inputs", list(shown.inputs)],
    ...(shown.optional_inputs.length > 0 ? [["Optional inputs", list(shown.optional_inputs)] as [string, string]] : []),
    ["Outputs", list(shown.outputs)],
    ...(shown.text && embeds(shown) ? [["Texts", describeTexts(shown.text)] as [string, string]] : []),
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

function useSample(): void {
  if (!model) return;
  values = sampleValues(model);
  typed.delete(chosenDialect());
  if (embeds(model)) texts.value = writeTexts(writtenTexts() ?? []);
  writeBody();
}

/** The texts that the body says, unless it was typed or comes from a file. */
function writtenTexts(): string[] | null {
  const [input] = model?.inputs ?? [];
  const own = model && input && embeds(model) && !attached && !typed.has(chosenDialect());
  return own ? ((values?.[input.name] as string[] | undefined) ?? null) : null;
}

function takeTexts(): void {
  const [input] = model?.inputs ?? [];
  if (!input) return;
  values = { [input.name]: readTexts(texts.value) };
  detach();
  typed.clear();
  writeBody();
}

function writeBody(): void {
  if (!model) return;
  const written = values ? (write(chosenDialect(), model, values) ?? "") : "";
  body.value = typed.get(chosenDialect()) ?? written;
  body.placeholder = values ? "" : "The model's rows are too large for a sample.";
  writeSnippet();
}

function writeSnippet(): void {
  if (!model) return;
  byId("snippet").textContent = snippet(language.value as Language, {
    url: location.origin + server.path(model.name),
    contentType: attached ? contentType(attached) : bodyType(),
    body: attached ? { file: attached.name } : { text: body.value },
    withKey: server.key !== "",
    embeddings: { baseUrl: `${location.origin}${server.base}/v1`, model: model.name, texts: writtenTexts() ?? readTexts(texts.value) },
  });
}

function chosenDialect(): Dialect {
  return dialect.value as Dialect;
}

function bodyType(): string {
  return typeOf(chosenDialect());
}

function drawn(grey: Grey | null): void {
  clearTimeout(pause);
  const [input] = model?.inputs ?? [];
  if (!model?.picture || !input) return;
  const { width, height, channels, shape } = model.picture;
  const asMnist = channels === 1 && width === MNIST_SIDE && height === MNIST_SIDE;
  const empty = { width, height, shades: new Float64Array(width * height) };
  const picture = grey ? scale(grey, width, height, asMnist) : empty;
  preview(picture);
  values = { [input.name]: nest(toValues(picture, model.picture, input.datatype), shape) };
  detach();
  typed.clear();
  writeBody();
  if (grey) pause = setTimeout(() => void score(), PAUSE_MS);
}

async function attach(chosen: File): Promise<void> {
  if (contentType(chosen) === "application/json") {
    detach();
    const asked = model;
    const text = await chosen.text();
    if (asked !== model) return;
    dialect.value = dialectOf(text);
    typed.set(chosenDialect(), text);
    writeBody();
  } else {
    detach();
    attached = chosen;
    byId("attached-name").textContent = `${chosen.name}, ${contentType(chosen)}, ${chosen.size} bytes`;
    byId("attached").hidden = false;
    body.disabled = true;
    if (contentType(chosen).startsWith("image/")) {
      picturePreview.src = URL.createObjectURL(chosen);
      picturePreview.hidden = false;
    }
    writeSnippet();
  }
  await score();
}

function detach(): void {
  attached = null;
  file.value = "";
  if (picturePreview.src) URL.revokeObjectURL(picturePreview.src);
  picturePreview.removeAttribute("src");
  picturePreview.hidden = true;
  byId("attached").hidden = true;
  body.disabled = false;
}

async function score(): Promise<void> {
  clearTimeout(pause);
  if (!model) return;
  const asked = model;
  const turn = ++sent;
  const what = attached ?? body.value;
  const type = attached ? contentType(attached) : bodyType();
  const under = attached ? null : memberOfAnswer(chosenDialect());
  const written = writtenTexts();
  byId("answer").setAttribute("aria-busy", "true");
  const start = performance.now();
  try {
    const response = await server.post(server.path(asked.name), what, type);
    const text = await response.text();
    const milliseconds = performance.now() - start;
    if (turn !== sent || asked !== model) return;
    showError(null);
    showAnswer(asked, { text, headers: response.headers, milliseconds, under, texts: written });
  } catch (error) {
    if (turn !== sent || asked !== model) return;
    clearAnswer("No answer.");
    showError(message(error));
  } finally {
    if (turn === sent) byId("answer").setAttribute("aria-busy", "false");
  }
}

async function copy(): Promise<void> {
  const said = byId("copied");
  try {
    await navigator.clipboard.writeText(byId("snippet").textContent ?? "");
    said.textContent = "Copied.";
  } catch {
    // Not allowed, or not over TLS.
    getSelection()?.selectAllChildren(byId("snippet"));
    said.textContent = "Selected; copy it with Ctrl+C.";
  }
  setTimeout(() => (said.textContent = ""), 4000);
}

key.value = server.key;
key.addEventListener("change", () => {
  server.key = key.value.trim();
  writeSnippet();
  if (model) figures.show(model.name);
  else void open(place().model);
});
models.addEventListener("change", () => {
  history.pushState(null, "", server.path(models.value));
  void open(models.value);
});
addEventListener("popstate", () => void open(place().model));
dialect.addEventListener("change", () => {
  detach();
  writeBody();
});
byId("sample").addEventListener("click", () => {
  detach();
  useSample();
});
file.addEventListener("change", () => {
  const [chosen] = file.files ?? [];
  if (chosen) void attach(chosen);
});
byId("detach").addEventListener("click", () => {
  detach();
  writeSnippet();
  body.focus();
});
takeDrops(byId("request"), (dropped) => void attach(dropped));
texts.addEventListener("input", takeTexts);
body.addEventListener("input", () => {
  typed.set(chosenDialect(), body.value);
  writeSnippet();
});
byId("send").addEventListener("click", () => void score());
byId("request").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    void score();
  }
});
language.addEventListener("change", writeSnippet);
byId("copy").addEventListener("click", () => void copy());
showSections();
void open(named);

// The same call as code, in the language that is chosen.

import { byId, element } from "./dom.ts";
import type { Outgoing } from "./input.ts";
import type { Model } from "./model.ts";
import type { Server } from "./server.ts";
import { type Call, LANGUAGES, type Language, snippet } from "./snippets.ts";
import { taskOf } from "./text_forms.ts";

/** Larger bodies are read from a file by the code. */
const MAX_WRITTEN = 1_000_000;
/** How long after a change the code of a large body follows. */
const WAIT_MS = 300;
const SMALL = 50_000;

export class Code {
  private language: Language = "curl";
  private call: Call | null = null;
  private why = "";
  private timer: ReturnType<typeof setTimeout> | undefined;
  private length = 0;

  constructor(private readonly server: Server) {
    byId("copy").addEventListener("click", () => void this.copy());
  }

  show(model: Model, outgoing: () => Outgoing): void {
    clearTimeout(this.timer);
    const write = (): void => {
      try {
        this.call = this.callOf(model, outgoing());
      } catch (error) {
        this.call = null;
        this.why = (error as Error).message;
      }
      this.write();
    };
    if (this.length < SMALL) write();
    else this.timer = setTimeout(write, WAIT_MS);
  }

  private callOf(model: Model, { path, type, body, texts, values }: Outgoing): Call {
    const { base, key } = this.server;
    this.length = body instanceof File ? 0 : body.length;
    const isLong = this.length > MAX_WRITTEN;
    const name = body instanceof File ? body.name : type === "text/csv" ? "body.csv" : "body.json";
    const known = values && !isLong;
    return {
      url: location.origin + base + path,
      contentType: type,
      body: body instanceof File || isLong ? { file: name } : { text: body },
      withKey: key !== "",
      ...(texts && known && taskOf(model) === "embedding" ? { embeddings: { baseUrl: `${location.origin}${base}/v1`, model: model.name, texts } } : {}),
      ...(known ? { tensors: { server: location.host, prefix: base, isSecure: location.protocol === "https:", model: model.name, inputs: model.inputs, values } } : {}),
    };
  }

  private write(): void {
    const { call } = this;
    const offered = (Object.keys(LANGUAGES) as Language[]).filter((name) => {
      if (name === "openai") return call?.embeddings !== undefined;
      return name !== "tritonclient" || call?.tensors !== undefined;
    });
    const chosen = offered.includes(this.language) ? this.language : "curl";
    const tabs = offered.map((name) => {
      const tab = element("button", { type: "button", "aria-pressed": String(name === chosen) }, LANGUAGES[name]);
      tab.dataset["language"] = name;
      tab.addEventListener("click", () => {
        this.language = name;
        this.write();
        byId("languages").querySelector<HTMLElement>("[aria-pressed=true]")?.focus();
      });
      return tab;
    });
    byId("languages").replaceChildren(...tabs);
    byId("snippet").textContent = call ? snippet(chosen, call) : this.why;
    byId<HTMLButtonElement>("copy").disabled = call === null;
  }

  private async copy(): Promise<void> {
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
}

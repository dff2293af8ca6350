// The same call as code. The Functions key never stands in it: it is read from the environment.

import type { Values } from "./fields.ts";
import { csharp } from "./snippets/csharp.ts";
import { curl } from "./snippets/curl.ts";
import { javascript } from "./snippets/javascript.ts";
import { openai, python, tritonclient } from "./snippets/python.ts";
import type { TensorSpec } from "./model.ts";

export const LANGUAGES = {
  curl: "curl",
  python: "Python",
  openai: "openai",
  tritonclient: "tritonclient",
  javascript: "JavaScript",
  csharp: "C#",
} as const;
export type Language = keyof typeof LANGUAGES;

export interface Call {
  url: string;
  contentType: string;
  /** The text of the body, or the name of the file that holds it. */
  body: { text: string } | { file: string };
  withKey: boolean;
  /** The same for OpenAI's client, for models that answer vectors of texts. */
  embeddings?: { baseUrl: string; model: string; texts: string[] };
  /** The same for Triton's client, which takes arrays. */
  tensors?: { server: string; prefix: string; isSecure: boolean; model: string; inputs: TensorSpec[]; values: Values };
}

export function snippet(language: Language, call: Call): string {
  switch (language) {
    case "curl":
      return curl(call);
    case "python":
      return python(call);
    case "openai":
      return openai(call);
    case "tritonclient":
      return tritonclient(call);
    case "javascript":
      return javascript(call);
    case "csharp":
      return csharp(call);
  }
}

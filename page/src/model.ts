// What the server tells about a model.

import type { Server } from "./server.ts";

export interface TensorSpec {
  name: string;
  datatype: string;
  /** `null` if the model declares none. */
  shape: number[] | null;
}

/** How a picture becomes the model's one input. */
export interface Picture {
  width: number;
  height: number;
  channels: number;
  layout: "hw" | "chw" | "hwc";
  shape: number[];
  scale: number;
  mean: number[];
  std: number[];
}

/** What becomes of a text. */
export interface TextModel {
  task: string;
  tokenizer: string;
  pooling: string;
  normalize: boolean;
  dimensions: number;
  max_tokens: number;
  truncate: string;
}

export interface Model {
  name: string;
  version: string;
  digest: string;
  inputs: TensorSpec[];
  optional_inputs: TensorSpec[];
  outputs: TensorSpec[];
  answers_with: string[];
  rows: { treated: string; because: string; reason: string };
  deterministic: boolean | null;
  memoized: boolean;
  labels?: string[];
  picture?: Picture;
  text?: TextModel;
  sample_request: { data: unknown } | null;
  cache?: { policy: string };
}

interface OpenApi {
  paths: Record<string, { post?: { tags?: string[] } }>;
  components: { requestBodies: Record<string, { content: Record<string, unknown> }> };
}

/** The models there are, each with the content types it takes. */
export type Catalogue = Map<string, string[]>;

export async function loadModel(server: Server, name: string | null): Promise<Model> {
  const response = await server.get(name === null ? server.base : server.path(name));
  const document = await response.json();
  if (!Array.isArray(document.models)) return document;
  // Several models and no default: the first that could be loaded.
  const models: (Model & { error?: string })[] = document.models;
  const [first] = models.filter((model) => model.error === undefined);
  if (!first) throw new Error("No model could be loaded.");
  return first;
}

/** Loaded models and their formats, from the OpenAPI document. */
export async function loadCatalogue(server: Server): Promise<Catalogue> {
  const document: OpenApi = await (await server.get(`${server.base}/openapi.json?all`)).json();
  const bodies = Object.entries(document.components.requestBodies);
  const plain = bodies.filter(([name]) => name.endsWith(".request"));
  return new Map(plain.map(([name, body]) => [name.slice(0, -".request".length), Object.keys(body.content)]));
}

export function describe(spec: TensorSpec): string {
  if (spec.shape === null) return `${spec.name}: ${spec.datatype} of any shape`;
  const axes = spec.shape.map((length) => (length < 0 ? "?" : String(length)));
  return `${spec.name}: ${spec.datatype} [${axes.join(", ")}]`;
}

// What the server tells about a model.

import { axes } from "./arrays.ts";
import { parse } from "./json.ts";
import type { Server } from "./server.ts";

export interface TensorSpec {
  name: string;
  datatype: string;
  /** `null` if the model declares none. */
  shape: number[] | null;
}

export interface InputSpec extends TensorSpec {
  /** The names of a matrix's columns. */
  columns?: string[];
  /** Other names that tables may have for it. */
  aliases?: string[];
  /** Whether empty cells are NaN. */
  missing?: "nan";
  /** For each column, the values that the model knows; null if it takes any. */
  categories?: ((string | number)[] | null)[];
}

export interface OutputSpec extends TensorSpec {
  /** The names of its classes. */
  labels?: string[];
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
  max_tokens: number;
  truncate: string;
  /** Of models that embed. */
  pooling?: string;
  normalize?: boolean;
  dimensions?: number;
  /** Of models that classify or tag. */
  labels?: string[];
}

export interface Model {
  name: string;
  version: string;
  digest: string;
  inputs: InputSpec[];
  optional_inputs: InputSpec[];
  outputs: OutputSpec[];
  answers_with: string[];
  rows: { treated: string; because: string; reason: string };
  deterministic: boolean | null;
  memoized: boolean;
  labels?: string[];
  picture?: Picture;
  text?: TextModel;
  sample_request: { data: unknown } | null;
  /** Rows that came with the model: lists, or objects by the names of inputs or columns. */
  samples?: unknown[];
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
  const document = parse(await response.text()) as Model | { models: (Model & { error?: string })[] };
  if (!("models" in document)) return document;
  // Several models and no default: the first that could be loaded.
  const [first] = document.models.filter((model) => model.error === undefined);
  if (!first) {
    const reasons = document.models.map(({ name: failed, error }) => `${failed}: ${error}`);
    throw new Error(`No model could be loaded. ${reasons.join("; ")}`);
  }
  return first;
}

/** Loaded models and their formats, from the OpenAPI document. */
export async function loadCatalogue(server: Server): Promise<Catalogue> {
  const document: OpenApi = await (await server.get(`${server.base}/openapi.json?all`)).json();
  const bodies = Object.entries(document.components.requestBodies);
  const plain = bodies.filter(([name]) => name.endsWith(".request"));
  return new Map(plain.map(([name, body]) => [name.slice(0, -".request".length), Object.keys(body.content)]));
}

const WORDS: Record<string, string> = { BYTES: "text", BOOL: "true or false", STRING: "text" };

export function describe(spec: TensorSpec): string {
  if (spec.shape === null) return `${spec.name}: ${spec.datatype} of any shape`;
  const axes = spec.shape.map((length) => (length < 0 ? "?" : String(length)));
  return `${spec.name}: ${WORDS[spec.datatype] ?? spec.datatype} [${axes.join(", ")}]`;
}

/** What the model does, in one line below its name. */
export function summarize({ inputs, outputs, picture, text }: Model): string {
  const names = outputs.map(({ name }) => name);
  // A map is two tensors, of which one bears a name within the other's.
  const answers = list(names.filter((name) => !names.some((own) => name.startsWith(`${own}.`))));
  if (picture) return `Pictures of ${picture.width} × ${picture.height} to ${answers}`;
  const task = text && TASKS[text.task];
  if (task) return text.dimensions === undefined ? task : `${task} of ${text.dimensions} numbers`;
  return `${describeInputs(inputs)} to ${answers}`;
}

function describeInputs(inputs: InputSpec[]): string {
  const [only, ...others] = inputs;
  if (!only) return "Nothing";
  const isWhole = ({ shape }: InputSpec) => shape === null || shape.length === 0 || (shape[0] ?? 0) > 1;
  if (inputs.some(isWhole)) {
    if (others.length > 0) return `${inputs.length} inputs`;
    return only.shape?.length === 0 ? "One value" : `${only.shape === null ? "Any number of" : axes(only.shape)} values`;
  }
  // The first axis is that of rows.
  const rows = inputs.map(({ shape }) => (shape ?? []).slice(1));
  if (others.length === 0 && (rows[0]?.length ?? 0) > 1) return `Rows of ${axes(rows[0] ?? [])} values`;
  if (rows.flat().some((length) => length < 0)) return others.length === 0 ? "Rows of any number of values" : `Rows of ${inputs.length} inputs`;
  const count = rows.map((axes) => axes.reduce((product, length) => product * length, 1)).reduce((sum, width) => sum + width, 0);
  if (count === 1 && only.datatype === "BYTES") return "Texts";
  return `Rows of ${count.toLocaleString("en")} ${count === 1 ? "value" : "values"}`;
}

const TASKS: Record<string, string> = {
  embedding: "Texts to vectors",
  sparse: "Texts to weighted words",
  classify: "Texts to labels",
  tag: "Texts to the entities in them",
  rerank: "Texts ranked by a query",
};

const list = (names: string[]): string => (names.length > 3 ? `${names.length} outputs` : names.join(" and "));

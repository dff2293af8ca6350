// Files that are sent as they are, or whose text goes into the editor.

import type { Model } from "./model.ts";
import { taskOf } from "./text_forms.ts";

/** Content types by the ends of names; browsers know no npy. */
const TYPES: Record<string, string> = {
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  webp: "image/webp",
  npy: "application/x-npy",
  csv: "text/csv",
  json: "application/json",
  bin: "application/octet-stream",
};

export function contentType(file: File): string {
  const end = file.name.split(".").at(-1)?.toLowerCase() ?? "";
  return TYPES[end] ?? (file.type || "application/octet-stream");
}

/** What a file picker should offer: pictures only for models that are said to take them, and what the page itself reads. */
export function pickable(accepted: string[], model: Model, readsNumbers: boolean): string {
  const seen = model.picture !== undefined || model.inputs[0]?.shape?.length === 4;
  const fits = (type: string) => accepted.includes(type) && (seen || !type.startsWith("image/"));
  const ends = Object.entries(TYPES).filter(([, type]) => fits(type));
  const texts = taskOf(model) ? ["txt", "jsonl"] : [];
  const read = readsNumbers ? ["csv", "tsv", "txt"] : [];
  return [...new Set([...ends.map(([end]) => end), ...texts, ...read])].map((end) => `.${end}`).join(",");
}

/** Files that hold a text on each line. */
export const isTextFile = ({ name }: File): boolean => /\.(txt|jsonl|ndjson)$/i.test(name);

/** Larger files are not for a field. */
const MAX_NUMBERS_BYTES = 4_000_000;

/** Files of numbers that a field can show. */
export const isNumbersFile = ({ name, size }: File): boolean => /\.(csv|tsv|txt)$/i.test(name) && size <= MAX_NUMBERS_BYTES;

const START_BYTES = 2000;
const START_LINES = 5;

/** The first lines of a table; null for what is no text. */
export async function startOf(file: File): Promise<string | null> {
  if (!contentType(file).startsWith("text/")) return null;
  const text = await file.slice(0, START_BYTES).text();
  return text.split("\n").slice(0, START_LINES).join("\n");
}

/**
 * Calls `dropped` with the first file that is dropped onto the place. Beside it none is taken: the browser would open it
 * instead of the page, and the key would be lost with that.
 */
export function takeDrops(place: HTMLElement, dropped: (file: File) => void): void {
  const onFile = (type: "dragover" | "drop", act: (transfer: DataTransfer, isOver: boolean) => void): void =>
    addEventListener(type, (event) => {
      const transfer = event.dataTransfer;
      // Text is moved between fields as ever.
      if (!transfer?.types.includes("Files")) return;
      event.preventDefault();
      act(transfer, place.contains(event.target as Node));
    });
  onFile("dragover", (transfer, isOver) => {
    place.classList.toggle("dropping", isOver);
    if (!isOver) transfer.dropEffect = "none";
  });
  onFile("drop", ({ files: [file] }, isOver) => {
    place.classList.remove("dropping");
    if (isOver && file) dropped(file);
  });
  addEventListener("dragleave", ({ relatedTarget }) => {
    if (!relatedTarget) place.classList.remove("dropping");
  });
}

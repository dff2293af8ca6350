// Files that are sent as they are, or whose text goes into the editor.

/** Content types by the ends of names; browsers know no npy. */
const TYPES: Record<string, string> = {
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  npy: "application/x-npy",
  csv: "text/csv",
  json: "application/json",
  bin: "application/octet-stream",
};

export function contentType(file: File): string {
  const end = file.name.split(".").at(-1)?.toLowerCase() ?? "";
  return TYPES[end] ?? (file.type || "application/octet-stream");
}

/** What a file picker should offer. */
export function pickable(accepted: string[]): string {
  const ends = Object.entries(TYPES).filter(([, type]) => accepted.includes(type));
  return ends.map(([end]) => `.${end}`).join(",");
}

/** Calls `dropped` with the first file that is dropped onto the place. */
export function takeDrops(place: HTMLElement, dropped: (file: File) => void): void {
  place.addEventListener("dragover", (event) => {
    event.preventDefault();
    place.classList.add("dropping");
  });
  place.addEventListener("dragleave", (event) => {
    if (!place.contains(event.relatedTarget as Node | null)) place.classList.remove("dropping");
  });
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    place.classList.remove("dropping");
    const file = event.dataTransfer?.files[0];
    if (file) dropped(file);
  });
}

// Elements, without markup in strings.

type Child = Node | string;

/** The element that index.html has under this id. */
export function byId<T extends Element = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element ${id}`);
  return found as unknown as T;
}

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function svg(tag: string, attributes: Record<string, string>, ...children: Child[]): SVGElement {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Changes a text in place, and only if it is another one, so that it is not read out again. */
export function setText(place: HTMLElement, text: string): void {
  const [only] = place.childNodes;
  if (!(only instanceof Text)) place.textContent = text;
  else if (only.data !== text) only.data = text;
}

/** Shows a message, or hides the place for it. */
export function show(place: HTMLElement, message: string | null): void {
  place.textContent = message ?? "";
  place.hidden = message === null;
}

export function fillSelect(select: HTMLSelectElement, choices: [value: string, text: string][], chosen: string): void {
  select.replaceChildren(...choices.map(([value, text]) => element("option", { value }, text)));
  select.value = chosen;
}

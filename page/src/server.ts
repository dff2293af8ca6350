// Calls to the server this page came from.

const ADDRESS = /^(.*?\/api\/score)(?:\/([^/]+))?\/?$/i;

/** Where the page is: the path all others lie below, and the model it names. */
export function place(): { base: string; model: string | null } {
  const found = ADDRESS.exec(location.pathname);
  const model = found?.[2];
  return { base: found?.[1] ?? "/api/score", model: model === undefined ? null : decoded(model) };
}

/** The text of a part of the address; as it stands there if it is not the escaped form of any text. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Takes the Functions key out of the address, so that neither history nor a shared link holds it. */
export function takeKey(): string {
  const url = new URL(location.href);
  const key = url.searchParams.get("code") ?? "";
  if (url.searchParams.has("code")) {
    url.searchParams.delete("code");
    history.replaceState(history.state, "", url);
  }
  return key;
}

/** What the server answered other than success; its own words where it gave some. */
export class Refusal extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly retryAfterSeconds: number | null,
  ) {
    super(message);
  }
}

export class Server {
  /** Sent as a header with every call; lives in this page's memory alone. */
  key: string;

  constructor(
    readonly base: string,
    key: string,
  ) {
    this.key = key;
  }

  path(model: string): string {
    return `${this.base}/${encodeURIComponent(model)}`;
  }

  async get(path: string, accept = "application/json"): Promise<Response> {
    return this.call(path, { headers: { accept } });
  }

  async post(path: string, body: BodyInit, contentType: string): Promise<Response> {
    return this.call(path, { method: "POST", body, headers: { accept: "application/json", "content-type": contentType } });
  }

  private async call(path: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.key) headers.set("x-functions-key", this.key);
    let response: Response;
    try {
      response = await fetch(path, { ...init, headers, credentials: "same-origin" });
    } catch {
      throw new Refusal("The server cannot be reached.", 0, null);
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }
}

async function refusal(response: Response): Promise<Refusal> {
  const retry = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  const text = await response.text();
  return new Refusal(words(response.status, text), response.status, Number.isNaN(retry) ? null : retry);
}

function words(status: number, text: string): string {
  try {
    const { error } = JSON.parse(text);
    if (typeof error === "string") return `${status}: ${error}`;
    if (typeof error?.message === "string") {
      return `${status} ${error.code}: ${error.message}${error.target ? ` (at ${error.target})` : ""}`;
    }
  } catch {
    // Not from the handler: the Functions host, or what stands before it.
  }
  if (status === 401 || status === 403) return `${status}: the Functions key is missing or not the right one`;
  return `${status}: ${text.slice(0, 500) || "no further words"}`;
}

// The built handler with a few models and a broken one, and the browser that looks at it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const repository = fileURLToPath(new URL("../..", import.meta.url));

function needed(path, how) {
  if (!path || !existsSync(path)) throw new Error(`${path ?? "a program"} is missing: ${how}`);
  return path;
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

// What hangs in a test, or is left by one that failed, ends with its file, which takes a minute at most.
setTimeout(() => {
  console.error("the file was not done after 4 minutes");
  process.exit(1);
}, 240_000).unref();

/** Waits until a program writes a line, and lets the test file end without an end of the program. */
async function whenSaid(child, line, mistake) {
  process.once("exit", () => child.kill());
  await new Promise((resolve, reject) => {
    child.once("error", () => reject(new Error(mistake)));
    child.once("exit", (code) => reject(new Error(`${child.spawnfile} ended with ${code}`)));
    createInterface(child.stdout).on("line", (found) => line.test(found) && resolve());
  });
  child.unref();
  child.stdout.unref();
}

/** Waits until a metric of the handler has a value above zero. */
export async function counted({ address }, metric) {
  const value = new RegExp(`^${metric}(\\{[^}]*\\})? [1-9]`, "m");
  while (!value.test(await (await fetch(`${address}/api/score/metrics`)).text())) await delay(20);
}

/** Starts a Redis that keeps nothing on disk. */
export async function startRedis() {
  const port = await freePort();
  const child = spawn("redis-server", ["--port", String(port), "--save", "", "--bind", "127.0.0.1"]);
  await whenSaid(child, /Ready to accept connections/, "redis-server is missing: apt-get install redis-server");
  return { url: `redis://127.0.0.1:${port}`, stop: () => child.kill() };
}

const IRIS = `labels = ["setosa", "versicolor", "virginica"]
[inputs.x]
columns = ["sepal length", "sepal width", "petal length", "petal width"]
`;

function add(root, name, model, options) {
  mkdirSync(join(root, "models", name));
  writeFileSync(join(root, "models", name, "model.onnx"), model);
  if (options) writeFileSync(join(root, "models", name, "model.toml"), options);
}

/** Starts the handler on a free port, with more models than the usual ones if they are given. */
export async function startHandler(settings = {}, models = {}) {
  const program = needed(process.env.HANDLER ?? join(repository, "target/debug/handler"), "run `cargo build`");
  const runtime = needed(join(repository, "bin/libonnxruntime.so.1"), "run `make runtime`");
  const root = mkdtempSync(join(tmpdir(), "page-"));
  mkdirSync(join(root, "models"));
  symlinkSync(join(repository, "models/mnist"), join(root, "models/mnist"));
  for (const name of ["affine", "identity_bool", "identity_int64", "identity_string", "keras", "mixed", "scalar", "zipmap"]) {
    mkdirSync(join(root, "models", name), { recursive: true });
    copyFileSync(join(repository, `tests/data/models/${name}.onnx`), join(root, "models", name, "model.onnx"));
  }
  for (const name of ["tiny", "rank", "label", "tag", "sparse"]) {
    symlinkSync(join(repository, "tests/data/text", name), join(root, "models", name));
  }
  add(root, "iris", readFileSync(join(repository, "tests/data/models/zipmap.onnx")), IRIS);
  for (const [name, { model, options, samples }] of Object.entries(models)) {
    add(root, name, model, options);
    if (samples) writeFileSync(join(root, "models", name, "samples.json"), JSON.stringify(samples));
  }
  mkdirSync(join(root, "models/broken"));
  writeFileSync(join(root, "models/broken/model.onnx"), "no model at all");
  const port = await freePort();
  const env = { FUNCTIONS_APP_ROOT_PATH: root, ORT_DYLIB_PATH: runtime, SCORE_PORT: String(port), ...settings };
  const child = spawn(program, { env, stdio: ["ignore", "pipe", "inherit"] });
  await whenSaid(child, / listening /, `${program} cannot be started`);
  const stop = () => {
    child.kill();
    rmSync(root, { recursive: true });
  };
  return { address: `http://127.0.0.1:${port}`, stop };
}

export async function startBrowser(...more) {
  const executablePath = needed(process.env.CHROMIUM ?? "/usr/bin/chromium", "apt-get install chromium");
  // As root, which containers run tests as, Chromium starts without its sandbox only.
  return chromium.launch({ executablePath, args: [...(process.getuid?.() === 0 ? ["--no-sandbox"] : []), ...more] });
}

/** A page, and what went wrong in it: script errors, console errors, violations of the policy. */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") faults.push(message.text());
  });
  await page.goto(url);
  await page.locator("#tiles svg").first().waitFor();
  return { page, faults, close: () => context.close() };
}

/** Does something, and waits for the answer that it leads to. */
export async function answered(page, act) {
  const response = page.waitForResponse((found) => found.request().method() === "POST");
  await act();
  const found = await response;
  await found.finished();
  await page.locator("#answer[aria-busy=false]").waitFor();
  return found;
}

/** Shows the editor of that name. */
export const edit = (page, name) => page.locator("#modes").getByRole("button", { name, exact: true }).click();

/** Opens a model's page with the request's own text to be edited. */
export async function openRequest(browser, url) {
  const opened = await openPage(browser, url);
  await edit(opened.page, "Request");
  return opened;
}

/** The code that the page shows in a language. */
export async function codeIn(page, language) {
  await page.locator(`#languages [data-language=${language}]`).click();
  return page.locator("#snippet").textContent();
}

/** What dropping a file from the desktop does. */
export async function drop(page, name, mimeType, bytes) {
  const transfer = await page.evaluateHandle(
    ([fileName, type, content]) => {
      const made = new DataTransfer();
      made.items.add(new File([new Uint8Array(content)], fileName, { type }));
      return made;
    },
    [name, mimeType, [...bytes]],
  );
  await page.dispatchEvent("#request", "drop", { dataTransfer: transfer });
}

/** What pasting from a spreadsheet does. */
export async function paste(page, selector, text) {
  await page.locator(selector).first().evaluate((target, content) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", content);
    target.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
  }, text);
}

/** Draws a seven with the mouse. */
export async function drawSeven(page) {
  const { x, y, width } = await page.locator("#board").boundingBox();
  const to = (across, down) => [x + across * width, y + down * width];
  await page.mouse.move(...to(0.28, 0.22));
  await page.mouse.down();
  await page.mouse.move(...to(0.73, 0.21), { steps: 12 });
  await page.mouse.move(...to(0.45, 0.85), { steps: 18 });
  await page.mouse.up();
}

export async function readAnswer(page) {
  const bars = await page.locator("#bars .value").allTextContents();
  return {
    label: await page.locator("#label").textContent(),
    cache: await page.locator("#cache").textContent(),
    shares: bars.map((text) => Number.parseFloat(text)),
  };
}

export function assertNoFaults(faults) {
  assert.deepEqual(faults, []);
}

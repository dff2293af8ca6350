import assert from "node:assert/strict";
import { createServer } from "node:http";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import {
  answered,
  assertNoFaults,
  drawSeven,
  openPage,
  readAnswer,
  repository,
  startBrowser,
  startHandler,
  startRedis,
} from "./handler.mjs";

const LABELLED_SEVEN = JSON.parse(readFileSync(join(repository, "examples/mnist/seven.json"), "utf8")).data;

describe("the page", { timeout: 120_000 }, () => {
  let handler, browser;
  before(async () => {
    [handler, browser] = await Promise.all([startHandler(), startBrowser()]);
  });
  after(async () => {
    await browser?.close();
    handler?.stop();
  });

  const openModel = (path = "/api/score/mnist", options = {}) => openPage(browser, handler.address + path, options);

  /** A picture file made of a row of the sample model, by the browser. */
  async function pictureFile(page, type) {
    const row = LABELLED_SEVEN[0];
    const bytes = await page.evaluate(
      async ([shades, kind]) => {
        const canvas = new OffscreenCanvas(28, 28);
        const pixels = new ImageData(28, 28);
        shades.forEach((shade, index) => pixels.data.set([shade * 255, shade * 255, shade * 255, 255], index * 4));
        canvas.getContext("2d").putImageData(pixels, 0, 0);
        const blob = await canvas.convertToBlob({ type: kind, quality: 1 });
        return [...new Uint8Array(await blob.arrayBuffer())];
      },
      [row, type],
    );
    return Buffer.from(bytes);
  }

  /** What dropping a file from the desktop does. */
  async function drop(page, name, mimeType, bytes) {
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

  it("reads a drawn seven, and finds it when it is sent again", async () => {
    const { page, faults, close } = await openModel();
    await answered(page, () => drawSeven(page));
    const first = await readAnswer(page);
    assert.equal(first.label, "7");
    assert.equal(first.cache, "X-Cache: MISS");
    assert.equal(await page.locator("#writing").isVisible(), false);
    assert.equal(await page.locator("#language option[value=openai]").count(), 0);
    assert.equal(first.shares.length, 10);
    assert.equal(first.shares.indexOf(Math.max(...first.shares)), 7);
    assert.ok(first.shares[7] > 80, `${first.shares}`);
    await answered(page, () => page.click("#send"));
    assert.equal((await readAnswer(page)).cache, "X-Cache: HIT");
    for (const step of ["decode", "cache", "queue", "infer", "encode"]) {
      assert.match(await page.locator("#timing").textContent(), new RegExp(`${step}[\\d.]+ ms`));
    }
    assertNoFaults(faults);
    await close();
  });

  it("reads every sample digit, chosen by keyboard", async () => {
    const { page, faults, close } = await openModel();
    for (let digit = 0; digit < 10; digit++) {
      await page.getByRole("button", { name: `Draw a sample ${digit}` }).focus();
      await answered(page, () => page.keyboard.press("Enter"));
      assert.equal((await readAnswer(page)).label, String(digit));
    }
    assertNoFaults(faults);
    await close();
  });

  it("sends files with their content types, dropped or picked", async () => {
    const { page, faults, close } = await openModel();
    const png = await pictureFile(page, "image/png");
    const dropped = await answered(page, () => drop(page, "seven.png", "image/png", png));
    assert.equal(dropped.request().headers()["content-type"], "image/png");
    assert.equal((await readAnswer(page)).label, "7");
    assert.match(await page.locator("#snippet").textContent(), /image\/png[^]*@seven\.png/);
    assert.ok(await page.locator("#preview").evaluate((image) => image.decode().then(() => image.naturalWidth === 28)));
    const row = new Float32Array(LABELLED_SEVEN[0]);
    const head = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 784), }".padEnd(117) + "\n";
    const magic = Buffer.from([0x93, ...Buffer.from("NUMPY"), 1, 0, head.length, 0]);
    const npy = Buffer.concat([magic, Buffer.from(head), Buffer.from(row.buffer)]);
    for (const [name, type, bytes] of [
      ["seven.jpg", "image/jpeg", await pictureFile(page, "image/jpeg")],
      ["seven.npy", "application/x-npy", npy],
      ["seven.csv", "text/csv", Buffer.from(LABELLED_SEVEN[0].join(","))],
    ]) {
      const picked = await answered(page, () => page.setInputFiles("#file", { name, mimeType: "", buffer: bytes }));
      assert.equal(picked.request().headers()["content-type"], type);
      assert.equal((await readAnswer(page)).label, "7", name);
    }
    await page.getByRole("button", { name: "Remove file" }).click();
    assert.ok(await page.locator("#body").isEnabled());
    assertNoFaults(faults);
    await close();
  });

  it("sends a JSON file as JSON, in the dialect that it is written in", async () => {
    const { page, faults, close } = await openModel("/api/score/affine");
    for (const [dialect, text] of [
      ["Azure ML: data", '{"data": [[1, 2, 3]]}'],
      ["Azure ML: Inputs", '{"Inputs": {"data": [[1, 2, 3]]}}'],
      ["TensorFlow Serving: instances", '{"instances": [[1, 2, 3]]}'],
      ["TensorFlow Serving: inputs", '{"inputs": {"x": [[1, 2, 3]]}}'],
      ["MLflow: inputs", '{"inputs": [[1, 2, 3]]}'],
      ["Open Inference Protocol: inputs", '{"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}'],
    ]) {
      await page.selectOption("#dialect", "text/csv");
      const sent = await answered(page, () => drop(page, "request.json", "", Buffer.from(text)));
      assert.equal(sent.request().headers()["content-type"], "application/json");
      assert.equal(await page.locator("#table td").first().textContent(), "3, 5, 7");
      assert.equal(await page.locator("#dialect").inputValue(), dialect);
      assert.equal(await page.locator("#body").inputValue(), text);
      assert.match(await page.locator("#snippet").textContent(), /application\/json/);
    }
    assertNoFaults(faults);
    await close();
  });

  it("stays when a file is dropped beside the place for it", async () => {
    const folder = mkdtempSync(join(tmpdir(), "page-"));
    const path = join(folder, "one.csv");
    writeFileSync(path, "1,2,3\n");
    const { page, faults, close } = await openModel("/api/score/affine");
    const session = await page.context().newCDPSession(page);
    /** As if it came from the desktop: by the browser's own handling of files. */
    const dropAt = async (selector) => {
      await page.locator(selector).scrollIntoViewIfNeeded();
      const { x, y, width, height } = await page.locator(selector).boundingBox();
      const data = { items: [], files: [path], dragOperationsMask: 1 };
      for (const type of ["dragEnter", "dragOver", "drop"]) {
        await session.send("Input.dispatchDragEvent", { type, x: x + width / 2, y: y + height / 2, data });
      }
    };
    // Without a window the browser opens no file, so what it would do is asked of the event.
    await page.evaluate(() => {
      globalThis.over = [];
      const note = (event) => globalThis.over.push([event.defaultPrevented, event.dataTransfer.dropEffect]);
      addEventListener("dragover", note);
    });
    const address = page.url();
    for (const place of ["h1", "#answer", "#figures", "#key"]) {
      await dropAt(place);
      const over = await page.evaluate(() => globalThis.over.splice(0));
      assert.ok(over.length > 0 && over.every(([isKept, effect]) => isKept && effect === "none"), `${place}: ${over}`);
    }
    assert.equal(await page.locator("#headline").textContent(), "Nothing sent yet.");
    // A second one too, while the editor is disabled as the first is to be sent.
    for (const place of ["#send", "#body"]) {
      await answered(page, () => dropAt(place));
      assert.equal(await page.locator("#table td").first().textContent(), "3, 5, 7");
      assert.equal(await page.locator(".dropping").count(), 0);
    }
    assert.equal(page.url(), address);
    rmSync(folder, { recursive: true });
    assertNoFaults(faults);
    await close();
  });

  it("speaks every dialect", async () => {
    const { page, faults, close } = await openModel("/api/score/affine");
    const dialects = await page.locator("#dialect option").allTextContents();
    assert.equal(dialects.length, 10);
    for (const dialect of dialects) {
      await page.selectOption("#dialect", dialect);
      await answered(page, () => page.click("#send"));
      assert.equal(await page.locator("#table td").first().textContent(), "1, 1, 1", dialect);
    }
    assertNoFaults(faults);
    await close();
  });

  it("keeps what was typed in each dialect until the sample is asked for", async () => {
    const { page, faults, close } = await openModel();
    const body = page.locator("#body");
    const choose = (dialect) => page.selectOption("#dialect", dialect);
    await choose("Azure ML: data");
    await body.fill('{"data": "typed"}');
    await choose("text/csv");
    assert.match(await body.inputValue(), /^0(,0)+\n$/);
    await body.fill("1,2\n");
    await choose("Azure ML: data");
    assert.equal(await body.inputValue(), '{"data": "typed"}');
    assert.match(await page.locator("#snippet").textContent(), /"typed"/);
    await page.getByRole("button", { name: "Sample request" }).click();
    assert.match(await body.inputValue(), /^\{\s*"data": \[/);
    await choose("text/csv");
    assert.equal(await body.inputValue(), "1,2\n");
    // A drawing is one in all dialects.
    await answered(page, () => page.getByRole("button", { name: "Draw a sample 7" }).click());
    const drawn = await body.inputValue();
    assert.equal(drawn.split(",").length, 784);
    await choose("Azure ML: data");
    await choose("text/csv");
    assert.equal(await body.inputValue(), drawn);
    assertNoFaults(faults);
    await close();
  });

  it("shows outputs that are called as members of answers are", async () => {
    const { page, faults, close } = await openModel("/api/score/keras");
    for (const [dialect, body] of Object.entries({
      "Azure ML: data": { data: [[1, 2], [3, 4]] },
      "Azure ML: Inputs": { Inputs: { data: [[1, 2], [3, 4]] } },
      "TensorFlow Serving: instances": { instances: [[1, 2], [3, 4]] },
      "TensorFlow Serving: inputs": { inputs: { x: [[1, 2], [3, 4]] } },
      "Open Inference Protocol: inputs": { inputs: [{ name: "x", shape: [2, 2], datatype: "FP32", data: [1, 2, 3, 4] }] },
    })) {
      await page.selectOption("#dialect", dialect);
      await page.fill("#body", JSON.stringify(body));
      await answered(page, () => page.click("#send"));
      assert.deepEqual(await page.locator("#table thead th").allTextContents(), ["row", "outputs", "predictions"], dialect);
      const rows = await page.locator("#table td").allTextContents();
      assert.deepEqual(rows, ["2, 3", "2, 4", "4, 5", "6, 8"], dialect);
    }
    assertNoFaults(faults);
    await close();
  });

  it("shows whole numbers to the last digit", async () => {
    const { page, faults, close } = await openModel("/api/score/identity_int64");
    for (const [dialect, body] of Object.entries({
      "Azure ML: data": '{"data": [[9007199254740993, -9223372036854775807], [7, 9007199254740991]]}',
      "Open Inference Protocol: inputs": '{"inputs": [{"name": "x", "shape": [2, 2], "datatype": "INT64", "data": [9007199254740993, -9223372036854775807, 7, 9007199254740991]}]}',
    })) {
      await page.selectOption("#dialect", dialect);
      await page.fill("#body", body);
      await answered(page, () => page.click("#send"));
      const rows = await page.locator("#table td").allTextContents();
      assert.deepEqual(rows, ["9007199254740993, -9223372036854775807", "7, 9007199254740991"], dialect);
    }
    // One number a row makes the headline; this model has two.
    await page.route("**/identity_int64", (route) => route.fulfill({ body: "[9007199254740993]" }));
    await answered(page, () => page.click("#send"));
    assert.equal(await page.locator("#label").textContent(), "9007199254740993");
    assert.equal(await page.locator("#table td").textContent(), "9007199254740993");
    assertNoFaults(faults);
    await close();
  });

  it("shows a classifier's map as bars in every dialect", async () => {
    const { page, faults, close } = await openModel("/api/score/zipmap");
    assert.equal(await page.locator("#dialect").inputValue(), "Azure ML: data");
    const dialects = await page.locator("#dialect option").allTextContents();
    assert.equal(dialects.length, 10);
    for (const dialect of dialects) {
      await page.selectOption("#dialect", dialect);
      await answered(page, () => page.click("#send"));
      const { label, shares } = await readAnswer(page);
      assert.equal(label, "0", dialect);
      assert.deepEqual(shares, [100, 0, 0], dialect);
    }
    assertNoFaults(faults);
    await close();
  });

  it("tells of a broken model, and leads to the others", async () => {
    const page = await browser.newPage();
    await page.goto(`${handler.address}/api/score/broken`);
    const alert = page.locator("#page-error");
    await alert.waitFor();
    assert.match(await alert.textContent(), /503 model_not_loaded: model "broken" could not be loaded/);
    await page.getByLabel("Model", { exact: true }).selectOption("affine");
    await page.getByRole("heading", { level: 1, name: "affine" }).waitFor();
    assert.ok(!(await alert.isVisible()));
    await page.close();
  });

  it("shows nothing of the model before when the next one cannot be opened", async () => {
    const { page, close } = await openModel("/api/score/affine");
    const models = page.getByLabel("Model", { exact: true });
    const alert = page.locator("#page-error");
    const opens = async (name) => {
      await models.selectOption(name);
      await page.getByRole("heading", { level: 1, name }).waitFor();
    };
    for (const [away, words] of [
      [(route) => route.fulfill({ status: 503, body: "" }), /^503/],
      [(route) => route.abort(), /cannot be reached/],
    ]) {
      await page.route("**/api/score/**", away);
      await opens("mnist");
      assert.match(await alert.textContent(), words);
      assert.equal(await page.title(), "mnist · score");
      assert.equal(await page.locator("#version").textContent(), "");
      assert.equal(await page.locator("main section:visible").count(), 0);
      // Once it can be, it is there to be chosen again.
      await page.unroute("**/api/score/**");
      await opens("mnist");
      await page.locator("#drawing").waitFor();
      assert.ok(!(await alert.isVisible()));
      assert.equal(await page.locator("main section:visible").count(), 5);
      await opens("affine");
      await page.locator("#facts", { hasText: "x: FP32 [?, 3]" }).waitFor();
    }
    await close();
  });

  it("sends no stroke to the model that is chosen after it", async () => {
    const { page, faults, close } = await openModel();
    const asked = [];
    page.on("request", (request) => request.method() === "POST" && asked.push(new URL(request.url()).pathname));
    await page.getByRole("button", { name: "Draw a sample 7" }).click();
    await page.getByLabel("Model", { exact: true }).selectOption("affine");
    await page.getByRole("heading", { level: 1, name: "affine" }).waitFor();
    await page.waitForTimeout(800);
    assert.ok(!asked.includes("/api/score/affine"), `${asked}`);
    assert.equal(await page.locator("#headline").textContent(), "Nothing sent yet.");
    assertNoFaults(faults);
    await close();
  });

  it("goes from model to model, and back by the browser's button", async () => {
    const { page, faults, close } = await openModel("/api/score");
    await page.getByRole("heading", { level: 1, name: "affine" }).waitFor();
    assert.ok(!(await page.locator("#drawing").isVisible()));
    assert.match(await page.locator("#facts").textContent(), /x: FP32 \[\?, 3\]/);
    await page.getByLabel("Model", { exact: true }).selectOption("mnist");
    await page.getByRole("heading", { level: 1, name: "mnist" }).waitFor();
    assert.equal(new URL(page.url()).pathname, "/api/score/mnist");
    assert.ok(await page.locator("#drawing").isVisible());
    assert.match(await page.locator("#facts").textContent(), /x: FP32 \[\?, 784\].*independent: every operator keeps rows apart/);
    await page.goBack();
    await page.getByRole("heading", { level: 1, name: "affine" }).waitFor();
    await page.fill("#body", '{"data": [[1, 2, 3], [4, 5, 6]]}');
    await answered(page, () => page.locator("#body").press("Control+Enter"));
    assert.equal(await page.locator("#table tbody tr").count(), 2);
    assert.equal(await page.locator("#table td").nth(1).textContent(), "9, 11, 13");
    assert.match(await page.locator("#raw").textContent(), /^\[\[3(\.0)?,5/);
    assertNoFaults(faults);
    await close();
  });

  it("shows the server's words for a mistake next to the editor", async () => {
    const { page, close } = await openModel();
    for (const [body, words] of [
      ['{"data": [[1, 2', /400 invalid_input: .*EOF|400 invalid_input: /],
      ['{"data": [[1]]}', /input "x": expected float32 \[\?,784\], got \[1,1\] \(at data\)/],
    ]) {
      await page.fill("#body", body);
      await answered(page, () => page.click("#send"));
      const alert = page.locator("#request").getByRole("alert");
      assert.match(await alert.textContent(), words);
    }
    await page.getByRole("button", { name: "Sample request" }).click();
    await answered(page, () => page.click("#send"));
    assert.ok(!(await page.locator("#error").isVisible()));
    await close();
  });

  it("shows the vectors of texts, and how near they are", async () => {
    const { page, faults, close } = await openModel("/api/score/tiny");
    assert.equal(await page.locator("#drawing").isVisible(), false);
    await page.fill("#texts", "the red dog\n\nthe red dog\nan invoice for käse 🧀");
    for (const cache of ["X-Cache: MISS", "X-Cache: HIT"]) {
      const sent = await answered(page, () => page.locator("#texts").press("Control+Enter"));
      assert.deepEqual(JSON.parse(sent.request().postData()).inputs[0].data, ["the red dog", "the red dog", "an invoice for käse 🧀"]);
      assert.equal(await page.locator("#label").textContent(), "3 vectors");
      assert.equal(await page.locator("#cache").textContent(), cache);
      const [first, second, third] = await page.locator("#vectors li").allTextContents();
      assert.match(first, /^the red dog8 dimensions, norm 1\.0000, .*5 tokens/);
      assert.match(second, /cosine to the one before 1\.0000/);
      assert.match(third, /^an invoice for käse 🧀8 dimensions, norm 1\.0000, cosine to the one before 0\.\d{4}/);
    }
    const drawn = (canvas) => canvas.width === 8 && canvas.getContext("2d").getImageData(0, 0, 8, 1).data.some((shade) => shade > 0);
    assert.ok(await page.locator("#vectors canvas").first().evaluate(drawn));
    assert.match(await page.locator("#vectors canvas").first().getAttribute("aria-label"), /^Numbers from -0\.\d+ to 0\.\d+$/);
    // One after another.
    await page.fill("#texts", "the red dog");
    await answered(page, () => page.click("#send"));
    assert.equal(await page.locator("#label").textContent(), "1 vector");
    assert.match(await page.locator("#vectors li").textContent(), /cosine to the one before 0\.\d{4}/);
    // Texts with line breaks are written as a list; a long text is cut.
    await page.fill("#texts", JSON.stringify(["two\nlines", "invoice ".repeat(50)]));
    const sent = await answered(page, () => page.click("#send"));
    assert.deepEqual(JSON.parse(sent.request().postData()).inputs[0].data[0], "two\nlines");
    await page.selectOption("#language", "openai");
    const code = await page.locator("#snippet").textContent();
    assert.ok(code.includes(`base_url="${handler.address}/api/score/v1"`) && code.includes('model="tiny", input=["two\\nlines", '), code);
    assert.match(await page.locator("#facts").textContent(), /32 tokens at most \(WordPiece\), cut: right; pooling mean; 8 dimensions, normalized/);
    assert.match(await page.locator("#vectors li").nth(1).textContent(), /32 tokens, cut to the model's limit/);
    assertNoFaults(faults);
    await close();
  });

  it("leaves no answer beside an error that came after it", async () => {
    const { page, close } = await openModel("/api/score/tiny");
    await page.fill("#texts", "the cat");
    await answered(page, () => page.click("#send"));
    await page.fill("#body", '{"data": [1');
    await answered(page, () => page.click("#send"));
    assert.match(await page.locator("#request").getByRole("alert").textContent(), /400/);
    assert.equal(await page.locator("#headline").textContent(), "No answer.");
    for (const part of ["#vectors li", "#timing li", "#bars li"]) assert.equal(await page.locator(part).count(), 0, part);
    for (const part of ["#table", "#raw-part"]) assert.equal(await page.locator(part).isVisible(), false, part);
    await page.fill("#texts", "the cat");
    await answered(page, () => page.click("#send"));
    assert.equal(await page.locator("#label").textContent(), "1 vector");
    await close();
  });

  it("keeps the Functions key out of the address, the code and storage", async () => {
    const secret = "s3cr3t+key/with=signs";
    const seen = [];
    const context = await browser.newContext();
    const page = await context.newPage();
    page.on("request", (request) => seen.push(request));
    await page.goto(`${handler.address}/api/score/mnist?code=${encodeURIComponent(secret)}&theme=x`);
    await page.locator("#tiles svg").first().waitFor();
    assert.equal(page.url(), `${handler.address}/api/score/mnist?theme=x`);
    await answered(page, () => page.click("#send"));
    const [document, ...calls] = seen.filter((request) => request.url().startsWith(handler.address));
    assert.equal(document.resourceType(), "document");
    assert.ok(calls.length >= 4);
    for (const call of calls) {
      assert.equal(call.headers()["x-functions-key"], secret, call.url());
      assert.ok(!call.url().includes("code="), call.url());
      assert.equal(call.headers().referer ?? "", "");
    }
    assert.equal(await page.getByLabel("Functions key").getAttribute("type"), "password");
    for (const language of ["curl", "python", "csharp"]) {
      await page.selectOption("#language", language);
      const text = await page.locator("#snippet").textContent();
      assert.match(text, /FUNCTIONS_KEY/);
      assert.ok(!text.includes(secret));
    }
    assert.ok(!(await page.content()).includes(secret));
    const stored = await page.evaluate(() => localStorage.length + sessionStorage.length + document.cookie.length);
    assert.equal(stored, 0);
    await context.close();
  });

  it("takes the key out of the address where the page shows an error", async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    for (const [path, shown] of [["tulip?code=s3cr3t", "tulip"], ["%E0%A4%A?x=1&code=s3cr3t", "%E0%A4%A?x=1"], ["broken?code=s3cr3t", "broken"]]) {
      await page.goto(`${handler.address}/api/score/${path}`);
      await page.locator("#page-error").waitFor();
      assert.equal(page.url(), `${handler.address}/api/score/${shown}`);
    }
    await context.close();
  });

  it("asks for the key where the handler wants one", async () => {
    const keyed = await startHandler({ SCORE_API_KEYS: "first-key-0123456789" });
    const context = await browser.newContext();
    const page = await context.newPage();
    const address = `${keyed.address}/api/score/affine`;
    assert.equal((await page.goto(address)).status(), 401);
    const alert = page.locator("#page-error");
    await alert.waitFor();
    assert.match(await alert.textContent(), /^401 unauthorized: this server asks for a key/);
    await page.getByLabel("Functions key").fill("first-key-0123456789");
    await page.getByLabel("Functions key").press("Tab");
    await page.locator("#facts dt").first().waitFor();
    assert.ok(!(await alert.isVisible()));
    assert.equal((await page.goto(`${address}?code=wrong`)).status(), 401);
    await alert.waitFor();
    assert.match(await alert.textContent(), /not one of this server's/);
    assert.equal(page.url(), address);
    assert.equal((await page.goto(`${address}?code=first-key-0123456789`)).status(), 200);
    await context.close();
    keyed.stop();
  });

  it("lets pages of listed origins call, and no others", async () => {
    const page = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<title>app</title>"));
    await new Promise((resolve) => page.listen(0, "127.0.0.1", resolve));
    const origin = `http://app.example:${page.address().port}`;
    const keyed = await startHandler({ SCORE_API_KEYS: "first-key-0123456789", SCORE_CORS_ORIGINS: origin });
    // Another site, as far as the browser knows; and a name of that site's for this machine.
    const app = await startBrowser("--host-resolver-rules=MAP app.example 127.0.0.1, MAP evil.example 127.0.0.1");
    const call = async (from, url) => {
      const tab = await app.newPage();
      await tab.goto(from);
      const found = await tab.evaluate(async ([url]) => {
        try {
          const headers = { "content-type": "application/json", authorization: "Bearer first-key-0123456789", "x-stainless-os": "Linux" };
          const answer = await fetch(url, { method: "POST", headers, body: '{"data":[[1,2,3]]}' });
          return [answer.status, await answer.text(), answer.headers.get("x-cache"), answer.headers.get("x-request-id") !== null];
        } catch (error) {
          return [0, error.name, null, false];
        }
      }, [url]);
      await tab.close();
      return found;
    };
    const target = `${keyed.address}/api/score/affine`;
    assert.deepEqual(await call(origin, target), [200, "[[3.0,5.0,7.0]]", "MISS", true]);
    const evil = origin.replace("app.", "evil.");
    assert.deepEqual(await call(evil, target), [0, "TypeError", null, false]);
    // A name that an attacker has moved to this address, so that the browser takes the page for the server's own.
    const rebound = target.replace("127.0.0.1", "evil.example");
    const tab = await app.newPage();
    assert.equal((await tab.goto(rebound)).status(), 403);
    await app.close();
    page.close();
    keyed.stop();
  });

  it("asks for the key where the host wants one", async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    // The Functions host lets the page through by the key in its address, and refuses calls without a key.
    await page.route("**/api/score/**", (route) => {
      const isDocument = route.request().resourceType() === "document";
      const hasKey = route.request().headers()["x-functions-key"] === "k";
      return isDocument || hasKey ? route.continue() : route.fulfill({ status: 401, body: "" });
    });
    await page.goto(`${handler.address}/api/score/mnist`);
    const alert = page.locator("#page-error");
    await alert.waitFor();
    assert.match(await alert.textContent(), /401: the Functions key is missing/);
    await page.getByLabel("Functions key").fill("k");
    await page.getByLabel("Functions key").press("Tab");
    await page.locator("#drawing").waitFor();
    assert.ok(!(await alert.isVisible()));
    await context.close();
  });

  it("tells what was found in Redis from what was found in the process", async () => {
    const redis = await startRedis();
    const [first, second] = await Promise.all([0, 1].map(() => startHandler({ REDIS_URL: redis.url })));
    const seen = [];
    for (const { address } of [first, second, second]) {
      const { page, close } = await openPage(browser, `${address}/api/score/mnist`);
      await answered(page, () => page.getByRole("button", { name: "Draw a sample 3" }).click());
      const { cache } = await readAnswer(page);
      // What is remembered is written behind the answer, and figures are read every two seconds.
      await page.waitForTimeout(2500);
      const tier = (name) => page.locator("#tiles li", { hasText: name }).locator(".number").textContent();
      seen.push([cache, await tier("Found in process"), await tier("Found in Redis")]);
      await close();
    }
    assert.deepEqual(seen, [
      ["X-Cache: MISS", "0 %", "0 %"],
      ["X-Cache: HIT", "0 %", "100 %"],
      ["X-Cache: HIT", "50 %", "50 %"],
    ]);
    first.stop();
    second.stop();
    redis.stop();
  });

  it("shows latencies where the server counts them", async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    let reading = 0;
    let counted = false;
    await page.route("**/api/score/metrics", async (route) => {
      const response = await route.fetch();
      const others = (await response.text()).split("\n").filter((line) => !line.includes("score_request_seconds"));
      const all = 100 * ++reading;
      const label = 'model="mnist"';
      const lines = [
        "# TYPE score_request_seconds histogram",
        `score_request_seconds_sum{${label}} 1`,
        `score_request_seconds_count{${label}} ${all}`,
        `score_request_seconds_bucket{${label},le="0.001"} 0`,
        `score_request_seconds_bucket{${label},le="0.002"} ${all} # {trace_id="{a}"} 0.0015 1.5`,
        `score_request_seconds_bucket{${label},le="+Inf"} ${all}`,
      ];
      await route.fulfill({ response, body: [...(counted ? lines : []), ...others].join("\n") });
    });
    await page.goto(`${handler.address}/api/score/mnist`);
    await page.locator("#tiles svg").first().waitFor();
    assert.equal(await page.locator("#tiles li", { hasText: "Latency" }).count(), 0);
    counted = true;
    const tile = page.locator("#tiles li", { hasText: "Latency p50" });
    await tile.waitFor();
    assert.equal(await tile.locator(".number").textContent(), "1.50 ms");
    await context.close();
  });

  /** A page whose time stands still but for `pass`, which tells how often figures were asked for since it was last called. */
  async function openWithFigures(answer) {
    const context = await browser.newContext();
    const page = await context.newPage();
    let [asked, ended, told] = [0, 0, 0];
    const isForFigures = (request) => request.url().endsWith("/metrics");
    page.on("request", (request) => (asked += isForFigures(request)));
    for (const end of ["requestfinished", "requestfailed"]) page.on(end, (request) => (ended += isForFigures(request)));
    await page.route("**/api/score/metrics", answer);
    await page.clock.install({ time: 0 });
    await page.clock.pauseAt(1000);
    await page.goto(`${handler.address}/api/score/mnist`);
    await page.locator("#figures-state").filter({ hasText: /./ }).waitFor();
    told = asked;
    const pass = async (seconds) => {
      await page.clock.runFor(seconds * 1000);
      do await new Promise((resolve) => setTimeout(resolve, 150));
      while (ended < asked);
      const since = asked - told;
      told = asked;
      return since;
    };
    return { page, pass, close: () => context.close() };
  }

  it("asks for figures less often while it gets none", async () => {
    let failure = { status: 503, body: "" };
    const { page, pass, close } = await openWithFigures((route) =>
      failure === null ? route.continue() : failure === "away" ? route.abort() : route.fulfill(failure),
    );
    const state = page.locator("#figures-state");
    assert.match(await state.textContent(), /^No new figures; asking less often. 503/);
    for (const [seconds, next] of [[4, { status: 401, body: "" }], [8, "away"], [16, "away"], [32, "away"], [60, "away"], [60, null]]) {
      assert.equal(await pass(seconds - 0.1), 0, `${seconds} s`);
      failure = next;
      assert.equal(await pass(0.1), 1, `${seconds} s`);
    }
    assert.match(await state.textContent(), /^Read every two seconds/);
    assert.equal(await pass(1.9), 0);
    assert.equal(await pass(0.1), 1);
    failure = { status: 503, body: "" };
    assert.equal(await pass(2), 1);
    assert.equal(await pass(3.9), 0);
    assert.equal(await pass(0.1), 1);
    await close();
  });

  it("pauses its figures, and asks for none while it is hidden", async () => {
    const { page, pass, close } = await openWithFigures((route) => route.continue());
    assert.equal(await pass(2), 1);
    const button = page.getByRole("button", { name: "Pause figures" });
    assert.equal(await button.getAttribute("aria-pressed"), "false");
    await button.focus();
    await page.keyboard.press("Space");
    assert.equal(await button.getAttribute("aria-pressed"), "true");
    assert.equal(await page.locator("#figures").getByRole("status").textContent(), "Paused.");
    assert.equal(await pass(300), 0);
    await page.keyboard.press("Space");
    assert.equal(await button.getAttribute("aria-pressed"), "false");
    assert.match(await page.locator("#figures").getByRole("status").textContent(), /^Read every/);
    assert.equal(await pass(0), 1);
    assert.equal(await pass(2), 1);
    const hide = (hidden) =>
      page.evaluate((isHidden) => {
        Object.defineProperty(document, "hidden", { configurable: true, value: isHidden });
        document.dispatchEvent(new Event("visibilitychange"));
      }, hidden);
    await hide(true);
    assert.equal(await pass(300), 0);
    await hide(false);
    assert.equal(await pass(0), 1);
    assert.equal(await pass(2), 1);
    await close();
  });

  it("changes its figures where they stand", async () => {
    const { page, pass, close } = await openWithFigures((route) => route.continue());
    await page.evaluate(() => {
      const texts = [...document.querySelectorAll("#tiles .number")].map((number) => number.firstChild);
      globalThis.kept = [...document.querySelectorAll("#tiles *"), ...texts];
    });
    const path = page.locator("#tiles path").first();
    const before = await path.getAttribute("d");
    await answered(page, () => page.click("#send"));
    for (let reading = 0; reading < 2; reading++) assert.equal(await pass(2), 1);
    assert.notEqual(await path.getAttribute("d"), before);
    assert.ok(await page.evaluate(() => globalThis.kept.length > 30 && globalThis.kept.every((node) => node.isConnected)));
    await close();
  });

  it("counts what it sends", async () => {
    const { page, faults, close } = await openModel("/api/score/affine");
    const tile = page.locator("#tiles li", { hasText: /^Rows\d/ }).locator(".number");
    const before = Number(await tile.textContent());
    await page.fill("#body", '{"data": [[7, 8, 9], [7, 8, 9], [1, 8, 9]]}');
    await answered(page, () => page.click("#send"));
    await page.waitForFunction(
      (expected) => [...document.querySelectorAll("#tiles li")].some((li) => li.textContent.startsWith(`Rows${expected}`)),
      before + 3,
    );
    const titles = await page.locator("#tiles li > :first-child").allTextContents();
    for (const title of ["Requests", "Found in process", "Found in Redis", "Time saved"]) {
      assert.ok(titles.includes(title), `${titles}`);
    }
    assertNoFaults(faults);
    await close();
  });
});

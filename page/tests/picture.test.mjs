import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { answered, assertNoFaults, drawSeven, drop, openPage, readAnswer, repository, startBrowser, startHandler } from "./handler.mjs";

const LABELLED_SEVEN = JSON.parse(readFileSync(join(repository, "examples/mnist/seven.json"), "utf8")).data;

describe("pictures", { timeout: 120_000 }, () => {
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

  it("reads a drawn seven, and finds it when it is sent again", async () => {
    const { page, faults, close } = await openModel();
    await answered(page, () => drawSeven(page));
    const first = await readAnswer(page);
    assert.equal(first.label, "7");
    assert.equal(first.cache, "MISS");
    assert.equal(await page.locator("#writing").isVisible(), false);
    assert.equal(await page.locator("#languages [data-language=openai]").count(), 0);
    assert.equal(first.shares.length, 10);
    assert.equal(first.shares.indexOf(Math.max(...first.shares)), 7);
    assert.ok(first.shares[7] > 80, `${first.shares}`);
    await answered(page, () => page.click("#send"));
    assert.equal((await readAnswer(page)).cache, "HIT");
    for (const step of ["decode", "cache", "queue", "infer", "encode"]) {
      assert.match(await page.locator("#timing").textContent(), new RegExp(`${step} [\\d.]+ ms`));
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
    assert.ok(await page.locator("#board").isVisible());
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
    for (const place of ["h1", "#answer-title", "#metrics", "#key"]) {
      await dropAt(place);
      const over = await page.evaluate(() => globalThis.over.splice(0));
      assert.ok(over.length > 0 && over.every(([isKept, effect]) => isKept && effect === "none"), `${place}: ${over}`);
    }
    assert.equal(await page.locator("#answer-state").textContent(), "Nothing sent yet.");
    // A second one too, while the first is still to be sent.
    for (const place of ["#send", "#attached"]) {
      await answered(page, () => dropAt(place));
      assert.deepEqual(await page.locator("#bars .value").allTextContents(), ["3", "5", "7"]);
      assert.equal(await page.locator(".dropping").count(), 0);
    }
    assert.equal(page.url(), address);
    rmSync(folder, { recursive: true });
    assertNoFaults(faults);
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
    assert.equal(await page.locator("#answer-state").textContent(), "Nothing sent yet.");
    assertNoFaults(faults);
    await close();
  });
});

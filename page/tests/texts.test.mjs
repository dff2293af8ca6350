import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { answered, assertNoFaults, codeIn, edit, openPage, startBrowser, startHandler } from "./handler.mjs";

describe("texts", { timeout: 120_000 }, () => {
  let handler, browser;
  before(async () => {
    [handler, browser] = await Promise.all([startHandler(), startBrowser()]);
  });
  after(async () => {
    await browser?.close();
    handler?.stop();
  });

  const openModel = (path = "/api/score/mnist", options = {}) => openPage(browser, handler.address + path, options);

  it("shows the vectors of texts, and how near they are", async () => {
    const { page, faults, close } = await openModel("/api/score/tiny");
    assert.equal(await page.locator("#drawing").isVisible(), false);
    await page.fill("#texts", "the red dog\n\nthe red dog\nan invoice for käse 🧀");
    for (const cache of ["MISS", "HIT"]) {
      const sent = await answered(page, () => page.locator("#texts").press("Control+Enter"));
      assert.deepEqual(JSON.parse(sent.request().postData()).input, ["the red dog", "the red dog", "an invoice for käse 🧀"]);
      assert.equal(await page.locator("#label").textContent(), "3 vectors");
      assert.equal(await page.locator("#cache").textContent(), cache);
      const [first, second, third] = await page.locator("#vectors li").allTextContents();
      assert.match(first, /^the red dogdimensions 8norm 1\.0000/);
      assert.match(second, /cosine to the one before 1\.0000/);
      assert.match(third, /^an invoice for käse 🧀dimensions 8norm 1\.0000cosine to the one before 0\.\d{4}/);
    }
    const drawn = (canvas) => canvas.width === 8 && canvas.getContext("2d").getImageData(0, 0, 8, 1).data.some((shade) => shade > 0);
    assert.ok(await page.locator("#vectors canvas").first().evaluate(drawn));
    assert.match(await page.locator("#vectors canvas").first().getAttribute("aria-label"), /^Numbers from -0\.\d+ to 0\.\d+$/);
    // One after another.
    await page.fill("#texts", "the red dog");
    await answered(page, () => page.click("#send"));
    assert.equal(await page.locator("#label").textContent(), "1 vector");
    assert.match(await page.locator("#vectors li").textContent(), /tokens 5cosine to the one before 0\.\d{4}/);
    // Texts with line breaks are written as a list; a long text is cut.
    await page.fill("#texts", JSON.stringify(["two\nlines", "invoice ".repeat(50)]));
    const sent = await answered(page, () => page.click("#send"));
    assert.deepEqual(JSON.parse(sent.request().postData()).input[0], "two\nlines");
    const code = await codeIn(page, "openai");
    assert.ok(code.includes(`base_url="${handler.address}/api/score/v1"`) && /model="tiny", input=\[\s*"two\\nlines",/.test(code), code);
    assert.match(await page.locator("#facts").textContent(), /32 tokens at most \(WordPiece\), cut: right; pooling mean; 8 dimensions, normalized/);
    assert.match(await page.locator("#marks").textContent(), /1 cut to the model's limit/);
    // The protocol tells each text's tokens.
    await edit(page, "Request");
    await page.selectOption("#dialect", "Open Inference Protocol: inputs");
    await answered(page, () => page.click("#send"));
    assert.match(await page.locator("#vectors li").nth(1).textContent(), /tokens 32cut to the model's limit/);
    assertNoFaults(faults);
    await close();
  });
});

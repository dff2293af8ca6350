import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { answered, assertNoFaults, codeIn, drop, edit, openPage, startBrowser, startHandler } from "./handler.mjs";

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

  it("ranks texts for a query", async () => {
    const { page, faults, close } = await openModel("/api/score/rank");
    await page.fill("#query", "who found the cat?");
    await page.fill("#texts", "The cat is lost.\nhe paid the invoice in the blue house\nkäse 🧀 the river");
    for (const cache of ["MISS", "HIT"]) {
      const sent = await answered(page, () => page.locator("#query").press("Control+Enter"));
      assert.equal(new URL(sent.url()).pathname, "/api/score/rank/rerank");
      const { query, texts } = JSON.parse(sent.request().postData());
      assert.deepEqual([query, texts.length], ["who found the cat?", 3]);
      assert.equal(await page.locator("#cache").textContent(), cache);
      const items = await page.locator("#ranking li").allTextContents();
      assert.equal(items.length, 3);
      assert.match(items[0], /^käse 🧀 the river0\.56/);
      assert.match(items[2], /^he paid the invoice in the blue house0\.22/);
    }
    // The same pairs in every dialect.
    await edit(page, "Request");
    for (const [dialect, rows] of [["Azure ML: data", 3], ["MLflow: dataframe_records", 3], ["text/csv", 3]]) {
      await page.selectOption("#dialect", dialect);
      const sent = await answered(page, () => page.click("#send"));
      assert.equal(sent.status(), 200, dialect);
      assert.equal(await page.locator("#table tbody tr").count(), rows, dialect);
      assert.equal(await page.locator("#cache").textContent(), "HIT", dialect);
    }
    assertNoFaults(faults);
    await close();
  });

  it("marks entities in their texts", async () => {
    const { page, faults, close } = await openModel("/api/score/tag");
    const text = "🧀 Ann <b>lives</b> in käse Oslo";
    await page.fill("#texts", `${text}\nx`);
    const sent = await answered(page, () => page.click("#send"));
    const [entities] = await sent.json();
    assert.equal(await page.locator("#spans p").count(), 2);
    const marks = await page.locator("#spans p").first().locator("mark bdi").allTextContents();
    assert.deepEqual(marks, entities.map(({ start, end }) => [...text].slice(start, end).join("")));
    const labels = await page.locator("#spans p").first().locator("mark .label").allTextContents();
    assert.deepEqual(labels, entities.map((entity) => entity.entity_group));
    const plain = await page.locator("#spans p").first().evaluate((line) => {
      for (const label of line.querySelectorAll(".label")) label.remove();
      return line.textContent;
    });
    assert.equal(plain, text);
    assertNoFaults(faults);
    await close();
  });

  it("shows the labels of texts, and weighted words", async () => {
    const { page, faults, close } = await openModel("/api/score/label");
    await page.fill("#texts", "the cat");
    await answered(page, () => page.click("#send"));
    assert.equal(await page.locator("#label").textContent(), "positive");
    assert.deepEqual((await page.locator("#bars .class").allTextContents()).sort(), ["negative", "neutral", "positive"]);
    await page.fill("#texts", "the cat\na dog");
    await answered(page, () => page.click("#send"));
    assert.match(await page.locator("#table tbody").innerText(), /the cat\s+positive \d+\.\d %\s+2\s+a dog\s+negative/);
    await page.getByLabel("Model", { exact: true }).selectOption("sparse");
    await page.getByRole("heading", { level: 1, name: "sparse" }).waitFor();
    await page.fill("#texts", "the cat");
    await answered(page, () => page.click("#send"));
    assert.match(await page.locator("#bars li").first().textContent(), /^word \d+\d\.\d+$/);
    assert.equal(await page.locator("#bars li").count(), 10);
    assertNoFaults(faults);
    await close();
  });

  it("reads the texts of a file", async () => {
    const { page, faults, close } = await openModel("/api/score/tiny");
    const lines = ['{"id": 1, "text": "the red dog"}', '"käse"', "plain words"];
    const sent = await answered(page, () => drop(page, "texts.jsonl", "", Buffer.from(lines.join("\r\n"))));
    assert.deepEqual(JSON.parse(sent.request().postData()).input, ["the red dog", "käse", "plain words"]);
    assert.equal(await page.locator("#vectors li").count(), 3);
    assertNoFaults(faults);
    await close();
  });
});

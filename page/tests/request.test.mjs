import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { answered, assertNoFaults, drop, edit, openRequest, readAnswer, startBrowser, startHandler } from "./handler.mjs";

describe("requests", { timeout: 120_000 }, () => {
  let handler, browser;
  before(async () => {
    [handler, browser] = await Promise.all([startHandler(), startBrowser()]);
  });
  after(async () => {
    await browser?.close();
    handler?.stop();
  });


  it("sends a JSON file as JSON, in the dialect that it is written in", async () => {
    const { page, faults, close } = await openRequest(browser, `${handler.address}/api/score/affine`);
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
      assert.deepEqual(await page.locator("#bars .value").allTextContents(), ["3", "5", "7"]);
      assert.equal(await page.locator("#dialect").inputValue(), dialect);
      assert.equal(await page.locator("#body").inputValue(), text);
      assert.match(await page.locator("#snippet").textContent(), /application\/json/);
    }
    assertNoFaults(faults);
    await close();
  });

  it("has a field and no table for a model without rows", async () => {
    const { page, faults, close } = await openRequest(browser, `${handler.address}/api/score/iris`);
    await page.getByLabel("Model", { exact: true }).selectOption("scalar");
    await page.getByRole("heading", { level: 1, name: "scalar" }).waitFor();
    assert.deepEqual(await page.locator("#modes button").allTextContents(), ["Form", "Request"]);
    await edit(page, "Request");
    const body = JSON.parse(await page.locator("#body").inputValue());
    assert.deepEqual(body, { data: 0 });
    await page.fill("#body", '{"data": 3}');
    await answered(page, () => page.click("#send"));
    assert.equal(await page.locator("#label").textContent(), "9");
    assertNoFaults(faults);
    await close();
  });

  it("speaks every dialect", async () => {
    const { page, faults, close } = await openRequest(browser, `${handler.address}/api/score/affine`);
    const dialects = await page.locator("#dialect option").allTextContents();
    assert.equal(dialects.length, 10);
    for (const dialect of dialects) {
      await page.selectOption("#dialect", dialect);
      await answered(page, () => page.click("#send"));
      assert.deepEqual(await page.locator("#bars .value").allTextContents(), ["1", "1", "1"], dialect);
    }
    assertNoFaults(faults);
    await close();
  });

  it("keeps what was typed in each dialect until the sample is asked for", async () => {
    const { page, faults, close } = await openRequest(browser, `${handler.address}/api/score/mnist`);
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
    await edit(page, "Draw");
    await answered(page, () => page.getByRole("button", { name: "Draw a sample 7" }).click());
    await edit(page, "Request");
    await choose("text/csv");
    const drawn = await body.inputValue();
    assert.equal(drawn.split(",").length, 784);
    await choose("Azure ML: data");
    await choose("text/csv");
    assert.equal(await body.inputValue(), drawn);
    assertNoFaults(faults);
    await close();
  });

  it("shows outputs that are called as members of answers are", async () => {
    const { page, faults, close } = await openRequest(browser, `${handler.address}/api/score/keras`);
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
    const { page, faults, close } = await openRequest(browser, `${handler.address}/api/score/identity_int64`);
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
    assertNoFaults(faults);
    await close();
  });

  it("shows a classifier's map as bars in every dialect", async () => {
    const { page, faults, close } = await openRequest(browser, `${handler.address}/api/score/zipmap`);
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

  it("shows the server's words for a mistake next to the editor", async () => {
    const { page, close } = await openRequest(browser, `${handler.address}/api/score/mnist`);
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
});

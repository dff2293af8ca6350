// Signals, series, wide rows without names, and models without rows: arrays that people paste, and answers of any form.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { answered, assertNoFaults, drop, edit, openPage, paste, repository, startBrowser, startHandler } from "./handler.mjs";
import { identity } from "./onnx.mjs";

const floats = (name, shape) => ({ name, datatype: "FP32", shape });
const range = (length, start = 0) => Array.from({ length }, (_, index) => index + start);
const MODELS = {
  signal: { model: identity([floats("signal", [null, 1, 128])]) },
  hours: { model: identity([floats("seq", [null, 24, 7])]) },
  steps: { model: identity([floats("seq", [null, null, 3])]) },
  tokens: { model: identity([{ name: "ids", datatype: "INT64", shape: [null, null] }]) },
  matrix: { model: identity([floats("x", [3, 4])]) },
  wide: { model: identity([floats("x", [null, 600])]), samples: [range(600, 1)] },
  photo: { model: identity([floats("x", [null, 3, 8, 8])]) },
  named: { model: identity([floats("input_image", [null, 9, 5])]) },
  features: { model: identity([floats("image_features", [null, 9, 5])]) },
  several: {
    model: identity([
      { name: "ids", datatype: "INT64", width: 1 },
      { name: "שם", datatype: "BYTES", width: 1 },
      { name: "half", datatype: "FP16", width: 1 },
      floats("threshold", []),
    ]),
  },
  pieces: { model: readFileSync(join(repository, "tests/data/models/pieces.onnx")) },
};

describe("arrays", { timeout: 120_000 }, () => {
  let handler, browser;
  before(async () => {
    [handler, browser] = await Promise.all([startHandler({}, MODELS), startBrowser()]);
  });
  after(async () => {
    await browser?.close();
    handler?.stop();
  });

  const openModel = (name, options) => openPage(browser, `${handler.address}/api/score/${name}`, options);
  const modes = (page) => page.locator("#modes button").allTextContents();
  const send = async (page, act = () => page.click("#send")) => JSON.parse((await answered(page, act)).request().postData()).data;

  it("has a form for signals and series, and a board or a place for files for pictures alone", async () => {
    for (const [name, expected] of Object.entries({
      signal: ["Form", "Table", "Request"],
      hours: ["Form", "Table", "Request"],
      matrix: ["Form", "Request"],
      features: ["Form", "Table", "Request"],
      photo: ["Draw", "Request"],
      named: ["Draw", "Request"],
    })) {
      const { page, faults, close } = await openModel(name);
      assert.deepEqual(await modes(page), expected, name);
      assert.equal((await answered(page, () => page.click("#send"))).status(), 200, name);
      assertNoFaults(faults);
      await close();
    }
  });

  it("reads what people paste for a series: cells, JSON, prints", async () => {
    const { page, faults, close } = await openModel("steps");
    const field = page.getByLabel("seq", { exact: true });
    assert.equal(await field.inputValue(), "0, 0, 0");
    for (const [written, expected] of [
      ["1\t2\t3\n4\t5\t6", [[1, 2, 3], [4, 5, 6]]],
      ["1,5\t2,25\t3\r\n4\t5\t6\r\n", [[1.5, 2.25, 3], [4, 5, 6]]],
      ["a;b;c\n1,5;2;3", [[1.5, 2, 3]]],
      ["x,y,z\n1,2,3\n4,5,6\n", [[1, 2, 3], [4, 5, 6]]],
      ["[[1, 2, 3], [4, 5, 6]]", [[1, 2, 3], [4, 5, 6]]],
      ["[[[1, 2, 3]]]", [[1, 2, 3]]],
      ["[1, 2, 3, 4, 5, 6]", [[1, 2, 3], [4, 5, 6]]],
      ["[[1. 2. 3.]\n [4. 5. 6.e-2]]", [[1, 2, 3], [4, 5, 0.06]]],
      ["array([[1., 2., nan]], dtype=float32)", [[1, 2, "NaN"]]],
      ["tensor([[ 1.0, -2.0, inf]], device='cuda:0')", [[1, -2, "Infinity"]]],
      ["c(1, 2, 3)", [[1, 2, 3]]],
    ]) {
      await field.fill(written);
      assert.deepEqual(await send(page), [expected], written);
    }
    for (const [written, words] of [
      ["1 2 3 4", /^seq: has 4 numbers; the model takes a multiple of 3 \(\? × 3\)\.$/],
      ["1, 2, x", /^seq: number 3, "x", is not a number\.$/],
      ["[0. 0. ... 0.]", /^seq: number 3, "\.\.\.", is not a number\.$/],
      ["", /^seq: is empty\.$/],
      ['{"data": 1}', /^seq: is not a list as JSON writes it, of \? × 3 numbers\.$/],
    ]) {
      await field.fill(written);
      await page.click("#send");
      assert.match(await page.locator("#error").textContent(), words);
      assert.equal(await page.locator("#headline").innerText(), "No answer.");
    }
    assertNoFaults(faults);
    await close();
  });

  it("takes rows of 600 numbers from the sample, the clipboard and files", async () => {
    const { page, faults, close } = await openModel("wide");
    assert.equal(await page.locator("#fields textarea").count(), 1);
    assert.deepEqual(await send(page), [range(600, 1)]);
    assert.equal(await page.locator("#vectors li .text").first().textContent(), "row 1");
    await paste(page, "#field-0", [range(600, 5), range(600, 7)].map((row) => row.join("\t")).join("\n"));
    assert.equal(await page.locator("#grid tbody tr").count(), 2);
    assert.deepEqual(await send(page), [range(600, 5), range(600, 7)]);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    await edit(page, "Form");
    const file = await answered(page, () => drop(page, "rows.csv", "text/csv", Buffer.from(range(600, 2).join(","))));
    assert.equal(file.request().headers()["content-type"], "text/csv");
    await page.getByRole("button", { name: "Remove file" }).click();
    assert.deepEqual(await send(page, () => drop(page, "row.txt", "text/plain", Buffer.from(range(600, 3).join("\n")))), [range(600, 3)]);
    assertNoFaults(faults);
    await close();
  });

  it("puts a file of a series into its field, and keeps lines apart in the table", async () => {
    const { page, faults, close } = await openModel("hours");
    assert.match(await page.locator("#hint").textContent(), /^Paste numbers .*: npy, json, bin, csv, tsv, txt$/);
    const lines = range(24).map((hour) => range(7, hour).join(","));
    const rows = range(24).map((hour) => range(7, hour));
    assert.deepEqual(await send(page, () => drop(page, "day.csv", "text/csv", Buffer.from(`a,b,c,d,e,f,g\n${lines.join("\n")}\n`))), [rows]);
    await edit(page, "Table");
    await page.getByRole("button", { name: "Add a row" }).click();
    await paste(page, '[data-row="1"]', lines.join("\n").replaceAll(",", "\t"));
    assert.deepEqual(await send(page), [rows, rows]);
    assertNoFaults(faults);
    await close();
  });

  it("sends lists of any length, whole matrices and scalars", async () => {
    const tokens = await openModel("tokens");
    await tokens.page.getByLabel("ids", { exact: true }).fill("101, 9007199254740993, 102");
    assert.match((await answered(tokens.page, () => tokens.page.click("#send"))).request().postData(), /\[\[101,9007199254740993,102\]\]/);
    const matrix = await openModel("matrix");
    await matrix.page.getByLabel("x", { exact: true }).fill("1 2 3 4\n5 6 7 8\n9 10 11 12");
    assert.deepEqual(await send(matrix.page), [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]);
    assert.match(await matrix.page.locator("#marks").textContent(), /1 row,/);
    for (const { faults, close } of [tokens, matrix]) {
      assertNoFaults(faults);
      await close();
    }
  });

  it("names every output, and the numbers that are none", async () => {
    const { page, faults, close } = await openModel("several", { viewport: { width: 360, height: 740 } });
    await page.getByLabel("ids", { exact: true }).fill("7");
    await page.getByLabel("שם", { exact: true }).fill("א".repeat(3000));
    await page.getByLabel("half", { exact: true }).fill("inf");
    await page.getByLabel("threshold", { exact: true }).fill("0.5");
    assert.deepEqual(await send(page), { ids: [[7]], שם: [["א".repeat(3000)]], half: [["Infinity"]], threshold: 0.5 });
    assert.equal(await page.locator("#label-of").textContent(), "out0");
    assert.equal(await page.locator("#label").textContent(), "7");
    assert.deepEqual(await page.locator("#outputs dt").allTextContents(), ["out1", "out2", "out3"]);
    const [text, ...others] = await page.locator("#outputs dd").allTextContents();
    assert.equal(text, `${"א".repeat(1000)}…`);
    assert.deepEqual(others, ["Infinity", "0.5"]);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    assertNoFaults(faults);
    await close();
  });

  it("shows a sequence as one value", async () => {
    const { page, faults, close } = await openModel("pieces");
    await paste(page, "#field-0", "1\n2\n3");
    await answered(page, () => page.click("#send"));
    assert.equal(await page.locator("#label").textContent(), "2 items");
    assert.equal(await page.locator("#outputs dd").textContent(), "[1], [2, 3]");
    assert.match(await page.locator("#marks").textContent(), /3 rows,/);
    assert.equal(await page.locator("#table").isVisible(), false);
    assert.match(await page.locator("#calls li").first().textContent(), /^2 items3 rows/);
    assertNoFaults(faults);
    await close();
  });
});

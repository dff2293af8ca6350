// Forms and tables made of a model's signature, and what people type and paste into them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { answered, assertNoFaults, edit, openPage, paste, repository, startBrowser, startHandler } from "./handler.mjs";
import { identity } from "./onnx.mjs";

const STRANGE = ['a "quoted" name', "<img src=x onerror=alert(1)>", "שם פרטי", "🧀 price", "it's", "a.b[0]", "back\\slash", "tab in", "constructor", "__proto__"];
const MODELS = {
  wide: {
    model: identity([{ name: "x", datatype: "FP32", width: 300 }]),
    options: `[inputs.x]\ncolumns = [${Array.from({ length: 300 }, (_, column) => `"column ${column}"`)}]\n`,
  },
  many: { model: identity([...STRANGE, ...Array.from({ length: 10 }, (_, index) => `input ${index}`)].map((name) => ({ name, datatype: "FP32", width: 1 }))) },
  ids: { model: identity([{ name: "id", datatype: "INT64" }, { name: "amount", datatype: "FP32" }]), options: '[inputs.amount]\nmissing = "nan"\n' },
  shirts: {
    model: readFileSync(join(repository, "tests/data/learned/categories.onnx")),
    options: '[inputs.x]\ncolumns = ["colour", "size"]\n',
    samples: [["green", "M"], ["red", "XL"]],
  },
  five: {
    model: identity([{ name: "ids", datatype: "INT64" }, { name: "flag", datatype: "BOOL", width: 1 }, { name: "home_dest", datatype: "BYTES", width: 1 }]),
    options: '[inputs.home_dest]\naliases = ["home.dest"]\n',
  },
  words: { model: identity([{ name: "text", datatype: "BYTES", width: 1 }]) },
};

describe("forms", { timeout: 120_000 }, () => {
  let handler, browser;
  before(async () => {
    [handler, browser] = await Promise.all([startHandler({}, MODELS), startBrowser()]);
  });
  after(async () => {
    await browser?.close();
    handler?.stop();
  });

  const field = (page, name) => page.locator("#fields").getByLabel(name, { exact: true });
  const openModel = (name) => openPage(browser, `${handler.address}/api/score/${name}`);
  const sent = async (page, act) => {
    const answer = await answered(page, act);
    return answer.request().postData();
  };
  const send = (page) => sent(page, () => page.click("#send"));

  it("has a field for each column, and no board, for a table of as many columns as a square has fields", async () => {
    const { page, faults, close } = await openModel("iris");
    assert.equal(await page.locator("#board").isVisible(), false);
    for (const [name, value] of [["sepal length", "5.1"], ["sepal width", "3,5"], ["petal length", " 1.4 "], ["petal width", ".2"]]) {
      await field(page, name).fill(value);
    }
    const body = await sent(page, () => field(page, "petal width").press("Control+Enter"));
    assert.deepEqual(JSON.parse(body), { data: [[5.1, 3.5, 1.4, 0.2]] });
    assert.equal(await page.locator("#label").textContent(), "setosa");
    assert.deepEqual(await page.locator("#bars .class").allTextContents(), ["setosa", "versicolor", "virginica"]);
    assert.match(await page.locator("#bars .value").first().textContent(), /^9\d\.\d %$/);
    // Once more, from the calls of the page.
    await field(page, "petal length").fill("6");
    await answered(page, () => page.click("#send"));
    assert.notEqual(await page.locator("#label").textContent(), "setosa");
    await answered(page, () => page.locator("#calls button").last().click());
    assert.equal(await field(page, "petal length").inputValue(), " 1.4 ");
    assert.equal(await page.locator("#label").textContent(), "setosa");
    const calls = await page.locator("#calls li").allTextContents();
    assert.equal(calls.length, 3);
    assert.match(calls[0], /^setosa5\.1, 3,5, {2}1\.4 , \.2HIT\d+\.\d ms\d\d:\d\d:\d\d$/);
    assertNoFaults(faults);
    await close();
  });

  it("has fields of every type", async () => {
    const { page, faults, close } = await openModel("mixed");
    await field(page, "a[1]").fill("2.5");
    await field(page, "b").fill("7");
    await field(page, "c").fill("a text, with commas\tand tabs");
    await page.getByRole("switch", { name: "d" }).check();
    const body = JSON.parse(await send(page));
    assert.deepEqual(body.data, { a: [[0, 2.5]], b: [[7]], c: ["a text, with commas\tand tabs"], d: [true], e: [[0, 0]], f: [0] });
    const outputs = await page.locator("#outputs").innerText();
    assert.equal(await page.locator("#label").textContent(), "a text, with commas\tand tabs");
    assert.match(outputs, /both\s+true/);
    assertNoFaults(faults);
    await close();
  });

  it("offers the values that the model knows, and its samples", async () => {
    const { page, faults, close } = await openModel("shirts");
    assert.deepEqual(await field(page, "size").locator("option").allTextContents(), ["L", "M", "S", "XL"]);
    assert.equal(await field(page, "colour").inputValue(), "green");
    const samples = page.getByRole("group", { name: "Samples" }).getByRole("button");
    assert.deepEqual(await samples.allTextContents(), ["green, M", "red, XL"]);
    const body = await sent(page, () => samples.nth(1).click());
    assert.deepEqual(JSON.parse(body), { data: [["red", "XL"]] });
    assert.equal(await page.locator("#label").textContent(), "keep");
    await field(page, "colour").selectOption("blue");
    await field(page, "size").selectOption("S");
    await answered(page, () => page.click("#send"));
    assert.equal(await page.locator("#label").textContent(), "sell");
    // A sample is one row more in the table.
    await edit(page, "Table");
    await sent(page, () => samples.first().click());
    assert.equal(await page.locator("#grid tbody tr").count(), 2);
    assertNoFaults(faults);
    await close();
  });

  it("scores a table pasted from a spreadsheet, in whatever order its columns are named", async () => {
    const { page, faults, close } = await openModel("iris");
    await paste(page, "#field-0", "\tpetal width\tSepal Length\tsepal width \tpetal length\tspecies\r\n0\t0,2\t5,1\t3,5\t1,4\tsetosa\r\n1\t2,3\t6,9\t3,2\t5,7\tvirginica\r\n");
    assert.equal(await page.locator("#grid tbody tr").count(), 2);
    assert.equal(await page.locator("#note").textContent(), "Left out, as the model has no such column: species.");
    assert.deepEqual(JSON.parse(await send(page)), { data: [[5.1, 3.5, 1.4, 0.2], [6.9, 3.2, 5.7, 2.3]] });
    assert.deepEqual(await page.locator("#table td:first-of-type").allTextContents(), ["setosa", "virginica"]);
    await page.getByRole("button", { name: "Show row 2" }).click();
    assert.equal(await page.locator("#label").textContent(), "virginica");
    // A column of cells goes where it is pasted, and needs more rows.
    await paste(page, '[data-row="1"][data-field="3"]', "1\n2\n3");
    assert.deepEqual(JSON.parse(await send(page)).data.map((row) => row[3]), [0.2, 1, 2, 3]);
    // Without names, by position; a single row stays in the form.
    await edit(page, "Form");
    await paste(page, "#field-2", "4.9\t3\t1.4\t0.1");
    assert.deepEqual(JSON.parse(await send(page)), { data: [[4.9, 3, 1.4, 0.1]] });
    assertNoFaults(faults);
    await close();
  });

  it("says what is wrong with what was pasted or typed, and shows no answer beside it", async () => {
    const { page, faults, close } = await openModel("iris");
    const alert = page.locator("#request").getByRole("alert");
    await answered(page, () => page.click("#send"));
    for (const [text, words] of [
      ["1\t2\t3\n4\t5\t6", /^Row 1 of what was pasted has 3 cells; the model takes 4: sepal length, /],
      ["sepal length\tb\n1\t2", /^What was pasted has no column sepal width, petal length, petal width; /],
    ]) {
      await paste(page, "#field-0", text);
      assert.match(await alert.textContent(), words);
    }
    for (const [value, words] of [
      ["1,234", /^sepal width: "1,234" may be 1\.234 or 1234; write one of them\.$/],
      ["", /^sepal width: is empty; write NaN/],
      ["tall", /^sepal width: "tall" is not a number\.$/],
      ["1.2.3", /is not a number/],
    ]) {
      await answered(page, async () => {
        await field(page, "sepal width").fill("3");
        await page.click("#send");
      });
      await field(page, "sepal width").fill(value);
      await page.click("#send");
      assert.match(await alert.textContent(), words);
      assert.equal(await page.locator("#headline").innerText(), "No answer.");
      assert.equal(await page.locator("#bars li").count(), 0);
      assert.equal(await field(page, "sepal width").getAttribute("aria-invalid"), "true");
      assert.match(await page.locator("#snippet").textContent(), words);
    }
    await field(page, "sepal width").fill("NaN");
    assert.deepEqual(JSON.parse(await send(page)).data[0][1], "NaN");
    assertNoFaults(faults);
    await close();
  });

  it("changes no digit of ids beyond 2^53, and sends empty cells where they may be", async () => {
    const { page, faults, close } = await openModel("ids");
    await field(page, "id").fill("9007199254740993");
    await field(page, "amount").fill("");
    assert.equal(await send(page), '{"data":{"id":[9007199254740993],"amount":[null]}}');
    assert.equal(await page.locator("#label").textContent(), "9007199254740993");
    assert.match(await page.locator("#outputs").innerText(), /out1\s+NaN/);
    await paste(page, "#field-0", "id\tamount\n-9223372036854775808\t1 234,5\n1009513310189256287\t#N/A\n12.0\t1.234,25\n");
    assert.equal(await send(page), '{"data":{"id":[-9223372036854775808,1009513310189256287,12],"amount":[1234.5,null,1234.25]}}');
    assert.equal(await page.locator("#table td").first().textContent(), "-9223372036854775808");
    for (const language of ["python", "javascript", "tritonclient"]) {
      await page.locator(`[data-language=${language}]`).click();
      assert.match(await page.locator("#snippet").textContent(), /1009513310189256287/, language);
    }
    await edit(page, "Form");
    for (const [value, words] of [["1.5", /is not a whole number/], ["1.000", /may be 1\.000 or 1000/], ["1e", /is not a number/]]) {
      await field(page, "id").fill(value);
      await page.click("#send");
      assert.match(await page.locator("#error").textContent(), words);
    }
    assertNoFaults(faults);
    await close();
  });

  it("turns no switch for a word that it does not know, and knows other names of columns", async () => {
    const { page, faults, close } = await openModel("five");
    for (const word of ["WAHR", "maybe", ""]) {
      await paste(page, "#field-0", `1\t${word}\tä`);
      assert.match(await page.locator("#error").textContent(), word === "" ? /^flag: is empty; write true or false\.$/ : /^flag: "\w+" is neither true nor false\.$/);
    }
    await paste(page, "#field-0", "home.dest\tFLAG\tids\nBern\tyes\t3");
    assert.deepEqual(JSON.parse(await send(page)).data, { ids: [3], flag: [[true]], home_dest: [["Bern"]] });
    assertNoFaults(faults);
    await close();
  });

  it("takes ten thousand pasted rows", async () => {
    const { page, faults, close } = await openModel("iris");
    const rows = Array.from({ length: 10_000 }, (_, row) => `${row / 1000}\t3.5\t1.4\t0.2`);
    const start = Date.now();
    await paste(page, "#field-0", rows.join("\r\n"));
    assert.equal(await page.locator("#grid-shown").textContent(), "Rows 1 to 10 of 10,000");
    assert.ok(Date.now() - start < 10_000, `${Date.now() - start} ms`);
    await page.getByRole("button", { name: "Later rows" }).click();
    assert.equal(await page.getByLabel("sepal length, row 11").inputValue(), "0.01");
    const answer = await answered(page, () => page.click("#send"));
    // As many as one request may have is the server's to say.
    if (answer.ok()) assert.equal(await page.locator("#table tbody tr").count(), 100);
    else assert.match(await page.locator("#error").textContent(), /rows/);
    await page.getByRole("button", { name: "Keep the first only" }).click();
    assert.equal(await page.locator("#grid tbody tr").count(), 1);
    assertNoFaults(faults.filter((fault) => !fault.includes("status of 4")));
    await close();
  });

  it("has room for 300 columns, and finds one", async () => {
    const { page, faults, close } = await openModel("wide");
    assert.equal(await page.locator("#fields input").count(), 300);
    await page.getByLabel("Find a column").fill("N 299");
    assert.equal(await page.locator("#fields input:visible").count(), 1);
    await field(page, "column 299").fill("7");
    const { data } = JSON.parse(await send(page));
    assert.deepEqual([data[0].length, data[0][299]], [300, 7]);
    await edit(page, "Table");
    await paste(page, "#grid input", [1, 2, 3].map((row) => new Array(300).fill(row).join("\t")).join("\n"));
    assert.equal(JSON.parse(await send(page)).data[2][299], 3);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    assertNoFaults(faults);
    await close();
  });

  it("labels twenty inputs by their names, whatever stands in them", async () => {
    const { page, faults, close } = await openModel("many");
    for (const [index, name] of STRANGE.entries()) await field(page, name).fill(String(index + 1));
    const body = await send(page);
    const { data } = JSON.parse(body);
    assert.equal(Object.keys(data).length, 20);
    STRANGE.forEach((name, index) => assert.deepEqual(Object.getOwnPropertyDescriptor(data, name)?.value, [[index + 1]], name));
    assert.equal(await page.locator("img:visible").count(), 0);
    assertNoFaults(faults);
    await close();
  });

  it("shows texts of any script as they are", async () => {
    const { page, faults, close } = await openModel("words");
    const text = field(page, "text");
    for (const written of ["<b>bold</b> & 'co'", "مرحبا بالعالم", "👩‍👩‍👧 emoji, 1,234", 'She said "no"\nand left']) {
      await text.fill(written);
      assert.deepEqual(JSON.parse(await send(page)), { data: [[written]] });
      assert.equal(await page.locator("#label").textContent(), written);
    }
    // Prose is no table; and lines of it are rows in the table.
    await paste(page, "#field-0", "One, two\nthree, four");
    assert.equal(await page.locator("#form").isVisible(), true);
    await edit(page, "Table");
    await paste(page, "#grid", "first\nsecond, with a comma\n");
    assert.deepEqual(JSON.parse(await send(page)).data, [["first"], ["second, with a comma"]]);
    assertNoFaults(faults);
    await close();
  });
});

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { answered, assertNoFaults, edit, openPage, startBrowser, startHandler } from "./handler.mjs";

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

  it("tells of a broken model, and leads to the others", async () => {
    const page = await browser.newPage();
    await page.goto(`${handler.address}/api/score/broken`);
    const alert = page.locator("#page-error");
    await alert.waitFor();
    assert.match(await alert.textContent(), /503 model_not_loaded: model "broken" could not be loaded/);
    assert.equal(await page.locator("main section:visible").count(), 0);
    await page.locator("#others").getByRole("link", { name: "affine" }).click();
    await page.getByRole("heading", { level: 1, name: "affine" }).waitFor();
    assert.equal(new URL(page.url()).pathname, "/api/score/affine");
    assert.ok(!(await alert.isVisible()));
    await page.close();
  });

  it("tells that there is no such model, and leads to those there are", async () => {
    const page = await browser.newPage();
    const response = await page.goto(`${handler.address}/api/score/%3Cb%3Etulip%3C%2Fb%3E`);
    assert.equal(response.status(), 404);
    await page.locator("#others a").first().waitFor();
    assert.match(await page.locator("#page-error").textContent(), /^404 unknown_model: /);
    assert.equal(await page.locator("h1").textContent(), "<b>tulip</b>");
    const names = await page.locator("#others a").allTextContents();
    assert.ok(names.includes("iris") && !names.includes("broken"), `${names}`);
    await page.locator("#others a", { hasText: "iris" }).click();
    await page.locator("#fields").getByLabel("petal width").waitFor();
    await page.close();
  });

  it("is where the address without a path leads", async () => {
    const page = await browser.newPage();
    await page.goto(`${handler.address}/?code=k`);
    await page.locator("#facts dt").first().waitFor();
    assert.equal(page.url(), `${handler.address}/api/score`);
    assert.equal(await page.getByLabel("Functions key").inputValue(), "k");
    await page.close();
  });

  it("shows nothing of the model before when the next one cannot be opened", async () => {
    const { page, close } = await openModel("/api/score/affine");
    const alert = page.locator("#page-error");
    const opens = async (name) => {
      const choice = page.locator("#models:visible");
      if ((await choice.count()) > 0) await choice.selectOption(name);
      else await page.locator("#others").getByRole("link", { name, exact: true }).click();
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
      assert.equal(await page.locator("main section:visible").count(), 6);
      await opens("affine");
      await page.locator("#facts", { hasText: "x: FP32 [?, 3]" }).waitFor();
    }
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
    await edit(page, "Request");
    await page.fill("#body", '{"data": [[1, 2, 3], [4, 5, 6]]}');
    await answered(page, () => page.locator("#body").press("Control+Enter"));
    assert.equal(await page.locator("#table tbody tr").count(), 2);
    assert.equal(await page.locator("#table td").nth(1).textContent(), "9, 11, 13");
    assert.match(await page.locator("#raw").textContent(), /^\[\[3(\.0)?,5/);
    assertNoFaults(faults);
    await close();
  });

  it("leaves no answer beside an error that came after it", async () => {
    const { page, close } = await openModel("/api/score/tiny");
    await page.fill("#texts", "the cat");
    await answered(page, () => page.click("#send"));
    await edit(page, "Request");
    await page.fill("#body", '{"data": [1');
    await answered(page, () => page.click("#send"));
    assert.match(await page.locator("#request").getByRole("alert").textContent(), /400/);
    assert.equal(await page.locator("#headline").innerText(), "No answer.");
    for (const part of ["#vectors li", "#timing li", "#bars li"]) assert.equal(await page.locator(part).count(), 0, part);
    for (const part of ["#table", "#raw-part"]) assert.equal(await page.locator(part).isVisible(), false, part);
    await edit(page, "Texts");
    await page.fill("#texts", "the cat");
    await answered(page, () => page.click("#send"));
    assert.equal(await page.locator("#label").textContent(), "1 vector");
    await close();
  });
});

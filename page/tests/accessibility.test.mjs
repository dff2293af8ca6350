import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, describe, it } from "node:test";
import { answered, edit, openPage, paste, startBrowser, startHandler } from "./handler.mjs";
import { identity } from "./onnx.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const MODELS = { series: { model: identity([{ name: "seq", datatype: "FP32", shape: [null, 24, 7] }, { name: "שם", datatype: "BYTES", width: 1 }]) } };
const SIZES = { phone: { width: 360, height: 740 }, desktop: { width: 1280, height: 900 } };

async function assertAccessible(page, viewport) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const grave = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const told = grave.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`);
  assert.deepEqual(told, []);
  const widest = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(widest <= viewport.width, `${widest} pixels wide`);
}

describe("accessibility", { timeout: 120_000 }, () => {
  let handler, browser;
  before(async () => {
    [handler, browser] = await Promise.all([startHandler({}, MODELS), startBrowser()]);
  });
  after(async () => {
    await browser?.close();
    handler?.stop();
  });

  /** What each kind of model shows of an answer, and one with an error. */
  const KINDS = {
    async mnist(page) {
      await answered(page, () => page.getByRole("button", { name: "Draw a sample 7" }).click());
      await page.locator("summary").click();
    },
    async iris(page) {
      await paste(page, "#field-0", "5.1\t3.5\t1.4\t0.2\n6.9\t3.2\t5.7\t2.3");
      await answered(page, () => page.click("#send"));
    },
    async affine(page) {
      await page.locator("#field-0").fill("1,234");
      await page.click("#send");
      await page.locator("#error").waitFor();
    },
    async series(page) {
      await page.locator("#field-1").fill("ערך");
      await answered(page, () => page.click("#send"));
    },
    async tiny(page) {
      await page.fill("#texts", `the cat\n${"longer".repeat(40)}`);
      await answered(page, () => page.click("#send"));
      await page.locator("#vectors canvas").first().waitFor();
    },
    async rank(page) {
      await page.fill("#texts", "the cat\nthe dog");
      await answered(page, () => page.click("#send"));
    },
    async tag(page) {
      await page.fill("#texts", "Ann lives in Oslo");
      await answered(page, () => page.click("#send"));
    },
    async label(page) {
      await edit(page, "Request");
      await page.fill("#body", "{");
      await answered(page, () => page.click("#send"));
    },
  };

  for (const [size, colorScheme] of [["phone", "light"], ["desktop", "dark"]]) {
    for (const [kind, act] of Object.entries(KINDS)) {
      it(`has no serious finding with ${kind} on a ${size} in ${colorScheme}`, async () => {
        const options = { viewport: SIZES[size], colorScheme, reducedMotion: "reduce" };
        const { page, close } = await openPage(browser, `${handler.address}/api/score/${kind}`, options);
        await act(page);
        await page.getByRole("button", { name: "Pause" }).click();
        await assertAccessible(page, SIZES[size]);
        await close();
      });
    }
  }

  it("can be used by keyboard alone", async () => {
    const { page, close } = await openPage(browser, `${handler.address}/api/score/mnist`);
    const reached = new Set();
    for (let steps = 0; steps < 40; steps++) {
      await page.keyboard.press("Tab");
      reached.add(await page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent));
    }
    for (const id of ["models", "key", "Draw", "Request", "clear", "7", "file", "send", "metrics-pause", "curl", "Python", "copy"]) {
      assert.ok(reached.has(id), `${id} is not reached: ${[...reached]}`);
    }
    await page.locator("#send").focus();
    await answered(page, () => page.keyboard.press("Enter"));
    assert.equal(await page.evaluate(() => document.activeElement?.id), "send");
    await close();
  });
});

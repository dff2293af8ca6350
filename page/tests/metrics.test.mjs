import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { answered, assertNoFaults, counted, edit, openPage, readAnswer, startBrowser, startHandler, startRedis } from "./handler.mjs";

describe("metrics", { timeout: 120_000 }, () => {
  let handler, browser;
  before(async () => {
    [handler, browser] = await Promise.all([startHandler(), startBrowser()]);
  });
  after(async () => {
    await browser?.close();
    handler?.stop();
  });

  const openModel = (path = "/api/score/mnist", options = {}) => openPage(browser, handler.address + path, options);

  it("tells what was found in Redis from what was found in the process", async (test) => {
    const redis = await startRedis();
    const [first, second] = await Promise.all([0, 1].map(() => startHandler({ REDIS_URL: redis.url })));
    test.after(() => [first, second, redis].forEach((program) => program.stop()));
    for (const [{ address }, cache, inProcess, inRedis] of [
      [first, "MISS", "0 %", "0 %"],
      [second, "HIT", "0 %", "100 %"],
      [second, "HIT", "50 %", "50 %"],
    ]) {
      const { page, close } = await openPage(browser, `${address}/api/score/mnist`);
      await answered(page, () => page.getByRole("button", { name: "Draw a sample 3" }).click());
      assert.equal((await readAnswer(page)).cache, cache);
      // What is remembered is written to Redis behind the answer.
      await counted(first, "score_cache_writes_total");
      const tile = (name, number) => page.locator("#tiles li", { hasText: name }).locator(".number", { hasText: new RegExp(`^${number}$`) }).waitFor();
      await tile("Found in process", inProcess);
      await tile("Found in Redis", inRedis);
      await close();
    }
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

  /** A page whose time stands still but for `pass`, which tells how often metrics were asked for since it was last called. */
  async function openWithMetrics(answer) {
    const context = await browser.newContext();
    const page = await context.newPage();
    // Counted in the page: when a reading has ended there, the page has set the time of the next one.
    await page.addInitScript(() => {
      const reads = (window.reads = { begun: 0, ended: 0 });
      const ask = window.fetch;
      window.fetch = async (url, ...rest) => {
        if (!String(url).endsWith("/metrics")) return ask(url, ...rest);
        reads.begun++;
        try {
          const response = await ask(url, ...rest);
          const text = response.text.bind(response);
          response.text = () => text().finally(() => reads.ended++);
          return response;
        } catch (error) {
          reads.ended++;
          throw error;
        }
      };
    });
    const settled = async () => {
      for (;;) {
        const { begun, ended } = await page.evaluate(() => window.reads);
        if (begun === ended) return begun;
        await delay(10);
      }
    };
    await page.route("**/api/score/metrics", answer);
    await page.clock.install({ time: 0 });
    await page.clock.pauseAt(1000);
    await page.goto(`${handler.address}/api/score/mnist`);
    await page.locator("#metrics-state").filter({ hasText: /./ }).waitFor();
    let told = await settled();
    const pass = async (seconds) => {
      await page.clock.runFor(seconds * 1000);
      const asked = await settled();
      const since = asked - told;
      told = asked;
      return since;
    };
    return { page, pass, close: () => context.close() };
  }

  it("asks for metrics less often while it gets none", async () => {
    let failure = { status: 503, body: "" };
    const { page, pass, close } = await openWithMetrics((route) =>
      failure === null ? route.continue() : failure === "away" ? route.abort() : route.fulfill(failure),
    );
    const state = page.locator("#metrics-state");
    assert.match(await state.textContent(), /^No new metrics; asking less often. 503/);
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

  it("pauses its metrics, and asks for none while it is hidden", async () => {
    const { page, pass, close } = await openWithMetrics((route) => route.continue());
    assert.equal(await pass(2), 1);
    const button = page.getByRole("button", { name: "Pause" });
    assert.equal(await button.getAttribute("aria-pressed"), "false");
    await button.focus();
    await page.keyboard.press("Space");
    assert.equal(await button.getAttribute("aria-pressed"), "true");
    assert.equal(await page.locator("#metrics").getByRole("status").textContent(), "Paused.");
    assert.equal(await pass(300), 0);
    await page.keyboard.press("Space");
    assert.equal(await button.getAttribute("aria-pressed"), "false");
    assert.match(await page.locator("#metrics").getByRole("status").textContent(), /^Read every/);
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

  it("changes its metrics where they stand", async () => {
    const { page, pass, close } = await openWithMetrics((route) => route.continue());
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
    await edit(page, "Request");
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

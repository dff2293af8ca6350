import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, it } from "node:test";
import { answered, codeIn, startBrowser, startHandler } from "./handler.mjs";

describe("keys and origins", { timeout: 120_000 }, () => {
  let handler, browser;
  before(async () => {
    [handler, browser] = await Promise.all([startHandler(), startBrowser()]);
  });
  after(async () => {
    await browser?.close();
    handler?.stop();
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
    for (const language of ["curl", "python", "tritonclient", "javascript", "csharp"]) {
      const text = await codeIn(page, language);
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

  it("asks for the key where the handler wants one", async (test) => {
    const keyed = await startHandler({ SCORE_API_KEYS: "first-key-0123456789" });
    test.after(() => keyed.stop());
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
  });

  it("lets pages of listed origins call, and no others", async (test) => {
    const page = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<title>app</title>"));
    test.after(() => page.close());
    await new Promise((resolve) => page.listen(0, "127.0.0.1", resolve));
    const origin = `http://app.example:${page.address().port}`;
    const keyed = await startHandler({ SCORE_API_KEYS: "first-key-0123456789", SCORE_CORS_ORIGINS: origin });
    test.after(() => keyed.stop());
    // Another site, as far as the browser knows; and a name of that site's for this machine.
    const app = await startBrowser("--host-resolver-rules=MAP app.example 127.0.0.1, MAP evil.example 127.0.0.1");
    test.after(() => app.close());
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
});

// The code that the page offers runs, and gets the model's answer. curl and Python; C# needs its own machine.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { openPage, startBrowser, startHandler } from "./handler.mjs";

const run = promisify(execFile);

describe("the code on the page", { timeout: 60_000 }, () => {
  let handler, browser;
  before(async () => {
    [handler, browser] = await Promise.all([startHandler(), startBrowser()]);
  });
  after(async () => {
    await browser?.close();
    handler?.stop();
  });

  it("gives what the page gives", async () => {
    const { page, close } = await openPage(browser, `${handler.address}/api/score/affine?code=k`);
    const env = { ...process.env, FUNCTIONS_KEY: "k" };
    for (const body of ['{"data": [[1, 2, 3]]}', '{"data": [[1, 2, 3]], "id": "it\'s \\"one\\""}', '{"data":\n[[1,2,3]]}']) {
      await page.fill("#body", body);
      for (const [language, program, flag] of [["curl", "sh", "-c"], ["python", "python3", "-c"]]) {
        await page.selectOption("#language", language);
        const code = await page.locator("#snippet").textContent();
        const { stdout } = await run(program, [flag, code], { env });
        assert.match(stdout, /\[\[3(\.0)?,5(\.0)?,7(\.0)?\]\]/, `${language}: ${code}`);
      }
    }
    await close();
  });
});

// Takes the pictures of docs/images.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { answered, drawSeven, openPage, repository, startBrowser, startHandler } from "./handler.mjs";

const VIEWS = {
  "page-desktop": { viewport: { width: 1120, height: 1600 }, colorScheme: "light" },
  "page-dark": { viewport: { width: 1120, height: 1600 }, colorScheme: "dark" },
  "page-phone": { viewport: { width: 360, height: 780 }, colorScheme: "light", deviceScaleFactor: 2 },
};

const folder = join(repository, "docs/images");
mkdirSync(folder, { recursive: true });
const [handler, browser] = await Promise.all([startHandler(), startBrowser()]);
for (const [name, options] of Object.entries(VIEWS)) {
  const { page, close } = await openPage(browser, `${handler.address}/api/score/mnist`, options);
  // Figures that have something to tell.
  for (const digit of [1, 4, 1, 2, 4, 8]) {
    await answered(page, () => page.getByRole("button", { name: `Draw a sample ${digit}` }).click());
    await page.waitForTimeout(1500);
  }
  await page.getByRole("button", { name: "Clear" }).click();
  await answered(page, () => drawSeven(page));
  await answered(page, () => page.click("#send"));
  await page.waitForTimeout(2500);
  await page.evaluate(() => document.activeElement?.blur());
  await page.evaluate(() => scrollTo(0, 0));
  // What a phone shows at once, and of the wide page all above the code.
  const { width, height } = options.viewport;
  const code = await page.locator("#code").boundingBox();
  const clip = { x: 0, y: 0, width, height: Math.min(height, code.y) };
  await page.screenshot({ path: join(folder, `${name}.png`), clip });
  await close();
}
await browser.close();
handler.stop();

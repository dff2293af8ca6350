// Takes the pictures of docs/images.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { answered, drawSeven, openPage, paste, repository, startBrowser, startHandler } from "./handler.mjs";

const WIDE = { width: 1200, height: 1600 };

async function draw(page) {
  // Metrics that have something to tell.
  for (const digit of [1, 4, 1, 2, 4, 8]) {
    await answered(page, () => page.getByRole("button", { name: `Draw a sample ${digit}` }).click());
    await page.waitForTimeout(1500);
  }
  await page.getByRole("button", { name: "Clear" }).click();
  await answered(page, () => drawSeven(page));
  await answered(page, () => page.click("#send"));
}

async function pasteRows(page) {
  const rows = ["sepal length\tsepal width\tpetal length\tpetal width", "5,1\t3,5\t1,4\t0,2", "5,9\t3,0\t4,2\t1,5", "6,9\t3,2\t5,7\t2,3"];
  await paste(page, "#field-0", rows.join("\n"));
  for (let time = 0; time < 2; time++) await answered(page, () => page.click("#send"));
}

async function rank(page) {
  await page.fill("#query", "who found the cat?");
  await page.fill("#texts", "The cat is lost.\nhe paid the invoice in the blue house\nkäse 🧀 the river\nthe dog found it by the river");
  for (let time = 0; time < 2; time++) await answered(page, () => page.click("#send"));
}

const VIEWS = [
  { name: "page-desktop", model: "mnist", act: draw, until: "#about", viewport: WIDE, colorScheme: "light" },
  { name: "page-dark", model: "mnist", act: draw, until: "#about", viewport: WIDE, colorScheme: "dark" },
  { name: "page-phone", model: "mnist", act: draw, viewport: { width: 360, height: 780 }, colorScheme: "light", deviceScaleFactor: 2 },
  { name: "page-table", model: "iris", act: pasteRows, until: "#metrics", viewport: WIDE, colorScheme: "light" },
  { name: "page-ranking", model: "rank", act: rank, until: "#metrics", viewport: WIDE, colorScheme: "light" },
];

const folder = join(repository, "docs/images");
mkdirSync(folder, { recursive: true });
const [handler, browser] = await Promise.all([startHandler(), startBrowser()]);
for (const { name, model, act, until, ...options } of VIEWS) {
  const { page, close } = await openPage(browser, `${handler.address}/api/score/${model}`, options);
  await act(page);
  await page.waitForTimeout(2500);
  await page.evaluate(() => document.activeElement?.blur());
  await page.evaluate(() => scrollTo(0, 0));
  // What a phone shows at once, and of the wide page what lies above a section.
  const { width, height } = options.viewport;
  const end = until ? await page.locator(until).boundingBox() : null;
  const clip = { x: 0, y: 0, width, height: Math.min(height, end?.y ?? height) };
  await page.screenshot({ path: join(folder, `${name}.png`), clip });
  await close();
}
await browser.close();
handler.stop();

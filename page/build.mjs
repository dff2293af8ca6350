// Puts page, style and script into one file, and writes the Content-Security-Policy that allows just these.
// With --check it writes nothing, and fails if what is there differs.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const target = "../handler/src/http/page/";

async function bundle(entry) {
  const options = { bundle: true, minify: true, write: false, target: ["es2022"], charset: "utf8" };
  const result = await build({ entryPoints: [here(entry)], ...options });
  return result.outputFiles[0].text.trim();
}

const digest = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

const script = await bundle("src/main.ts");
const style = await bundle("src/style.css");
if (script.includes("</script") || style.includes("</style")) {
  throw new Error("the script or the style holds its own end tag");
}
const policy = [
  "default-src 'none'",
  `script-src ${digest(script)}`,
  `style-src ${digest(style)}`,
  "connect-src 'self'",
  "img-src 'self' data: blob:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join("; ");
const page = readFileSync(here("src/index.html"), "utf8")
  .replace("/* style */", () => style)
  .replace("/* script */", () => script);

const check = process.argv.includes("--check");
for (const [name, text] of [["index.html", page], ["policy.txt", policy]]) {
  const path = here(target + name);
  if (!check) {
    writeFileSync(path, text);
    console.log(`${name}: ${text.length} characters`);
  } else if (readFileSync(path, "utf8") !== text) {
    console.error(`error: ${path} does not fit its sources in page/src; run \`make page\``);
    process.exitCode = 1;
  }
}

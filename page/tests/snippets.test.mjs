// The code that the page offers runs, and gets the model's answer: curl, Python and JavaScript. C# needs its own machine,
// so that of it the literals are read here.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { gunzipSync } from "node:zlib";
import { build } from "esbuild";
import { answered, codeIn, openPage, openRequest, repository, startBrowser, startHandler } from "./handler.mjs";

const run = promisify(execFile);
const PYTHON = process.env.PYTHON ?? "python3";
const PROGRAMS = [["curl", "sh", "-c"], ["python", PYTHON, "-c"], ["javascript", process.execPath, "--input-type=module", "-e"]];

describe("the code on the page", { timeout: 60_000 }, () => {
  let handler, browser;
  before(async () => {
    [handler, browser] = await Promise.all([startHandler(), startBrowser()]);
  });
  after(async () => {
    await browser?.close();
    handler?.stop();
  });

  /** Runs what the page shows, and checks what is answered. */
  async function runShown(page, expected, options) {
    for (const [language, program, ...flags] of PROGRAMS) {
      const code = await codeIn(page, language);
      const { stdout } = await run(program, [...flags, code], options);
      assert.match(stdout, expected, `${language}: ${code}`);
    }
  }

  it("gives what the page gives", async () => {
    const { page, close } = await openRequest(browser, `${handler.address}/api/score/affine?code=k`);
    const env = { ...process.env, FUNCTIONS_KEY: "k" };
    for (const body of ['{"data": [[1, 2, 3]]}', '{"data": [[1, 2, 3]], "id": "it\'s \\"one\\""}', '{"data":\n[[1,2,3]]}']) {
      await page.fill("#body", body);
      await runShown(page, /\[\[3(\.0)?,5(\.0)?,7(\.0)?\]\]/, { env });
    }
    await close();
  });

  it("gives the answer in every language, for tables and texts", async () => {
    const hasLibraries = await run(PYTHON, ["-c", "import openai, tritonclient.http"]).then(() => true, () => false);
    const libraries = hasLibraries ? [["openai", PYTHON, "-c"], ["tritonclient", PYTHON, "-c"]] : [];
    const kinds = {
      iris: { fields: { "#field-0": "5.1", "#field-1": "3,5" }, expected: /0/, libraries: ["tritonclient"] },
      tiny: { fields: { "#texts": 'the "red" dog\nit\'s käse 🧀 \\' }, expected: /embedding|^8 \[/, libraries: ["openai", "tritonclient"] },
      rank: { fields: { "#query": "who?", "#texts": "the cat\na dog" }, expected: /score/, libraries: ["tritonclient"] },
    };
    for (const [name, { fields, expected, libraries: own }] of Object.entries(kinds)) {
      const { page, close } = await openPage(browser, `${handler.address}/api/score/${name}`);
      for (const [selector, text] of Object.entries(fields)) await page.fill(selector, text);
      for (const [language, program, ...flags] of [...PROGRAMS, ...libraries.filter(([known]) => own.includes(known))]) {
        const code = await codeIn(page, language);
        const { stdout } = await run(program, [...flags, code]);
        assert.match(stdout, expected, `${language}: ${code}`);
      }
      for (const library of own) assert.equal(await page.locator(`[data-language=${library}]`).count(), 1);
      await close();
    }
  });

  it("sends a body that begins like a file's name as it is", async () => {
    const { page, close } = await openRequest(browser, `${handler.address}/api/score/identity_string`);
    await page.selectOption("#dialect", "text/csv");
    await page.fill("#body", "@alice,1\n");
    await runShown(page, /\[\["@alice","1"\]\]/);
    await close();
  });

  it("sends a file from where it runs", async () => {
    const folder = mkdtempSync(join(tmpdir(), "page-"));
    const name = 'it\'s "one" $HOME.csv';
    writeFileSync(join(folder, name), "@bob,2\n");
    const { page, close } = await openPage(browser, `${handler.address}/api/score/identity_string`);
    await answered(page, () => page.setInputFiles("#file", join(folder, name)));
    await runShown(page, /\[\["@bob","2"\]\]/, { cwd: folder });
    rmSync(folder, { recursive: true });
    await close();
  });
});

describe("code for any call", { timeout: 60_000 }, () => {
  const TEXTS = ["", "@x", "it's", 'a "quoted" word', '"', '"""', '""""', "\\", "\\n", "$HOME `x` {0}", "two\nlines", "\u2028\u0085é😀"];
  const TYPES = ["text/csv", "text/csv; charset=utf-8", `application/x-odd; a='b'; c="d\\"e"; $HOME`];
  let snippet;
  before(async () => {
    const options = { bundle: true, format: "esm", write: false };
    const built = await build({ entryPoints: [join(repository, "page/src/snippets.ts")], ...options });
    ({ snippet } = await import(`data:text/javascript,${encodeURIComponent(built.outputFiles[0].text)}`));
  });

  const calls = () => [
    ...TEXTS.map((text) => ({ contentType: "text/plain", body: { text } })),
    ...TYPES.map((contentType) => ({ contentType, body: { text: "x" } })),
    // Numbers stay as they are written, whether the code has them as numbers or as text.
    ...["1e400", "9007199254740993", "[1, true, null]"].map((text) => ({ contentType: "application/json", body: { text } })),
    { contentType: TYPES[2], body: { file: "a 'b' \"c\".bin" } },
  ];

  it("sends body and content type as they are, by curl, Python and JavaScript", async () => {
    const folder = mkdtempSync(join(tmpdir(), "page-"));
    writeFileSync(join(folder, "a 'b' \"c\".bin"), "of the file");
    const server = createServer(async (request, response) => {
      const body = Buffer.concat(await request.toArray()).toString();
      response.end(JSON.stringify([request.headers["content-type"], body]));
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    after(() => server.close());
    const url = `http://127.0.0.1:${server.address().port}/it's`;
    const codes = (language) => calls().map((call) => snippet(language, { url, withKey: false, ...call }));
    // One process runs all codes of a language, as it takes longer to start than to run them.
    const processes = [
      ...codes("curl").map((code) => ["sh", ["-c", code]]),
      [PYTHON, ["-c", "import sys\nfor code in sys.argv[1:]: exec(code, {})", ...codes("python")]],
      [
        process.execPath,
        ["--input-type=module", "-e", "for (const code of process.argv.slice(1)) await import(`data:text/javascript,${encodeURIComponent(code)}`)", ...codes("javascript")],
      ],
    ];
    const answers = [];
    for (const [program, words] of processes) {
      const { stdout } = await run(program, words, { cwd: folder, timeout: 60_000 });
      answers.push(...stdout.matchAll(/\["[^\n]*\]/g));
    }
    const expected = calls().map((call) => [call.contentType, call.body.text ?? "of the file"]);
    assert.deepEqual(answers.map(([answer]) => JSON.parse(answer)), [...expected, ...expected, ...expected]);
    rmSync(folder, { recursive: true });
  });

  it("compresses a large body", async () => {
    const text = JSON.stringify({ data: Array.from({ length: 200 }, (_, row) => [row, "it's \"é\"", ...new Array(300).fill(0.5)]) });
    const server = createServer(async (request, response) => {
      const body = gunzipSync(Buffer.concat(await request.toArray())).toString();
      const { "content-type": type, "content-encoding": encoding, "content-length": length } = request.headers;
      response.end(JSON.stringify([type, encoding, Number(length) < text.length / 10, body === text]));
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const call = { url: `http://127.0.0.1:${server.address().port}/`, contentType: "application/json", body: { text }, withKey: false };
    for (const [language, program] of PROGRAMS) {
      const running = run(program, { sh: [], [PYTHON]: ["-"], [process.execPath]: ["--input-type=module", "-"] }[program]);
      running.child.stdin.end(snippet(language, call));
      const { stdout } = await running;
      assert.deepEqual(JSON.parse(stdout.slice(stdout.indexOf("["))), ["application/json", "gzip", true, true], language);
    }
    const literals = readCsharp(snippet("csharp", call));
    assert.deepEqual(literals, [text, "content-type", call.contentType, "content-encoding", "gzip", call.url]);
    server.close();
  });

  it("holds body, content type and address as C# reads them", () => {
    for (const call of calls()) {
      const url = "http://localhost/it's";
      const literals = readCsharp(snippet("csharp", { url, withKey: false, ...call }));
      const words = [call.body.text ?? call.body.file, "content-type", call.contentType, url];
      assert.deepEqual(literals, words);
    }
  });

  /** The strings in C# code, by that language's rules for raw and regular literals. */
  function readCsharp(code) {
    const found = [];
    for (let at = code.indexOf('"'); at >= 0; at = code.indexOf('"', at)) {
      const [fence] = /^"+/.exec(code.slice(at));
      if (fence.length >= 3) {
        const end = code.indexOf(`\n${fence}`, at);
        assert.equal(code[at + fence.length], "\n");
        assert.notEqual(code[end + 1 + fence.length], '"');
        const text = code.slice(at + fence.length + 1, end);
        assert.ok(!text.includes(fence));
        found.push(text);
        at = end + 1 + fence.length;
      } else {
        const [whole, inner] = /^"((?:[^"\\\r\n\u0085\u2028\u2029]|\\["\\0abfnrt]|\\u[0-9a-f]{4})*)"/i.exec(code.slice(at));
        found.push(JSON.parse(`"${inner}"`));
        at += whole.length;
      }
    }
    return found;
  }
});

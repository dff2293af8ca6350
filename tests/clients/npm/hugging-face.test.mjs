// Hugging Face's package.

import assert from "node:assert/strict";
import { test } from "node:test";

import { InferenceClient } from "@huggingface/inference";

import { MODEL, ROOT, SCORE, TEXTS, same, vectors } from "./server.mjs";

const client = new InferenceClient("none");

for (const endpointUrl of [`${ROOT}/`, `${SCORE}/embed`, `${SCORE}/${MODEL}/embed`]) {
  test(`feature extraction at ${endpointUrl.slice(ROOT.length)}`, async () => {
    same(await client.featureExtraction({ endpointUrl, inputs: TEXTS, normalize: true, truncate: true }), await vectors(TEXTS));
    same(await client.featureExtraction({ endpointUrl, inputs: ["hello"], parameters: { normalize: true } }), await vectors(["hello"]));
    const similar = await client.sentenceSimilarity({ endpointUrl, inputs: { source_sentence: "hello", sentences: ["hello", "bye"] } });
    assert.equal(similar.length, 2);
    assert.ok(Math.abs(similar[0] - 1) < 1e-6);
  });
}

test("errors are shown", async () => {
  const asked = client.featureExtraction({ endpointUrl: `${SCORE}/embed`, inputs: "invoice ".repeat(4000), truncate: false });
  await assert.rejects(asked, (error) => {
    assert.ok([413, 422].includes(error.httpResponse.status), String(error.httpResponse.status));
    assert.match(error.message, /tokens/);
    return true;
  });
  const unknown = client.featureExtraction({ endpointUrl: `${SCORE}/unknown/embed`, inputs: "a" });
  await assert.rejects(unknown, (error) => error.httpResponse.status === 404 && error.message.includes(MODEL));
});

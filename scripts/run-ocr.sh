#!/usr/bin/env bash
# Serves bin/handler with a model that reads a line of text in a picture: run-ocr.sh. The first time it makes the model.
set -euo pipefail
cd "$(dirname "$0")/.."

work=target/ocr
model=$work/models/line
port=${SCORE_PORT:-7071}

if [[ ! -f $model/.made ]]; then
  scripts/install-python.sh "$work/python" examples/ocr/requirements.txt --require-hashes
  PYTHONPATH=$work/python PYTHONDONTWRITEBYTECODE=1 python3 examples/ocr/make.py \
    "$work/python/rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx" "$model"
  touch "$model/.made"
fi

cat <<TEXT
Try it from another terminal, twice:

  curl -si http://127.0.0.1:$port/api/score -H 'content-type: image/png' --data-binary @examples/ocr/invoice.png

It answers ["Invoice No 10-4711"]. The headers X-Cache and Server-Timing say what the model took, and what the cache.
Ctrl-C ends the server.

TEXT
SCORE_PORT=$port exec bin/handler serve "$model"

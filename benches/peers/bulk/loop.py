"""A file scored with pandas and onnxruntime, in batches of 1,024: loop.py csv|jsonl MODEL INPUT OUTPUT."""

import sys

import numpy as np
import onnxruntime
import pandas as pd

BATCH = 1024


def csv(score, source, target):
    header = True
    for frame in pd.read_csv(source, chunksize=BATCH, dtype=np.float32):
        labels, probabilities = score(frame.to_numpy())
        columns = {f"p{index}": probabilities[:, index] for index in range(probabilities.shape[1])}
        pd.DataFrame({"label": labels, **columns}).to_csv(target, index=False, header=header)
        header = False


def jsonl(score, source, target):
    for frame in pd.read_json(source, lines=True, chunksize=BATCH, dtype=False):
        labels, probabilities = score(frame.to_numpy(dtype=np.float32))
        results = pd.DataFrame({"label": labels, "probabilities": probabilities.tolist()})
        results.to_json(target, orient="records", lines=True)


def main():
    kind, model, source, target = sys.argv[1:]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    with open(target, "w", encoding="utf-8") as opened:
        {"csv": csv, "jsonl": jsonl}[kind](lambda rows: session.run(None, {name: rows}), source, opened)


if __name__ == "__main__":
    main()

"""Prints the seconds that it takes to load MODEL and TOKENIZER and to run one text, without the time of Python's imports."""

import os
import time

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

begin = time.perf_counter()
tokenizer = Tokenizer.from_file(os.environ["TOKENIZER"])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
ids = np.array([tokenizer.encode("The ferry leaves at noon.").ids], np.int64)
session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)})
print(time.perf_counter() - begin)

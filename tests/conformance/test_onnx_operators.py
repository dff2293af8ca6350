"""The operator tests that the ONNX project ships in its Python package, sent through HTTP in four dialects."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper

import harness
from harness import Handler, difference

DATA = Path(onnx.backend.test.__file__).parent / "data/node"
AT_LEAST = 300
AT_LEAST_WITHOUT_SHAPES = 1000
DIALECTS = ("flat", "nested", "binary", "azure")
SERVED = {harness.onnx_type(name): name for name in harness.TYPES}

# What cannot be carried, by the kind of an input or output as the model declares it.
NOT_CARRIED = {
    "sequence input": "no dialect has a form for several tensors under one input's name",
    "optional input": "no dialect has a form for a value that is explicitly absent",
    "map input": "no dialect has a form for it",
    "optional output": "an output that may be absent has no form in any dialect",
    "element type": "complex numbers, 8-bit and smaller floats, 4-bit and 2-bit integers are not served",
}
# Single cases that a model folder cannot serve, each with its reason.
SKIPPED = {}
# What a single dialect cannot say.
EMPTY_IN_ROWS = "nested rows do not tell the shape of an empty tensor"


def kind_not_carried(model):
    """The key into NOT_CARRIED, or None."""
    initial = {tensor.name for tensor in model.graph.initializer}
    for side, infos in (("input", model.graph.input), ("output", model.graph.output)):
        for info in infos:
            if side == "input" and info.name in initial:
                continue
            kind = info.type.WhichOneof("value")
            if kind == "sequence_type" and side == "output":
                inner = info.type.sequence_type.elem_type
                if inner.WhichOneof("value") == "tensor_type":
                    if inner.tensor_type.elem_type not in SERVED:
                        return "element type"
                    continue
            if kind != "tensor_type":
                return f"{kind.removesuffix('_type')} {side}"
            if info.type.tensor_type.elem_type not in SERVED:
                return "element type"
    return None


def read_value(path, type_proto):
    content = path.read_bytes()
    if type_proto.WhichOneof("value") == "sequence_type":
        return [np.asarray(item) for item in numpy_helper.to_list(onnx.SequenceProto.FromString(content))]
    array = numpy_helper.to_array(onnx.TensorProto.FromString(content))
    if harness.datatype_of(array) == "BYTES":
        array = np.array(harness.texts(array), dtype=object).reshape(array.shape)
    return array


def tolerance(datatype):
    return {"FP16": (1e-2, 1e-3), "BF16": (2e-2, 1e-3)}.get(datatype, (1e-3, 1e-6))


def close(got, expected):
    if isinstance(expected, list):
        if len(got) != len(expected):
            return f"{len(got)} tensors instead of {len(expected)}"
        return next((d for d in map(close, got, expected) if d), None)
    if not isinstance(got, np.ndarray):
        got = np.asarray(got)
    return difference(got, expected, *tolerance(harness.datatype_of(expected)))


class Case:
    def __init__(self, folder):
        self.name = folder.name.removeprefix("test_")
        self.file = folder / "model.onnx"
        self.model = onnx.load(self.file)
        self.not_carried = kind_not_carried(self.model)
        self.data = folder / "test_data_set_0"

    def read(self):
        graph = self.model.graph
        inputs = {
            info.name: read_value(self.data / f"input_{index}.pb", info.type)
            for index, info in enumerate(graph.input)
            if (self.data / f"input_{index}.pb").exists()
        }
        outputs = {
            info.name: read_value(self.data / f"output_{index}.pb", info.type)
            for index, info in enumerate(graph.output)
        }
        return inputs, outputs

    def without_shapes(self, folder):
        """The same case, whose inputs and outputs declare no shape."""
        for info in (*self.model.graph.input, *self.model.graph.output):
            if info.type.WhichOneof("value") == "tensor_type":
                info.type.tensor_type.ClearField("shape")
        self.file = folder / f"{self.name}.onnx"
        onnx.save(self.model, self.file)
        return self

    def sequences(self):
        return {info.name for info in self.model.graph.output if info.type.WhichOneof("value") == "sequence_type"}

    def datatypes(self):
        found = set()
        for info in (*self.model.graph.input, *self.model.graph.output):
            kind = info.type
            if kind.WhichOneof("value") == "sequence_type":
                kind = kind.sequence_type.elem_type
            found.add(SERVED.get(kind.tensor_type.elem_type))
        return found - {None}


def prepare(say, change=lambda case: case):
    """Cases that ONNX Runtime itself runs with the expected results, and those whose kinds cannot be carried."""
    usable, refused, left_out = [], [], Counter()
    for folder in sorted(DATA.iterdir()):
        if not (folder / "test_data_set_0").is_dir():
            continue
        case = change(Case(folder))
        try:
            case.session = harness.session(str(case.file))
        except Exception:
            left_out["not loaded by ONNX Runtime"] += 1
            continue
        if case.not_carried:
            refused.append(case)
            continue
        case.inputs, case.expected = case.read()
        try:
            case.computed = harness.run(case.session, case.inputs)
        except Exception as error:
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            left_out["not run by ONNX Runtime"] += 1
            continue
        del case.session
        if any(close(case.computed[name], array) for name, array in case.expected.items()):
            left_out["ONNX Runtime's results differ from ONNX's"] += 1
            continue
        usable.append(case)
    for reason, count in left_out.items():
        say(f"left out: {count} cases {reason}")
    return usable, refused


def sequence_items(outputs, name):
    """Takes the tensors of a sequence, each of which is an output of its own."""
    names = (f"{name}.{number}" for number in itertools.count())
    return [outputs.pop(item) for item in itertools.takewhile(outputs.__contains__, names)]


def ask(handler, case, dialect):
    path = f"/{case.name}"
    if dialect == "azure":
        body = {"data": {name: harness.nested(array) for name, array in case.inputs.items()}}
        answer = handler.post(path, body, cache_control="no-store").ok().json
        outputs = {next(iter(case.expected)): answer} if len(case.expected) == 1 else answer
        got = {}
        for name, expected in case.expected.items():
            if isinstance(expected, list):
                assert len(outputs[name]) == len(expected), f"{len(outputs[name])} tensors in the sequence"
                got[name] = [harness.as_given(value, item) for value, item in zip(outputs[name], expected)]
            else:
                got[name] = harness.as_given(outputs[name], expected)
        return got
    if dialect == "binary":
        got = harness.infer_binary(handler, case.name, case.inputs)
    else:
        got = harness.infer_json(handler, case.name, case.inputs, as_nested=dialect == "nested")
    for name in case.sequences():
        got[name] = sequence_items(got, name)
    return got


def check(case, got):
    assert set(got) == set(case.expected), f"outputs {sorted(got)}"
    for name, expected in case.expected.items():
        wrong = close(got[name], expected)
        assert wrong is None, f"output {name!r} against ONNX's data: {wrong}"
        computed = case.computed[name]
        pairs = zip(got[name], computed) if isinstance(expected, list) else [(got[name], computed)]
        for ours, theirs in pairs:
            wrong = difference(ours, np.asarray(theirs), 1e-6, 1e-9)
            assert wrong is None, f"output {name!r} against ONNX Runtime: {wrong}"


def is_empty(case):
    return any(array.size == 0 and array.ndim > 1 for array in case.inputs.values())


def test_operators(tmp_path, say):
    usable, refused = prepare(say)
    for case in usable + refused:
        harness.save(tmp_path, case.name, case.file)
    by_dialect, by_type, passed, failures, skipped = Counter(), Counter(), set(), [], Counter()
    with Handler(tmp_path) as handler:
        for case in usable:
            if case.name in SKIPPED:
                skipped[SKIPPED[case.name]] += 1
                continue
            whole = True
            for dialect in DIALECTS:
                if dialect == "azure" and is_empty(case):
                    skipped[f"in rows only: {EMPTY_IN_ROWS}"] += 1
                    continue
                try:
                    check(case, ask(handler, case, dialect))
                    by_dialect[dialect] += 1
                except Exception as error:
                    whole = False
                    failures.append(f"{case.name} as {dialect}: {type(error).__name__}: {str(error)[:400]}")
            if whole:
                passed.add(case.name)
                by_type.update(case.datatypes())
        for case in refused:
            answer = handler.get(f"/{case.name}")
            skipped[NOT_CARRIED[case.not_carried]] += 1
            if answer.status != 503 or "cannot be served" not in answer.body.decode():
                failures.append(f"{case.name} ({case.not_carried}) is not refused by name: {answer.body[:300]!r}")
        assert handler.alive()
    for reason, count in sorted(skipped.items()):
        say(f"skipped: {count} cases: {reason}")
    say(f"passed in every dialect: {len(passed)} of {len(usable)} cases")
    say("by dialect:", ", ".join(f"{name} {by_dialect[name]}" for name in DIALECTS))
    say("by element type:", ", ".join(f"{name} {by_type[name]}" for name in harness.TYPES))
    unknown = set(SKIPPED) - {case.name for case in usable}
    assert not unknown, f"skipped, but not among the cases: {sorted(unknown)}"
    assert not failures, f"{len(failures)} failures:\n" + "\n".join(failures)
    assert len(passed) >= AT_LEAST
    assert all(by_type[name] for name in harness.TYPES), f"a type without a case: {by_type}"


def in_other_ranks(case):
    """Inputs with another number of axes than the model can take, mostly."""
    for rank in range(6):
        for side in (1, 2):
            shape = (side,) * rank
            yield {
                name: np.resize(array if array.size else np.zeros(1, array.dtype), shape).astype(array.dtype)
                for name, array in case.inputs.items()
            }


def test_operators_without_declared_shapes(tmp_path, say):
    """Any rank is taken; models that could not bear it are refused, and no request ends the program."""
    stripped = tmp_path / "stripped"
    stripped.mkdir()
    usable, _ = prepare(say, lambda case: case.without_shapes(stripped))
    for case in usable:
        harness.save(tmp_path, case.name, case.file)
    passed, refused, failures = 0, Counter(), []
    with Handler(tmp_path) as handler:
        for case in usable:
            described = handler.get(f"/{case.name}")
            if described.status == 503 and b"ends the process" in described.body:
                refused[described.body.decode().split("operator ")[1].split()[0]] += 1
                continue
            try:
                for dialect in DIALECTS:
                    if dialect != "azure" or not is_empty(case):
                        check(case, ask(handler, case, dialect))
                passed += 1
                for inputs in in_other_ranks(case):
                    body = harness.open_inference_body(inputs, False)
                    answer = handler.post(f"/v2/models/{case.name}/infer", body)
                    assert answer.status in (200, 400), f"status {answer.status}: {answer.body[:300]!r}"
            except Exception as error:
                failures.append(f"{case.name} as {dialect}: {type(error).__name__}: {str(error)[:400]}")
                if not handler.alive():
                    break
        assert handler.alive(), failures[-1:]
    say(f"passed in every dialect: {passed} of {len(usable)} cases; refused by operator: {dict(refused)}")
    assert not failures, f"{len(failures)} failures:\n" + "\n".join(failures)
    assert passed >= AT_LEAST_WITHOUT_SHAPES

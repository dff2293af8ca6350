"""Whether a converted model answers as the estimator does, for to_onnx.py."""

import numpy as np

from boosters import Mistake, first_line


def holed(rows, names, chosen, holes):
    """These rows without the values of these columns where there are holes."""
    if isinstance(rows, np.ndarray):
        return np.where(holes, np.nan, rows[chosen]).astype(rows.dtype)
    table = rows.iloc[chosen].reset_index(drop=True)
    table[names] = table[names].mask(holes if isinstance(names, list) else holes[:, 0])
    return table


def answers(estimator, rows):
    expected = {"predict": estimator.predict(rows)}
    if hasattr(estimator, "predict_proba"):
        expected["predict_proba"] = estimator.predict_proba(rows)
    return expected


def compare(estimator, rows, outputs, tolerance):
    """Rows of the printed table: output, what was found, whether it is right. It is where it agrees with the answer to the rows as
    they are, or to the same rows rounded as ONNX gets them: which one, depends on how a tree's thresholds are rounded."""
    found, refusals = [], []
    for given in rows:
        try:
            found.append(answers(estimator, given))
        except Exception as error:  # any exception of a pipeline's own steps
            refusals.append(error)
    if not found:
        raise Mistake(f"the model refuses the sample: {first_line(refusals[0])}") from refusals[0]
    for (name, got), method in zip(outputs.items(), found[0]):
        got, wanted = flat(got), [flat(expected[method]) for expected in found]
        if any(got.size != one.size for one in wanted):
            yield name, method, f"shape {got.shape}, not {wanted[0].shape}", False
            continue
        got = got.reshape(wanted[0].shape)
        if wanted[0].dtype.kind != "f" or got.dtype.kind != "f":
            different = int(np.all([got.astype(one.dtype) != one for one in wanted], axis=0).sum())
            yield name, method, f"{different} of {got.size} differ" if different else "equal", not different
        else:
            # relative to the value where it is large, absolute where it is small
            errors = [np.abs(got.astype(np.float64) - one) / np.maximum(np.abs(one), 1) for one in wanted]
            error = float(np.min(errors, axis=0).max())
            yield name, method, f"within {error:.1e} (allowed {tolerance:.0e})", error <= tolerance


def flat(values):
    """A matrix as it is, and the matrices of several outputs in a row."""
    return np.concatenate([np.ravel(one) for one in values]) if isinstance(values, list) else np.asarray(values)

"""The regression of presence_fit.py over its rows, and the ROC-AUC of scores."""

import numpy as np

ON_TARGET, FOLDS, RIDGE = 0.3, 7, 1.0


def logistic(inputs: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted logistic regression with an intercept, by Newton's method."""
    columns = np.column_stack([np.ones(len(inputs)), inputs])
    found, ridge = np.zeros(columns.shape[1]), RIDGE * np.diag([1e-3, 1.0, 1.0])
    for _ in range(60):
        guess = 1 / (1 + np.exp(-columns @ found))
        curvature = columns.T @ (columns * (weights * guess * (1 - guess))[:, None]) + ridge
        found -= np.linalg.solve(curvature, columns.T @ (weights * (guess - truth)) + ridge @ found)
    return found


def fit(rows: np.ndarray) -> np.ndarray:
    """Offset, level, change; frames on which the tracker had lost a target that was there are left out.

    Where a loss of score would count for presence, the score alone is fitted.
    """
    here, away = rows[:, 5] > ON_TARGET, np.isnan(rows[:, 5])
    used = rows[here | away]
    truth = ~np.isnan(used[:, 5])
    weights = np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum()) * len(used)
    inputs = np.column_stack([used[:, 2], used[:, 2] - used[:, 3]])
    found = logistic(inputs, truth.astype(float), weights)
    if found[2] >= 0:
        return found
    return logistic(inputs * (1, 0), truth.astype(float), weights)  # the ridge holds the second weight at zero


def evidence(rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    """As siamedge.runtime.tracking.evidence has it, without bounds."""
    return np.asarray(found[0] + found[1] * rows[:, 2] + found[2] * (rows[:, 2] - rows[:, 3]))


def roc_auc(high: np.ndarray, low: np.ndarray) -> float:
    """Share of pairs in the right order, ties half; nan without pairs."""
    if not (len(high) and len(low)):
        return float("nan")
    low = np.sort(low)
    return float(np.mean((np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")) / 2 / len(low)))


def left_out_auc(rows: np.ndarray) -> float:
    """ROC-AUC, present (followed or not) against absent, of the clips that a fit has not seen."""
    scores = np.zeros(len(rows))
    for fold in range(FOLDS):
        is_out = rows[:, 0] % FOLDS == fold
        if is_out.any():
            scores[is_out] = evidence(rows[is_out], fit(rows[~is_out]))
    away = np.isnan(rows[:, 5])
    return roc_auc(scores[~away], scores[away])

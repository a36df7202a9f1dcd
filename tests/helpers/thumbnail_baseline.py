"""How far thumbnails and a linear model get: the number that says the phantom is not a toy."""

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # what scikit-learn itself uses

_SIDE = 32


def thumbnail_baseline(
    train_images: np.ndarray, train_labels: np.ndarray, test_images: np.ndarray, test_labels: np.ndarray
) -> dict:
    """Fits one logistic regression a class on standardised 32 x 32 thumbnails.

    Args:
      train_images, test_images: uint8 (n, H, W), any H and W per set.
      train_labels, test_labels: (n, classes) of 0 and 1.

    Returns:
      {"macro": mean AUROC over the classes that have one, "per_class": one AUROC a column}. None stands where
      the train or the test column holds a single value.
    """
    scaler = StandardScaler()
    train, test = scaler.fit_transform(_thumbnails(train_images)), scaler.transform(_thumbnails(test_images))
    per_class: list[float | None] = []
    for truth, held_out in zip(np.asarray(train_labels).T, np.asarray(test_labels).T, strict=True):
        if min(len(np.unique(truth)), len(np.unique(held_out))) < 2:
            per_class.append(None)
            continue
        with threadpool_limits(limits=1):  # products this small only get slower on several threads
            model = LogisticRegression(C=0.01, max_iter=300).fit(train, truth)
        per_class.append(float(roc_auc_score(held_out, model.decision_function(test))))
    known = [value for value in per_class if value is not None]
    return {"macro": float(np.mean(known)) if known else None, "per_class": per_class}


def _thumbnails(images: np.ndarray) -> np.ndarray:
    small = [cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for image in images]
    return np.stack(small).reshape(len(small), -1).astype(np.float32)

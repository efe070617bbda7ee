"""Which document comes when: a pure function of seed and epoch, the same for any number of readers."""

import numpy as np

from trivium.core.random import Key


def document_order(num_documents: int, key: Key | None, epoch: int) -> np.ndarray:
    """Return the documents' numbers in the order of this epoch, int64; without a key, as they were stored."""
    if key is None:
        return np.arange(num_documents)
    return key.child("order", epoch).numpy().permutation(num_documents)

"""What a prepared text should hold before a network is trained on it."""

from collections.abc import Iterator
from itertools import islice
from time import perf_counter

import numpy as np

from trivium.data.shards import PreparedData, Split
from trivium.model.config import ModelConfig
from trivium.train.findings import Finding, config_error, data_error

_MAX_TOKENS = 2**24  # of the text that is counted: a fraction of a second
_MOST_ONE_TOKEN, _MOST_UNKNOWN, _LEAST_USED = 0.5, 0.02, 0.1
_LEAST_BYTES, _LARGE_VOCABULARY = 1.6, 400
_MOST_EMPTY, _MOST_LEAKED = 0.05, 0.05
_LEAST_DOCUMENT, _MAX_DOCUMENTS = 16, 20_000  # shorter texts are alike by chance


def text_findings(data: PreparedData, model: ModelConfig, *, deadline: float) -> Iterator[Finding]:
    """Yield what is wrong with the text, or with the tokenizer that cut it.

    Args:
        data: prepared text.
        model: whose vocabulary must hold the text's tokens.
        deadline: of `perf_counter`; the search for texts of the one split in the other ends there.
    """
    train, tokenizer = data.split("train"), data.tokenizer
    counts_V = train.token_counts(tokenizer.vocabulary_size, max_tokens=_MAX_TOKENS)
    seen = np.flatnonzero(counts_V)
    if len(seen) and seen[-1] >= model.vocabulary_size:
        yield config_error(
            "vocabulary",
            f"the text has token ids up to {seen[-1]}, and the model {model.vocabulary_size} rows for them "
            "(model.vocabulary_size); leave it out, so that the tokenizer's size is taken.",
        )
    yield from _token_findings(data, counts_V)
    empty = float((train.lengths_S <= 2).mean())
    if empty > _MOST_EMPTY:
        yield Finding(
            "empty",
            f"{100 * empty:.0f} % of the texts hold nothing between their begin and end; look at what was prepared, "
            "and at its --boundary.",
        )
    leaked = leaked_share(train, data.split("validation"), deadline=deadline)
    if leaked > _MOST_LEAKED:
        yield Finding(
            "leak",
            f"{100 * leaked:.0f} % of the validation text stand word for word in the training text: the held-out loss "
            "will be too good; remove duplicates and prepare the data again.",
        )


def _token_findings(data: PreparedData, counts_V: np.ndarray) -> Iterator[Finding]:
    tokenizer, train = data.tokenizer, data.split("train")
    words_V = counts_V.copy()
    words_V[[token for token in tokenizer.special.all() if token < len(words_V)]] = 0
    unknown = tokenizer.unknown
    share = 0.0 if unknown is None or unknown >= len(counts_V) else counts_V[unknown] / counts_V.sum()
    if share > _MOST_UNKNOWN:
        yield Finding(
            "unknown",
            f"{100 * share:.0f} % of the text are tokens that the tokenizer does not know: it was made for another "
            "text; prepare the data with one of its own.",
        )
    kinds = np.count_nonzero(words_V)
    if kinds < 2:
        yield data_error(
            "tokens", f"the training text holds {kinds} kinds of tokens beside special ones: there is nothing to learn."
        )
        return
    common = int(words_V.argmax())
    if words_V[common] > _MOST_ONE_TOKEN * words_V.sum() and common != unknown:
        yield Finding(
            "tokens",
            f"one token, {tokenizer.token_texts([common])[0]!r}, is {100 * words_V[common] / words_V.sum():.0f} % of "
            "the text; expected language: look at what was prepared.",
        )
    # A text of so many tokens has at least this many kinds of the vocabulary it was cut by.
    possible = min(len(counts_V), int(words_V.sum()) // 20)
    if kinds < _LEAST_USED * possible:
        yield Finding(
            "vocabulary_use",
            f"the text uses {kinds:,} of {len(counts_V):,} kinds of tokens: the vocabulary was made for another text, "
            "or is too large; prepare the data with a tokenizer of its own.",
        )
    bytes_a_token = train.num_bytes / max(1, train.num_tokens - 2 * train.num_documents)
    if len(counts_V) >= _LARGE_VOCABULARY and 0 < bytes_a_token < _LEAST_BYTES:
        yield Finding(
            "tokenizer",
            f"a token is {bytes_a_token:.2f} bytes of text on average, with {len(counts_V):,} kinds of them: the "
            "tokenizer was made for another text, or its vocabulary is small for this one (--vocabulary-size).",
        )


def leaked_share(train: Split, validation: Split, *, deadline: float) -> float:
    """Return the share of the validation text that stands in the training text, as whole documents.

    Documents of fewer than 16 tokens are not looked at, and 20,000 of the validation split at most.

    Args:
        train, validation: the splits.
        deadline: of `perf_counter`; what was found by then is returned.
    """
    wanted: dict[bytes, int] = {}
    total = 0
    for document in islice(validation.documents(), _MAX_DOCUMENTS):
        if len(document) >= _LEAST_DOCUMENT:
            total += len(document)
            wanted[document.tobytes()] = wanted.get(document.tobytes(), 0) + len(document)
    if not wanted:
        return 0.0
    itemsize = next(iter(validation.documents())).dtype.itemsize
    lengths = {len(document) // itemsize for document in wanted}
    alike = np.flatnonzero(np.isin(train.lengths_S, sorted(lengths)))
    found = 0
    for number in alike:
        tokens, _ = train.read(int(number), 0, int(train.lengths_S[number]))
        found += wanted.pop(tokens.tobytes(), 0)
        if perf_counter() > deadline:
            break
    return found / total

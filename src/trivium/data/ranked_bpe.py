"""Byte-level BPE by tiktoken: the ids of the library that trains it, three to four times as fast."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import tiktoken
import tokenizers

from trivium.data.tokenizer_training import PIECES

# What the library cuts by where its byte-level step does that itself, which is GPT-2's.
_GPT2_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# tiktoken's regular expressions give up at a million, and end the process' thread.
_MOST_SPACE = 500_000
_TOO_MUCH_SPACE = re.compile(rf"\s{{{_MOST_SPACE}}}")


def ranked_bpe(
    library: tokenizers.Tokenizer, settings: Mapping[str, Any], pieces: Sequence[bytes], special: Collection[int]
) -> tiktoken.Encoding | None:
    """Return what gives the ids that a byte-level BPE gives, by the ranks of its tokens; None where they may differ.

    The library merges the pair that its list of merges has first, tiktoken the pair that makes the token of the lowest
    id. Those are the same where the list is in the order of the ids, names each token once, and makes each token of
    its own bytes: what lies within a token's bytes before it is made has merged as if it were alone, so that no other
    two tokens that would make it ever stand there side by side.

    Args:
        library: the tokenizer.
        settings: its tokenizer.json.
        pieces: the bytes that each id stands for.
        special: ids that never come out of text.
    """
    pattern = _pattern(settings["pre_tokenizer"])
    model = settings["model"]
    plain = not (model.get("dropout") or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"))
    if model["type"] != "BPE" or settings["normalizer"] is not None or pattern is None or not plain:
        return None
    if any(token["id"] not in special for token in settings["added_tokens"]):
        return None
    vocabulary: dict[str, int] = model["vocab"]
    merged = [vocabulary[left + right] for left, right in model["merges"]]
    if any(first >= second for first, second in pairwise(merged)):
        return None
    ordinary = {name: number for name, number in vocabulary.items() if number not in special}
    ranks = {pieces[number]: number for number in ordinary.values()}
    if len(ranks) != len(ordinary) or any(bytes([byte]) not in ranks for byte in range(256)):
        return None
    if any([token.id for token in library.model.tokenize(name)] != [number] for name, number in ordinary.items()):
        return None
    return tiktoken.Encoding("byte-level BPE", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def can_encode(texts: Sequence[str]) -> bool:
    """Return whether tiktoken bears these texts."""
    return not any(len(text) > _MOST_SPACE and _TOO_MUCH_SPACE.search(text) for text in texts)


def encode_all(encoding: tiktoken.Encoding, texts: Sequence[str]) -> list[np.ndarray]:
    """Return the ids of each text, int32 [tokens], on all cores."""
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 16)

    def encode(first: int) -> list[np.ndarray]:
        return [encoding.encode_to_numpy(text, disallowed_special=()).view(np.int32) for text in texts[first::workers]]

    ids: list[np.ndarray] = [np.zeros(0, dtype=np.int32)] * len(texts)
    with ThreadPoolExecutor(workers) as pool:
        for first, found in enumerate(pool.map(encode, range(workers))):
            ids[first::workers] = found
    return ids


def _pattern(step: Any) -> str | None:
    """Return by which pattern text is cut, of patterns that both libraries read alike; None of another."""
    if step is None:
        return None
    steps = step["pretokenizers"] if step["type"] == "Sequence" else [step]
    last = steps[-1]
    if last["type"] != "ByteLevel" or last["add_prefix_space"]:
        return None
    if len(steps) == 1:
        return _GPT2_PIECES if last["use_regex"] else None
    cut = {"type": "Split", "pattern": {"Regex": PIECES}, "behavior": "Isolated", "invert": False}
    return PIECES if steps[:-1] == [cut] and not last["use_regex"] else None

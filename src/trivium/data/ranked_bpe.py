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
_BETWEEN = "\ufdd0"  # texts; no character, and so in no text that is one
# tiktoken's regular expressions give up at a million, and end the process' thread.
_MOST_SPACE = 500_000
_SPACE = re.compile(r"\s+")
_SHARE = 50_000  # characters that are worth a thread


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
    # With `ignore_merges` a whole piece is looked up before anything is merged: what is asked below would say nothing.
    others = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
    plain = not any(model.get(name) for name in others)
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
    # As an ordinary token of a piece of its own: where special ones are allowed tiktoken searches the text a second
    # time. One that never occurs it must have: of none at all it makes a pattern that it finds at every character.
    between = max(len(pieces), *ranks.values()) + 1
    ranks[_BETWEEN.encode()] = between
    never = {2 * _BETWEEN: between + 1}
    return tiktoken.Encoding("byte-level BPE", pat_str=_parting(pattern), mergeable_ranks=ranks, special_tokens=never)


def can_encode(texts: Sequence[str]) -> bool:
    """Return whether tiktoken bears these texts: not endless white space, nor what stands between texts."""
    return not any(
        _BETWEEN in text or (len(text) > _MOST_SPACE and _longest_space(text) >= _MOST_SPACE) for text in texts
    )


def _longest_space(text: str) -> int:
    return max((match.end() - match.start() for match in _SPACE.finditer(text)), default=0)


def encode_all(encoding: tiktoken.Encoding, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of all texts, one after another, int32, and how many each has, int64, on all cores.

    Many texts are given at once, with a token between them that parts them as their ends do: a thread that asked for
    text after text would wait for Python's lock at each.
    """
    ends = np.cumsum([len(text) for text in texts])
    whole = int(ends[-1]) if len(texts) else 0
    workers = min(_num_cores(), 1 + whole // _SHARE)
    if workers == 1:
        return _encode_some(encoding, texts)
    cuts = np.searchsorted(ends, [whole * part // workers for part in range(1, workers)]).tolist()
    shares = [texts[first:last] for first, last in pairwise((0, *cuts, len(texts)))]
    with ThreadPoolExecutor(workers) as pool:
        ids, counts = zip(*pool.map(lambda some: _encode_some(encoding, some), shares), strict=True)
    return np.concatenate(ids), np.concatenate(counts)


def _num_cores() -> int:
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 16)


def _encode_some(encoding: tiktoken.Encoding, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    if not texts:
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
    ids = encoding.encode_to_numpy(_BETWEEN.join(texts), disallowed_special=())
    is_between = ids == encoding.max_token_value - 1  # the highest is the one that never occurs
    parts = np.flatnonzero(is_between)
    return ids[~is_between].view(np.int32), np.diff(np.concatenate(([-1], parts, [len(ids)]))) - 1


def _parting(pattern: str) -> str:
    """Return a pattern that cuts as this one does, and at what stands between texts as at their ends.

    It is a piece wherever one begins; within pieces only runs of signs could hold it, and white space look at it.
    """
    signs, before_more = r"[^\s\p{L}\p{N}]", r"(?!\S)"
    apart = pattern.replace(signs, f"{signs[:-1]}{_BETWEEN}]").replace(before_more, rf"(?![^\s{_BETWEEN}])")
    return f"{_BETWEEN}|{apart}"


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

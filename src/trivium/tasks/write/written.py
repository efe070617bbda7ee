"""What a model writes, and how good that is: texts out of pieces, the loss of targets, and scores of texts."""

from collections import Counter
from collections.abc import Callable, Sequence

import torch

from trivium.core.layout import TokenLayout
from trivium.core.progress import nobody
from trivium.core.random import Key
from trivium.model.decoding import Decoding
from trivium.model.device import device_of
from trivium.model.generate import decode
from trivium.model.heads import Network, labelled_states
from trivium.model.packed import packed
from trivium.tasks.metrics import Bleu, Chrf, Distinct, Rouge
from trivium.tasks.metrics.bootstrap import Interval, mean
from trivium.tasks.metrics.likely import counted_interval
from trivium.tasks.metrics.rouge import rouge_score
from trivium.tasks.metrics.text_units import split_13a, split_words, split_zh
from trivium.tasks.pieces import (
    Encoded,
    Piece,
    Reading,
    fit_rows,
    own_length,
    pack,
    row_capacity,
    source_length,
    sources,
)
from trivium.tasks.scores import Mistake, WorstMistakes
from trivium.tasks.write.config import BleuTokens

ROWS = 16
_SHOWN = 400  # characters of a text
_SPLITS = {"13a": split_13a, "zh": split_zh, "words": split_words}


def outputs(
    network: Network,
    pieces: Sequence[Piece],
    reading: Reading,
    decoding: Decoding,
    *,
    seed: int,
    told: Callable[[int], None] = nobody,
) -> list[str]:
    """Return the text that is written for each piece, in order, each as it would be alone.

    Args:
        network: what writes; it is left in the mode (training or not) it was in.
        pieces: what is given of them is gone on from.
        reading: the model's.
        decoding: how.
        seed: of what is drawn; equal sources draw equal texts.
        told: how many more texts are written.
    """
    texts = [""] * len(pieces)
    order = sorted(range(len(pieces)), key=lambda number: -(pieces[number].given + source_length(pieces[number])))
    was_training = network.training
    network.eval()
    writer = packed(network, rows=min(ROWS, len(pieces)) * decoding.rows)
    for start in range(0, len(order), ROWS):
        numbers = order[start : start + ROWS]
        written = _batch_outputs(writer, [pieces[number] for number in numbers], reading, decoding, seed)
        for number, text in zip(numbers, written, strict=True):
            texts[number] = text
        told(len(numbers))
    network.train(was_training)
    return texts


def _batch_outputs(
    network: Network, pieces: Sequence[Piece], reading: Reading, decoding: Decoding, seed: int
) -> list[str]:
    tokenizer = reading.tokenizer
    stop = tokenizer.special.stops | {tokenizer.special.eos}
    unused = range(tokenizer.vocabulary_size, network.head.projection.weight.shape[0])
    source = None
    if reading.source:
        longest = max(map(source_length, pieces))
        source = sources([[piece] for piece in pieces], reading._replace(row_length=longest), len(pieces))
    found = decode(
        network,
        [piece.tokens_L[: piece.given].tolist() for piece in pieces],
        decoding,
        stop=stop,
        keys=[_key(piece, seed) for piece in pieces],
        forbidden=sorted((tokenizer.special.all() | set(unused)) - stop),
        source=source,
        read=TokenLayout.bidirectional if reading.prefix else TokenLayout.causal,
    )
    return [tokenizer.decode(best.tokens) for best, *_ in found]


def _key(piece: Piece, seed: int) -> Key:
    """Return the key of what is drawn for a piece: that of what is read of it."""
    read = piece.tokens_L[: piece.given] if piece.source_L is None else piece.source_L
    return Key(seed).child("write", *read.tolist())


@torch.inference_mode()
def target_nats(network: Network, encoded: Encoded, *, rows: int = ROWS) -> tuple[float, int]:
    """Return the summed cross-entropy of the targets' tokens and their end tokens, nats, and how many there are."""
    reading, pieces = encoded.reading, sorted(encoded.pieces, key=lambda piece: -len(piece.tokens_L))
    length = own_length(pieces, reading)
    filled = fit_rows(pieces, reading, length)
    capacity = row_capacity(pieces, length)
    nats, was_training = 0.0, network.training
    network.eval()
    for start in range(0, len(filled), rows):
        chosen = [[pieces[number] for number in row] for row in filled[start : start + rows]]
        batch = pack(chosen, reading, num_rows=len(chosen), capacity=capacity, length=length).batch
        batch = batch.to(device_of(network))
        hidden_ND = labelled_states(network, batch)
        nats += float(network.head.summed_nats(hidden_ND, batch.labels_BN.flatten(), batch.weights_BN.flatten()))
    network.train(was_training)
    return nats, encoded.num_answers


def text_scores(given: Sequence[str], references: Sequence[Sequence[str]], bleu: BleuTokens) -> dict[str, float]:
    """Return how near texts are to the right ones, and how varied they are; each 0 to 1.

    Args:
        given: the texts.
        references: the right texts of each.
        bleu: how they are cut for BLEU.
    """
    rouge, corpus, chrf, distinct, exact = Rouge(), Bleu(_SPLITS[bleu]), Chrf(), Distinct(), 0
    for text, right in zip(given, references, strict=True):
        rouge.add(text, right)
        corpus.add(text, right)
        chrf.add(text, right)
        distinct.add(text)
        exact += text.strip() in {reference.strip() for reference in right}
    rouges = rouge.metrics()
    return {
        "rouge_1": rouges["rouge1"],
        "rouge_2": rouges["rouge2"],
        "rouge_l": rouges["rougeL"],
        **corpus.metrics(),
        **chrf.metrics(),
        "exact": exact / max(1, len(given)),
        **distinct.metrics(),
    }


def rouge_interval(given: Sequence[str], references: Sequence[Sequence[str]], *, key: Key) -> Interval | None:
    """Return the 95 % interval of ROUGE-L, over texts; None without any."""
    scores = (rouge_score(text, right).rougeL for text, right in zip(given, references, strict=True))
    counts: Counter[tuple[float, ...]] = Counter((score,) for score in scores)
    return counted_interval(counts, mean, key=key)


def worst_written(
    given: Sequence[str], references: Sequence[Sequence[str]], numbers: Sequence[int]
) -> tuple[Mistake, ...]:
    """Return the texts of the lowest ROUGE-L, of those that are not right, each beside the first right one.

    Args:
        given: the texts.
        references: the right texts of each.
        numbers: of the examples that they were written for.
    """
    worst = WorstMistakes()
    for number, text, right in zip(numbers, given, references, strict=True):
        score = rouge_score(text, right).rougeL
        if score < 1.0:
            worst.add(Mistake(None, number, 0, shortened(right[0]), shortened(text), rouge_l=score))
    return worst.worst_first()


def shortened(text: str) -> str:
    """Return the beginning of a text, for tables."""
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "\u2026"


def brief_scores(given: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return the few scores that an epoch is judged by."""
    scores = text_scores(given, references, "13a")
    return {name: scores[name] for name in ("rouge_l", "chrf", "exact")}

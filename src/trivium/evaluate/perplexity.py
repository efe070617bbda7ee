"""How well a pretrained model predicts held-out text, in units that can be compared, beside a count model."""

import math
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, assert_never

import numpy as np
import torch

from trivium.core.batch import Batch, Rows
from trivium.core.config import parse, read_toml
from trivium.core.errors import CheckpointError, ConfigError
from trivium.core.progress import Progress
from trivium.core.ramp import at
from trivium.core.random import Key
from trivium.data.neighbours import UNKNOWN, NeighbourCounts
from trivium.data.ngram import KneserNey
from trivium.data.packing import RowReader
from trivium.data.shards import PreparedData
from trivium.hub.open import is_foreign, open_pretrained
from trivium.model.folder import load_model
from trivium.model.heads import Network
from trivium.objectives.base import Objective, score_labels
from trivium.objectives.build import (
    DistilConfig,
    MixedConfig,
    ObjectiveConfig,
    Ul2Config,
    Vocabulary,
    build_objective,
    usual_objective,
)
from trivium.objectives.causal import Causal, CausalConfig
from trivium.objectives.contrastive import ContrastiveConfig
from trivium.objectives.denoise import DenoiseConfig
from trivium.objectives.fill_in import FillInConfig
from trivium.objectives.hiding import SingleTokens
from trivium.objectives.masked import Masked, MaskedConfig
from trivium.objectives.permuted import PermutedConfig
from trivium.objectives.prefix import PrefixConfig
from trivium.objectives.replaced import ReplacedConfig
from trivium.objectives.sentences import SentencesConfig
from trivium.objectives.spans import Spans, SpansConfig
from trivium.train.config import DataConfig, RunConfig

ORDER = 5
_ROWS_PER_BATCH = 32


class Quality(NamedTuple):
    """A model and a count model on the same places of the same text; fewer bits and higher accuracies are better."""

    unit: str
    model: float
    baseline: float
    baseline_name: str
    accuracy: float
    baseline_accuracy: float | None
    predicted: int  # tokens
    coverage: float  # share of the split's rows that were read


class CountModels:
    """The count models of one prepared data set, each fitted to its training split when it is first asked for."""

    def __init__(self, data: PreparedData) -> None:
        self._data = data

    @cached_property
    def ngram(self) -> KneserNey:
        """Interpolated Kneser-Ney."""
        size = self._data.tokenizer.vocabulary_size
        return KneserNey.fit(self._data.split("train").documents(), order=ORDER, vocabulary_size=size)

    @cached_property
    def neighbours(self) -> NeighbourCounts:
        """p(token | left, right)."""
        size = self._data.tokenizer.vocabulary_size
        return NeighbourCounts.fit(self._data.split("train").documents(), vocabulary_size=size)


class _Scored(NamedTuple):
    """One number for each predicted token of a batch of rows."""

    bits: np.ndarray
    correct: np.ndarray
    baseline_bits: np.ndarray
    baseline_correct: np.ndarray | None
    num_bytes: int  # UTF-8 bytes of the predicted tokens


def measure_quality(
    network: Network,
    learned: ObjectiveConfig,
    data: PreparedData,
    split: str,
    *,
    row_length: int,
    counts: CountModels,
    progress: Progress,
    max_rows: int | None = None,
) -> Quality:
    """Score a network on a split with what its objective predicts.

    Causal: bits a byte of the text, end tokens included (bits a token where the tokenizer loses text), beside a
    Kneser-Ney 5-gram. Masked: bits and accuracy at the hidden tokens, beside counts of (left, token, right), which
    see both true neighbours. Spans: bits a hidden byte, sentinels excluded, beside the 5-gram, which sees the true
    text to the left. Model and count model see the same rows, cut at the same places.

    Args:
        network: the pretrained network.
        learned: what it was pretrained with; see `comparable` for what is measured of it.
        data: prepared text; its training split fits the count models.
        split: the split that is scored.
        row_length: tokens a row, as in training.
        counts: the data's count models.
        progress: shown how far it is.
        max_rows: read only so many rows, evenly spread (coverage says which share); None = all.
    """
    vocabulary = Vocabulary(data.tokenizer.special, data.tokenizer.vocabulary_size)
    objective = build_objective(comparable(learned), vocabulary)
    reader = RowReader(data.split(split), row_length=row_length, key=None, pad=data.tokenizer.special.pad)
    num_rows = min(reader.rows_per_epoch, max_rows or reader.rows_per_epoch)
    chosen = np.unique(np.linspace(0, reader.rows_per_epoch - 1, num_rows).astype(int))
    key, scored = Key(0).child("evaluate"), []
    progress.start(f"evaluate {split}", len(chosen), "rows")
    network.eval()
    for start in range(0, len(chosen), _ROWS_PER_BATCH):
        rows = _gather(reader, chosen[start : start + _ROWS_PER_BATCH])
        match objective:
            case Causal():
                scored.append(_causal(network, objective, rows, key, counts.ngram, data.tokenizer.num_bytes_V))
            case Masked():
                scored.append(_masked(network, objective, rows, key, counts.neighbours))
            case Spans():
                scored.append(_spans(network, objective, rows, key, counts.ngram, data.tokenizer.num_bytes_V))
            case _:
                raise TypeError(f"no measure of quality for {type(objective).__name__}")
        progress.advance(start + len(rows.row_B))
    return _quality(objective, scored, lossless=data.manifest.lossless, coverage=len(chosen) / reader.rows_per_epoch)


def comparable(config: ObjectiveConfig) -> MaskedConfig | CausalConfig | SpansConfig:
    """Return the objective by which a network is measured that was pretrained with this one, or a UserError is raised.

    What writes from left to right is measured causally; of a mixture the first part that can be measured, of hidden
    tokens those of the end of the run, single ones as often as their kind is.

    Raises:
        ConfigError: it has no measure in bits that others share.
    """
    match config:
        case MaskedConfig():
            return config.model_copy(update={"rarity": 0.0, "unit": SingleTokens(), "rate": at(config.rate, 1.0)})
        case CausalConfig() | PrefixConfig() | FillInConfig():
            return CausalConfig()
        case SpansConfig():
            return config.model_copy(update={"placement": "spread"})
        case Ul2Config():
            return SpansConfig(mode="regular")
        case SentencesConfig(masked=masked):
            return comparable(masked)
        case DistilConfig(objective=objective):
            return comparable(objective)
        case MixedConfig(parts=parts):
            for part in parts:
                try:
                    return comparable(part.objective)
                except ConfigError:
                    continue
            raise ConfigError("no part of this mixture is measured in bits that others share; compare runs on a task.")
        case PermutedConfig() | DenoiseConfig() | ReplacedConfig() | ContrastiveConfig():
            raise ConfigError(
                f"objective `{config.kind}` is not measured in bits that others share: its held-out loss is in "
                "results.json; compare runs on a task (`trivium finetune`, `trivium compare`)."
            )
        case _:
            assert_never(config)


def _quality(objective: Objective, scored: list[_Scored], *, lossless: bool, coverage: float) -> Quality:
    tokens = sum(len(part.bits) for part in scored)
    num_bytes = sum(part.num_bytes for part in scored)
    by_token = isinstance(objective, Masked) or not lossless or num_bytes == 0
    unit = "bits a byte" if isinstance(objective, Causal) else "bits a hidden byte"
    if by_token:
        unit = "bits a token" if isinstance(objective, Causal) else "bits a hidden token"
    divisor = max(tokens if by_token else num_bytes, 1)
    hits = [part.baseline_correct for part in scored if part.baseline_correct is not None]
    return Quality(
        unit=unit,
        model=sum(float(part.bits.sum()) for part in scored) / divisor,
        baseline=sum(float(part.baseline_bits.sum()) for part in scored) / divisor,
        baseline_name="counts of both neighbours" if isinstance(objective, Masked) else "Kneser-Ney 5-gram",
        accuracy=sum(int(part.correct.sum()) for part in scored) / max(tokens, 1),
        baseline_accuracy=float(np.concatenate(hits).mean()) if hits else None,
        predicted=tokens,
        coverage=coverage,
    )


def _causal(
    network: Network, objective: Causal, rows: Rows, key: Key, ngram: KneserNey, num_bytes_V: np.ndarray
) -> _Scored:
    bits_BN, correct_BN, labels_BN, used_BN = _model(network, objective.make(rows, key))
    ngram_BL = _ngram_bits(rows, ngram)
    return _Scored(
        bits=bits_BN[used_BN],
        correct=correct_BN[used_BN],
        baseline_bits=ngram_BL[:, 1:][used_BN],
        baseline_correct=None,
        num_bytes=int(num_bytes_V[labels_BN[used_BN]].sum()),
    )


def _masked(network: Network, objective: Masked, rows: Rows, key: Key, counts: NeighbourCounts) -> _Scored:
    batch = objective.make(rows, key)
    bits_BN, correct_BN, labels_BN, used_BN = _model(network, batch)
    row_K, slot_K = np.nonzero(used_BN)
    # Where the hidden token is, which may be predicted from the place before.
    place_K = batch.places_BN.numpy()[row_K, slot_K] + (objective.config.predicted_from == "before")
    tokens_BL, document_BL = rows.tokens_BL, rows.document_BL
    left_K = _neighbour(tokens_BL, document_BL, row_K, place_K, -1)
    right_K = _neighbour(tokens_BL[:, :-1], document_BL[:, :-1], row_K, place_K, 1)
    label_K = labels_BN[row_K, slot_K]
    return _Scored(
        bits=bits_BN[row_K, slot_K],
        correct=correct_BN[row_K, slot_K],
        baseline_bits=-counts.log2_probabilities(left_K, label_K, right_K),
        baseline_correct=counts.predict(left_K, right_K) == label_K,
        num_bytes=0,
    )


def _spans(
    network: Network, objective: Spans, rows: Rows, key: Key, ngram: KneserNey, num_bytes_V: np.ndarray
) -> _Scored:
    bits_BN, correct_BN, labels_BN, used_BN = _model(network, objective.make(rows, key))
    used_BN &= ~np.isin(labels_BN, objective.special.sentinels)
    hidden_BL = objective.hidden(rows, key)
    return _Scored(
        bits=bits_BN[used_BN],
        correct=correct_BN[used_BN],
        # Row by row the hidden tokens come in the order of the text in both.
        baseline_bits=_ngram_bits(rows, ngram)[:, :-1][hidden_BL],
        baseline_correct=None,
        num_bytes=int(num_bytes_V[labels_BN[used_BN]].sum()),
    )


@torch.inference_mode()
def _model(network: Network, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return bits_BN, correct_BN, labels_BN and used_BN of the labelled places."""
    scores = score_labels(network, batch)
    bits_BN = scores.nats_BN.double().numpy() / math.log(2.0)
    return bits_BN, scores.correct_BN.numpy(), batch.labels_BN.numpy(), batch.weights_BN.numpy() > 0


def _ngram_bits(rows: Rows, ngram: KneserNey) -> np.ndarray:
    """Return bits_BL of each token given what precedes it in its piece of the row; 0 for a piece's first token."""
    bits_BL = np.zeros(rows.tokens_BL.shape)
    places = []
    for b, document_L in enumerate(rows.document_BL):
        cuts = np.flatnonzero(np.diff(document_L, prepend=-2))
        places += [
            (b, int(start), int(stop))
            for start, stop in zip(cuts, [*cuts[1:], len(document_L)], strict=True)
            if document_L[start] >= 0
        ]
    log2s = ngram.log2_probabilities_of([rows.tokens_BL[b, start:stop] for b, start, stop in places])
    for (b, start, stop), log2 in zip(places, log2s, strict=True):
        bits_BL[b, start + 1 : stop] = -log2
    return bits_BL


def _neighbour(
    tokens_BL: np.ndarray, document_BL: np.ndarray, row_K: np.ndarray, place_K: np.ndarray, offset: int
) -> np.ndarray:
    """Return the token beside each place, UNKNOWN where that is outside of its document's piece of the row."""
    other_K = place_K + offset
    inside_K = (other_K >= 0) & (other_K < tokens_BL.shape[1])
    other_K = np.clip(other_K, 0, tokens_BL.shape[1] - 1)
    same_K = inside_K & (document_BL[row_K, other_K] == document_BL[row_K, place_K])
    return np.where(same_K, tokens_BL[row_K, other_K], UNKNOWN)


def _gather(reader: RowReader, numbers: np.ndarray) -> Rows:
    parts = [reader.rows(int(number), int(number) + 1) for number in numbers]
    return Rows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def evaluate_run(run: Path, data_folder: Path, split: str, *, progress: Progress) -> Quality:
    """Score a pretrained run, or a Hugging Face folder, on a split of prepared data; see `measure_quality`.

    Raises:
        CheckpointError: the run or its model is missing or damaged, or its tokenizer is not the data's.
    """
    data = PreparedData.open(data_folder)
    if is_foreign(run):
        saved = open_pretrained(run, speaks=True)
        learned = usual_objective(saved.config)
        row_length = min(DataConfig().row_length, saved.config.max_length)
    else:
        config = parse(RunConfig, read_toml(run / "config.toml"), str(run / "config.toml"))
        saved = load_model(run / "model")
        learned, row_length = config.objective, config.data.row_length
    if saved.tokenizer != data.tokenizer.to_bytes():
        raise CheckpointError(
            f"{run}: its tokenizer is not that of {data_folder}; prepare the text with --tokenizer {run}."
        )
    counts = CountModels(data)
    return measure_quality(saved.network, learned, data, split, row_length=row_length, counts=counts, progress=progress)

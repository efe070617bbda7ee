"""Whether the labels of a batch are those of the text that it was made of."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, assert_never

import numpy as np
import torch

from trivium.core.batch import AnyBatch, Batch, MixedBatch, Rows
from trivium.core.layout import visible
from trivium.core.special import SpecialTokens
from trivium.objectives.build import DistilConfig, MixedConfig, ObjectiveConfig, Ul2Config, ul2_parts
from trivium.objectives.causal import CausalConfig
from trivium.objectives.contrastive import ContrastiveConfig
from trivium.objectives.denoise import DenoiseConfig
from trivium.objectives.fill_in import FillInConfig
from trivium.objectives.masked import MaskedConfig
from trivium.objectives.permuted import PermutedConfig
from trivium.objectives.prefix import PrefixConfig
from trivium.objectives.replaced import ReplacedConfig
from trivium.objectives.sentences import SentencesConfig
from trivium.objectives.spans import SpansConfig
from trivium.train.findings import Finding, config_error

_MOST_READABLE = 0.5  # of hidden tokens that stay what they are
_LEAST_LABELS = 1
_SHIFTS = (-2, -1, 1, 2)


class Labelled(NamedTuple):
    """What one objective made of some rows, and what its labels are to agree with.

    Args:
        name: of the objective, or of the part of a mixture.
        batch: what it made.
        text_BL: the tokens that its labels stand in, by place; None = the labels are no tokens of a row.
        ahead: the label of a place stands so many places on.
        hidden: the places themselves must not show their labels.
    """

    name: str
    batch: Batch
    text_BL: torch.Tensor | None
    ahead: int
    hidden: bool


def labelled_parts(config: ObjectiveConfig, rows: Rows, batch: AnyBatch) -> list[Labelled]:
    """Return what each objective of a run made of the rows; parts of a mixture that have no row are left out."""
    match config:
        case MixedConfig(parts=parts):
            configs: Sequence[ObjectiveConfig] = [part.objective for part in parts]
        case Ul2Config():
            configs = [part.objective for part in ul2_parts(config)]
        case _:
            configs = [config]
    if isinstance(batch, Batch):
        return [_labelled(configs[0], rows, batch)]
    if not isinstance(batch, MixedBatch):
        raise TypeError(f"expected a batch, found {type(batch).__name__}")
    made = zip(configs, batch.parts, batch.rows_of, strict=True)
    return [
        _labelled(each, Rows(*(column[numbers] for column in rows)), part)
        for each, part, numbers in made
        if part is not None
    ]


def _labelled(config: ObjectiveConfig, rows: Rows, batch: Batch) -> Labelled:
    text_BL = torch.from_numpy(rows.tokens_BL)
    match config:
        case DistilConfig(objective=inner):
            return _labelled(inner, rows, batch)
        case ReplacedConfig(masked=masked):
            return _labelled(masked, rows, batch)._replace(name=config.kind)
        case MaskedConfig(predicted_from=place):
            return Labelled(config.kind, batch, text_BL, int(place == "before"), hidden=True)
        case CausalConfig() | PrefixConfig():
            return Labelled(config.kind, batch, text_BL, 1, hidden=True)
        case FillInConfig() | SpansConfig() | DenoiseConfig():
            # What is written is arranged anew; but each token is read where the one after it is asked.
            return Labelled(config.kind, batch, batch.tokens_BL, 1, hidden=True)
        case PermutedConfig() | SentencesConfig():
            return Labelled(config.kind, batch, None, 0, hidden=True)
        case ContrastiveConfig():
            return Labelled(config.kind, batch, None, 0, hidden=False)
        case MixedConfig() | Ul2Config():
            raise TypeError("a mixture's rows are those of its parts")
        case _:
            assert_never(config)


def label_findings(part: Labelled, special: SpecialTokens, vocabulary_size: int) -> Iterator[Finding]:
    """Yield what is wrong with the labels of one objective's rows.

    Args:
        part: see `labelled_parts`.
        special: the special tokens.
        vocabulary_size: of the model.
    """
    name, batch = part.name, part.batch
    used_BN = batch.weights_BN > 0
    labels_N, rows_N = batch.labels_BN[used_BN], used_BN.nonzero()[:, 0]
    places_N = batch.places_BN[used_BN]
    if batch.documents is not None and not len(labels_N):
        return
    if len(labels_N) < _LEAST_LABELS:
        yield config_error("labels", f"objective `{name}` labels no place of a step's rows: there is nothing to learn.")
        return
    if int(labels_N.min()) < 0 or int(labels_N.max()) >= vocabulary_size:
        yield config_error(
            "labels",
            f"labels of `{name}` must be ids from 0 to {vocabulary_size - 1}: found {int(labels_N.min())} to "
            f"{int(labels_N.max())}.",
        )
        return
    document_N = batch.layout.document_BL[rows_N, places_N]
    unused = int((document_N < 0).sum() + (labels_N == special.pad).sum())
    if unused:
        yield config_error(
            "padding", f"{unused} of {len(labels_N)} labels of `{name}` are on padding; padding has nothing to predict."
        )
    if len(labels_N) >= 8 and bool((labels_N == labels_N[0]).all()):
        yield config_error("labels", f"all {len(labels_N)} labels of `{name}` are the same token, {int(labels_N[0])}.")
    yield from _alignment(part, rows_N, places_N, labels_N)
    yield from _secrecy(part, special, rows_N, places_N, labels_N)


def _alignment(
    part: Labelled, rows_N: torch.Tensor, places_N: torch.Tensor, labels_N: torch.Tensor
) -> Iterator[Finding]:
    """Yield an error unless each label is the token of the text that it stands for."""
    if part.text_BL is None:
        return
    right = _agreeing(part, rows_N, places_N, labels_N, part.ahead)
    if right > 0.999:
        return
    best = max(_SHIFTS, key=lambda shift: _agreeing(part, rows_N, places_N, labels_N, part.ahead + shift))
    if _agreeing(part, rows_N, places_N, labels_N, part.ahead + best) > 0.9:
        found = f"they are those {abs(best)} place{'s' * (abs(best) > 1)} {'later' if best > 0 else 'earlier'}"
    else:
        found = f"{100 * right:.0f} % are"
    yield config_error(
        "alignment", f"labels of `{part.name}` must be the text's own tokens where they are asked for: {found}."
    )


def _agreeing(
    part: Labelled, rows_N: torch.Tensor, places_N: torch.Tensor, labels_N: torch.Tensor, ahead: int
) -> float:
    """Return the share of the labels that are the token so many places on, where the document goes on as far."""
    if part.text_BL is None:
        return 1.0
    document_BL, length = part.batch.layout.document_BL, part.text_BL.shape[1]
    there_N = places_N + ahead
    inside_N = (there_N >= 0) & (there_N < length)
    # The text of rows has one token more than the batch has places; its document is known by the label being there.
    near_N = there_N.clamp(0, document_BL.shape[1] - 1)
    inside_N &= document_BL[rows_N, near_N] == document_BL[rows_N, places_N]
    if not inside_N.any():
        return 1.0
    same_N = part.text_BL[rows_N, there_N.clamp(0, length - 1)] == labels_N
    return float(same_N[inside_N].float().mean())


def _secrecy(
    part: Labelled, special: SpecialTokens, rows_N: torch.Tensor, places_N: torch.Tensor, labels_N: torch.Tensor
) -> Iterator[Finding]:
    """Yield where an answer can be read off, or a special token is asked for that was never hidden."""
    layout, name = part.batch.layout, part.name
    if part.hidden and layout.kind == "all":
        never = torch.from_numpy(np.isin(labels_N.numpy(), sorted(special.all())))
        if never.any():
            yield config_error("special", f"{int(never.sum())} labels of `{name}` are special tokens; expected none.")
        # What is asked a place before where it stands must be hidden where it stands.
        there_N = (places_N + part.ahead).clamp(max=part.batch.tokens_BL.shape[1] - 1)
        shown = float((part.batch.tokens_BL[rows_N, there_N] == labels_N).float().mean())
        if shown > _MOST_READABLE:
            yield Finding(
                "readable",
                f"{100 * shown:.0f} % of what `{name}` asks for can be read where it stands; usual are 10 %: raise "
                "objective.mask_share.",
            )
    if part.ahead == 1 and layout.kind != "all":
        row = int(rows_N[0])
        one = layout.map(lambda tensor: tensor[row : row + 1])
        mine = places_N[rows_N == row]
        mine = mine[mine + 1 < one.document_BL.shape[1]]
        if len(mine) and bool(visible(one, one)[0, mine, mine + 1].any()):
            yield config_error("future", f"places of `{name}` see the token that they are to predict.")

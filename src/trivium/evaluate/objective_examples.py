"""Every objective on a short row that can be read; the objectives themselves make the batches that are drawn."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, assert_never

import numpy as np
import torch

from trivium.core.batch import Batch, MixedBatch, Rows
from trivium.core.ramp import Ramp
from trivium.core.random import Key
from trivium.core.special import NUM_SENTINELS, SPECIAL_TOKENS, SpecialTokens
from trivium.data.words import SENTENCE_BIT, WORD_BIT, token_bits
from trivium.evaluate.objective_facts import unusual_settings
from trivium.evaluate.objective_picture import objective_picture
from trivium.evaluate.objective_places import Reading
from trivium.objectives.base import plain
from trivium.objectives.build import (
    DistilConfig,
    MixedConfig,
    ObjectiveConfig,
    PartConfig,
    TokenObjective,
    Ul2Config,
    Vocabulary,
    build_objective,
    ul2_parts,
)
from trivium.objectives.causal import CausalConfig
from trivium.objectives.contrastive import ContrastiveConfig
from trivium.objectives.denoise import DenoiseConfig
from trivium.objectives.fill_in import FillInConfig
from trivium.objectives.hiding import GeometricSpans, WholeWords
from trivium.objectives.masked import MaskedConfig
from trivium.objectives.mixed import Mixed
from trivium.objectives.permuted import PermutedConfig
from trivium.objectives.prefix import PrefixConfig
from trivium.objectives.replaced import ReplacedConfig, replaced_tokens
from trivium.objectives.sentences import SentencesConfig
from trivium.objectives.spans import SpansConfig

_ROW_LENGTH = 32  # the texts leave some places unused, which are not drawn
_ROWS = 16  # of the same texts, so that every part of a mixture has one

# Texts as tokens: a blank where the text has one, ## before what goes on a word, /1 and /2 after pieces of a character.
Texts = tuple[tuple[str, ...], ...]
ENGLISH: Texts = (
    ("The", " hun", "##gry", " cat", " caught", " a", " mouse", ".", " Then", " it", " slept", "."),
    ("The", " dogs", " bark", " at", " night", "."),
)
# 鼹 is rare: a tokenizer of bytes has two pieces for it.
CHINESE: Texts = (
    ("小", "鼹/1", "鼹/2", "鼠", "学会", "了", "阅读", "。", "它", "很", "高兴", "。"),
    ("今天", "天气", "很", "好", "。"),
)


class Example(NamedTuple):
    """What is drawn: an objective, the lot its choices are drawn by, and the texts."""

    config: ObjectiveConfig
    seed: int
    texts: Texts = ENGLISH


_HYBRID = MixedConfig(
    parts=(
        PartConfig(
            objective=MaskedConfig(rate=Ramp(start=0.3, stop=0.15), predicted_from="before"), share=1.0, name="masked"
        ),
        PartConfig(objective=CausalConfig(), share=1.0),
    )
)
# By the name of the picture; the seeds were chosen for pictures in which there is something to see.
EXAMPLES: dict[str, Example] = {
    "masked": Example(MaskedConfig(rate=0.3), 399),
    "masked-words": Example(MaskedConfig(unit=WholeWords()), 128),
    "masked-words-chinese": Example(MaskedConfig(unit=WholeWords()), 42, CHINESE),
    "masked-spans": Example(MaskedConfig(unit=GeometricSpans(), rate=0.3), 7),
    "masked-next": Example(MaskedConfig(predicted_from="before"), 38),
    "causal": Example(CausalConfig(), 1),
    "prefix": Example(PrefixConfig(), 7),
    "fill_in": Example(FillInConfig(rate=1.0, suffix_first=0.0), 4),
    "fill_in-suffix-first": Example(FillInConfig(rate=1.0, suffix_first=1.0), 4),
    "permuted": Example(PermutedConfig(), 1),
    "spans": Example(SpansConfig(rate=0.3, mean_length=2.0), 9),
    "denoise": Example(DenoiseConfig(), 1),
    "sentences": Example(SentencesConfig(question="order"), 1),
    "sentences-next": Example(SentencesConfig(question="next"), 10),
    "replaced": Example(ReplacedConfig(), 5),
    "contrastive": Example(ContrastiveConfig(), 1),
    "mixed": Example(_HYBRID, 8),
    "ul2": Example(Ul2Config(), 9),
    "distil": Example(DistilConfig(teacher="runs/teacher", objective=MaskedConfig()), 8),
}


class Words(NamedTuple):
    """A vocabulary that needs no tokenizer: the special tokens, and the words of the examples."""

    names: tuple[str, ...]  # by id
    special: SpecialTokens

    def name(self, token: int) -> str:
        """Return how a token is written in a picture."""
        return self.names[token].strip()

    def vocabulary(self) -> Vocabulary:
        """Return what objectives know of it; the model tells a pair's texts apart."""
        return Vocabulary(self.special, len(self.names), segments=True)


def words_of(texts: Texts) -> Words:
    """Return the vocabulary of the texts alone."""
    tokens = dict.fromkeys(token for text in texts for token in text)
    pad, bos, eos, cls, sep, mask, *sentinels = range(len(SPECIAL_TOKENS))
    special = SpecialTokens(pad, bos, eos, cls, sep, mask, tuple(sentinels[:NUM_SENTINELS]))
    return Words((*SPECIAL_TOKENS, *tokens), special)


def rows_of(texts: Texts, known: Words) -> Rows:
    """Return rows that all hold these texts, each between bos and eos, with the bits of prepared data."""
    number = {name: token for token, name in enumerate(known.names)}
    row = [(known.special.pad, -1, 0)] * (_ROW_LENGTH + 1)
    filled = 0
    for document, text in enumerate(texts):
        bits = _bits(text)
        inside = [(number[token], document, int(bit)) for token, bit in zip(text, bits, strict=True)]
        whole = [(known.special.bos, document, 0), *inside, (known.special.eos, document, 0)]
        row[filled : filled + len(whole)] = whole
        filled += len(whole)
    tokens_L, document_L, bit_L = np.array(row).T
    several = (_ROWS, 1)
    return Rows(
        tokens_BL=np.tile(tokens_L, several),
        document_BL=np.tile(document_L, several).astype(np.int32),
        word_start_BL=np.tile(bit_L & WORD_BIT > 0, several),
        sentence_start_BL=np.tile(bit_L & SENTENCE_BIT > 0, several),
        epoch_B=np.zeros(_ROWS, dtype=np.int64),
        row_B=np.arange(_ROWS),
    )


def _bits(text: Sequence[str]) -> np.ndarray:
    """Return where words and sentences begin, judged as it is for every prepared text."""
    written = [token.removeprefix("##").removesuffix("/1") for token in text]
    within = np.array([token.endswith("/2") for token in text])
    ends = np.cumsum([0 if inside else len(each) for each, inside in zip(written, within, strict=True)])
    starts = np.concatenate(([0], ends[:-1])) - within
    written = [each for each, inside in zip(written, within, strict=True) if not inside]
    return token_bits("".join(written), starts, ends)


def example_readings(example: Example) -> list[Reading]:
    """Return what an example's objective makes of its texts."""
    known = words_of(example.texts)
    first, *others = _readings(example.config, rows_of(example.texts, known), Key(example.seed), known)
    unusual = ", ".join(unusual_settings(example.config)) if not isinstance(example.config, MixedConfig) else ""
    return [first._replace(heading=f"{first.heading}; {unusual}" if unusual else first.heading), *others]


def example_picture(name: str) -> str:
    """Return the SVG of one of the examples."""
    example, known = EXAMPLES[name], words_of(EXAMPLES[name].texts)
    title = f"What objective `{example.config.kind}` reads, hides and asks, and who sees whom"
    return objective_picture(example_readings(example), known.name, known.special, title=title) + "\n"


def _readings(config: ObjectiveConfig, rows: Rows, key: Key, known: Words) -> list[Reading]:
    match config:
        case DistilConfig(objective=inner):
            # What distilling makes is what its objective makes; the teacher reads the same.
            heading = "The student reads, and the teacher, whose odds are learned beside each label"
            return [_one(inner, _made(inner, rows, key, known))._replace(heading=heading)]
        case MixedConfig(parts=parts):
            return _mixed(config, parts, rows, key, known)
        case Ul2Config():
            return _mixed(config, ul2_parts(config), rows, key, known)
        case SentencesConfig(question=question):
            answers = {"order": ("exchanged", "in order"), "next": ("from elsewhere", "it follows")}[question]
            batch = _made(config, rows, key, known)
            return [
                Reading(
                    "The network reads pairs", batch, told=lambda answer: f"asked at its first token: {answers[answer]}"
                )
            ]
        case ReplacedConfig():
            return _replaced(_made(config, rows, key, known), known)
        case ContrastiveConfig():
            batch = _made(config, rows, key, known)
            heading, asked = (
                "The network reads the row twice, with other dropout",
                "asked of its mean: which is this, read again?",
            )
            return [Reading(heading, batch, told=lambda _: asked, whole=True)]
        case _:
            return [_one(config, _made(config, rows, key, known))]


def _made(config: ObjectiveConfig, rows: Rows, key: Key, known: Words) -> Batch:
    return plain(build_objective(config, known.vocabulary()).make(rows, key, 0.0))


def _one(config: TokenObjective, batch: Batch) -> Reading:
    """Return the reading of an objective whose labels are tokens."""
    match config:
        case MaskedConfig(predicted_from="before"):
            return Reading("The network reads, and says each hidden token one place before", batch, ahead=True)
        case MaskedConfig() | PermutedConfig():
            return Reading("The network reads", batch)
        case SpansConfig() | DenoiseConfig():
            return Reading("The two stacks read", batch, ahead=True)
        case CausalConfig() | PrefixConfig() | FillInConfig():
            return Reading("The network reads", batch, ahead=True)
        case _:
            assert_never(config)


def _mixed(config: ObjectiveConfig, parts: Sequence[PartConfig], rows: Rows, key: Key, known: Words) -> list[Reading]:
    """Return the reading of a row of each part; of parts of one mode, the first alone."""
    objective = build_objective(config, known.vocabulary())
    made = objective.make(rows, key, 0.0)
    if not isinstance(objective, Mixed) or not isinstance(made, MixedBatch):
        raise TypeError("expected a mixture")
    readings: list[Reading] = []
    modes: set[str] = set()
    for entry, part, batch in zip(parts, objective.parts, made.parts, strict=True):
        mode = part.name.partition("-")[0]
        if batch is not None and mode not in modes:
            modes.add(mode)
            reading = _one(entry.objective, batch)
            readings.append(reading._replace(heading=f"Part {part.name}"))
    return readings


def _replaced(batch: Batch, known: Words) -> list[Reading]:
    """Return what the generator reads, and what the network reads when the generator had guessed at random."""
    chances = np.random.default_rng(0).random((batch.labels_BN.numel(), len(known.names)))
    chances[:, list(known.special.all())] = -1e9
    tokens_BL, replaced_BL = replaced_tokens(batch, torch.from_numpy(4.0 * chances))
    used_BL = batch.layout.document_BL >= 0
    places_BL = torch.arange(tokens_BL.shape[1]).expand_as(tokens_BL)
    told = replace(
        batch, tokens_BL=tokens_BL, labels_BN=replaced_BL.long(), places_BN=places_BL, weights_BN=used_BL.float()
    )
    return [
        Reading("The generator reads", batch),
        Reading(
            "The network reads what it filled in, here at random", told, label=lambda label: ("own", "replaced")[label]
        ),
    ]

"""What a pretrained model says to a text: its continuation, or what stands at hidden places."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from trivium.core.batch import Batch, reading
from trivium.core.errors import ConfigError, DataError
from trivium.core.layout import TokenLayout
from trivium.core.random import Key
from trivium.data.tokenizer import Tokenizer
from trivium.model.config import Decoder, Encoder, EncoderDecoder, ModelConfig
from trivium.model.decoding import Decoding
from trivium.model.folder import SavedModel
from trivium.model.generate import decode
from trivium.model.heads import Network
from trivium.model.packed import packed
from trivium.model.parts import Learned


class Speaker(NamedTuple):
    """A pretrained model with the tokenizer it reads and writes by."""

    config: ModelConfig
    network: Network
    tokenizer: Tokenizer

    @staticmethod
    def of(saved: SavedModel) -> "Speaker":
        """Return the speaker of a loaded model folder."""
        return Speaker(saved.config, saved.network, Tokenizer.from_bytes(saved.tokenizer))


class Guess(NamedTuple):
    """What may stand at a hidden place."""

    text: str
    probability: float


class Continuation(NamedTuple):
    """How a text may go on; the score is a beam search's, None where there was none."""

    text: str
    tokens: list[int]
    score: float | None


def continue_text(speaker: Speaker, prompt: str, decoding: Decoding, *, seed: int = 0) -> list[Continuation]:
    """Return the continuation of a prompt, of a beam search all that were finished, the best first.

    A decoder goes on after the prompt; an encoder-decoder writes the span that is missing at the prompt's end.

    Args:
        speaker: the model.
        prompt: text, may be empty.
        decoding: how tokens are chosen, and how many.
        seed: of the drawing.

    Raises:
        ConfigError: the model is an encoder, an encoder-decoder whose tokenizer has no sentinels, or prompt and
            continuation do not fit its positions.
    """
    special, frame = speaker.tokenizer.special, speaker.tokenizer.frame
    ids = [*frame.before, *speaker.tokenizer.encode(prompt)]
    match speaker.config.family:
        case Encoder():
            raise ConfigError("an encoder does not write texts: `trivium fill` shows what it says, or use a decoder.")
        case Decoder():
            prompts, source, stop = [ids or [special.bos]], None, special.stops | {special.eos}
        case EncoderDecoder():
            sentinel = special.sentinels_for("the continuation of an encoder-decoder")[0]
            source = _one_row([*ids, sentinel, *frame.after])
            prompts, stop = [[special.bos, sentinel]], special.all() - {special.bos}
    _require_room(speaker.config, len(ids) + decoding.max_new_tokens)
    forbidden = sorted(_unsayable(speaker) - stop)
    network = packed(speaker.network, rows=decoding.rows)
    [found] = decode(network, prompts, decoding, stop=stop, keys=[Key(seed)], forbidden=forbidden, source=source)
    return [Continuation(speaker.tokenizer.decode(tokens), tokens, score) for tokens, score in found]


def fill_masks(speaker: Speaker, text: str, *, top: int) -> list[list[Guess]]:
    """Return the `top` guesses for each [MASK] of a text, the most probable first.

    An encoder names the token of each mask; an encoder-decoder the first token of the span it would write there.

    Raises:
        DataError: the text has no [MASK].
        ConfigError: the model is a decoder, the tokenizer has no mask token (or, for an encoder-decoder, no
            sentinels), or the text does not fit its positions.
    """
    special = speaker.tokenizer.special
    mask = special.mask_for("filling in")
    text = text.replace("[MASK]", speaker.tokenizer.token_name(mask))
    content = np.array(speaker.tokenizer.encode_with_special(text), dtype=np.int64)
    framed = speaker.tokenizer.frame.around([content])
    ids = framed.tokens_L.tolist()
    places = [place for place, token in enumerate(ids) if token == mask]
    if not places:
        raise DataError(f"expected a text with [MASK] where something is to be filled in, found {text!r}.")
    _require_room(speaker.config, len(ids))
    match speaker.config.family:
        case Encoder():
            hidden_places = torch.tensor([places])
            batch = _one_row(ids, framed.segments_L)
            with torch.inference_mode():
                hidden_BND = speaker.network(batch, places_BN=hidden_places)
                logits_NV = speaker.network.head(hidden_BND[0]).float()
        case EncoderDecoder():
            logits_NV = torch.stack([_span_start(speaker, ids, place) for place in places])
        case Decoder():
            raise ConfigError("a decoder does not look ahead, so it fills no masks: use `trivium generate`.")
    forbidden = sorted(_unsayable(speaker))
    logits_NV = logits_NV.index_fill(1, torch.tensor(forbidden), float("-inf"))
    best = logits_NV.softmax(-1).topk(min(top, logits_NV.shape[-1] - len(forbidden)), dim=-1)
    texts = speaker.tokenizer.token_texts
    return [
        [Guess(name, float(p)) for name, p in zip(texts(row.tolist()), values, strict=True)]
        for row, values in zip(best.indices, best.values, strict=True)
    ]


def _unsayable(speaker: Speaker) -> frozenset[int]:
    """Return the ids that are no text: special tokens, and what a vocabulary was filled up with."""
    tokenizer = speaker.tokenizer
    return tokenizer.special.all() | set(range(tokenizer.vocabulary_size, speaker.config.vocabulary_size))


@torch.inference_mode()
def _span_start(speaker: Speaker, ids: list[int], place: int) -> torch.Tensor:
    """Return logits_V of the first token that the decoder writes for the mask at `place`; others stay masks."""
    special = speaker.tokenizer.special
    sentinel = special.sentinels_for("filling in by an encoder-decoder")[0]
    source = _one_row([*ids[:place], sentinel, *ids[place + 1 :]])
    written = _one_row([special.bos, sentinel])
    layout = TokenLayout.causal(written.layout.document_BL, written.layout.position_BL)
    batch = Batch(written.tokens_BL, layout, written.labels_BN, written.places_BN, written.weights_BN, source=source)
    return speaker.network.head(speaker.network(batch)[:, -1])[0].float()


def _one_row(ids: list[int], segments_L: np.ndarray | None = None) -> Batch:
    tokens_BL = torch.tensor([ids])
    position_BL = torch.arange(len(ids), dtype=torch.int32)[None]
    batch = reading(tokens_BL, TokenLayout.bidirectional(torch.zeros_like(position_BL), position_BL))
    if segments_L is None or not segments_L.any():
        return batch
    return replace(batch, segments_BL=torch.from_numpy(segments_L)[None])


def _require_room(config: ModelConfig, length: int) -> None:
    for stack in config.stacks():
        if isinstance(stack.position, Learned) and length > stack.position.max_length:
            raise ConfigError(
                f"text and answer take {length} tokens; this model has positions for {stack.position.max_length}."
            )

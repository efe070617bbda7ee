"""How the texts of a task are decoded, as a value, and the one place where it becomes tokens."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NamedTuple, assert_never

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from trivium.core.batch import Batch
from trivium.core.config import Config
from trivium.core.layout import TokenLayout
from trivium.core.random import Key
from trivium.model.generate import Choose, Sampling, generate, greedy, sampler
from trivium.model.heads import Network


class Greedy(Config):
    """Always the most probable token."""

    kind: Literal["greedy"] = "greedy"


class Sample(Config):
    """A token drawn from the `top_k` most probable, then from the fewest of mass `top_p`, logits over `temperature`."""

    kind: Literal["sample"] = "sample"
    temperature: PositiveFloat = 1.0
    top_k: PositiveInt | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0


Method = Annotated[Greedy | Sample, Field(discriminator="kind")]


class Decoding(Config):
    """How a text is decoded.

    Args:
        method: how the next token is chosen.
        max_new_tokens: of a text, at most; fewer where the task's rows have less room.
    """

    method: Method = Greedy()
    max_new_tokens: PositiveInt = 100


class Prompt(NamedTuple):
    """What a text is written from."""

    tokens: tuple[int, ...]  # at least one; of an encoder-decoder what its decoder begins with
    key: Key  # of what is drawn


def decoded(
    network: Network,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    *,
    stop: frozenset[int],
    forbidden: Sequence[int],
    source: Batch | None,
    read: Callable[[Tensor, Tensor], TokenLayout],
) -> list[list[int]]:
    """Return the new tokens of each prompt, the same whatever prompts are beside it.

    Args:
        network: what writes.
        prompts: what it goes on from.
        decoding: how.
        stop, forbidden, source, read: as in `model.generate.generate`.
    """
    match decoding.method:
        case Greedy():
            choose: Choose = greedy
        case Sample() as sample:
            choose = _drawn(sample, prompts)
        case _:
            assert_never(decoding.method)
    return generate(
        network,
        [prompt.tokens for prompt in prompts],
        choose=choose,
        max_new_tokens=decoding.max_new_tokens,
        stop=stop,
        forbidden=forbidden,
        source=source,
        read=read,
    )


def _drawn(sample: Sample, prompts: Sequence[Prompt]) -> Choose:
    """Return a choice that draws for each row by the key of its prompt."""
    sampling = Sampling(sample.temperature, sample.top_k, sample.top_p)
    rows = [sampler(sampling, prompt.key) for prompt in prompts]

    def choose(logits_BV: Tensor, step: int) -> Tensor:
        return torch.cat([row(logits_V[None], step) for row, logits_V in zip(rows, logits_BV, strict=True)])

    return choose

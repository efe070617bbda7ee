"""How text is decoded, as a value: how the next token is chosen, and what holds whichever way it is."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from trivium.core.config import Config


class Greedy(Config):
    """Always the most probable token."""

    kind: Literal["greedy"] = "greedy"


class Sample(Config):
    """A token drawn by its probability, from those that are left when each of these has taken some away, in this order.

    `temperature` divides the logits, 0 = always the most probable; `top_k` keeps the k most probable (Fan et al. 2018);
    `top_p` keeps a token iff the more probable ones have less than this mass (Holtzman et al. 2020); `min_p` keeps a
    token iff it is at least this share as probable as the most probable (Nguyen et al. 2024). Equals are kept together.
    """

    kind: Literal["sample"] = "sample"
    temperature: NonNegativeFloat = 1.0
    top_k: PositiveInt | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    min_p: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0


class Beam(Config):
    """The best of many texts at once, by sum of log-probabilities / length ** `length_penalty`.

    The length is that of the new tokens, the one that stops included; above 0 the penalty favours long texts, below 0
    short ones. `early_stopping` says when a prompt is done that has `size` finished texts. True: at once. False: when
    the best unfinished text, scored as if it ended now, is not better than the worst finished one. "never": when it is
    not better even at the length that suits it best. As in transformers.
    """

    kind: Literal["beam"] = "beam"
    size: PositiveInt
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False


Method = Annotated[Greedy | Sample | Beam, Field(discriminator="kind")]


class Decoding(Config):
    """How text is decoded.

    Args:
        method: how the next token is chosen.
        max_new_tokens: at most this many tokens are added to a prompt.
        min_new_tokens: no text ends before this many.
        repetition_penalty: what is already there is scored this much lower: a logit (beams: a log-probability) above 0
            is divided by it, one below 0 multiplied (Keskar et al. 2019, section 4.1, with transformers' sign).
        no_repeat_ngram: no n-gram of this length comes twice, the prompt's included; None = all may.
    """

    method: Method = Greedy()
    max_new_tokens: PositiveInt = 100
    min_new_tokens: NonNegativeInt = 0
    repetition_penalty: PositiveFloat = 1.0
    no_repeat_ngram: PositiveInt | None = None

    @property
    def rows(self) -> int:
        """How many texts of each prompt are gone on with at once."""
        return self.method.size if isinstance(self.method, Beam) else 1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"`min_new_tokens` must not exceed `max_new_tokens`: {self.min_new_tokens} is more than "
                f"{self.max_new_tokens}"
            )
        return self

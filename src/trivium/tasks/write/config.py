"""Settings of the task `write`."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from trivium.core.config import Config
from trivium.data.labelled import PairColumns
from trivium.data.labelled.pairs import PAIR_COLUMNS
from trivium.model.decoding import Decoding

BleuTokens = Literal["13a", "zh", "words"]


class WriteConfig(Config):
    """How texts are read, learned and written.

    A row holds a source and its target (a decoder's), or the encoder's row the source and the decoder's the target.
    What is longer than its room is cut, counted and said.

    Args:
        form: what files hold, pairs or dialogues; None = as a file looks. A folder holds mails.
        columns: which columns of a file of pairs are what.
        instruction: what stands before every source and is always read whole ("summarize: "), so that one model can
            tell its tasks apart (T5, Raffel et al. 2020).
        max_turns: of a dialogue, that are read before the one that is written; None = all that there is room for.
        max_source: tokens of a source at most, without the instruction; None = all that a row has room for.
        max_target: tokens of a target, and of what is written, at most; None = 128, or half a row where that is less.
        keep: which end of a source that is too long is read; None = the last of dialogues, else the first.
        prefix: a decoder reads sources both ways; None = if it was pretrained with the objective `prefix`. An
            encoder-decoder's encoder does in any case.
        bleu: how texts are cut for BLEU, see `metrics.Bleu`; None = "zh" where the targets are Chinese, else "13a".
        valid_outputs: validation examples at most that are written out when an epoch ends, always greedily; the best
            epoch is that of the highest ROUGE-L. 0 = none, and it is that of the lowest loss.
        decoding: how test examples and answers are written.
        seed: of what is drawn there; equal sources draw equal texts.
    """

    form: Literal["pairs", "dialogues"] | None = None
    columns: PairColumns = PAIR_COLUMNS
    instruction: str = ""
    max_turns: PositiveInt | None = None
    max_source: PositiveInt | None = None
    max_target: PositiveInt | None = None
    keep: Literal["first", "last"] | None = None
    prefix: bool | None = None
    bleu: BleuTokens | None = None
    valid_outputs: NonNegativeInt = 100
    decoding: Decoding = Decoding()
    seed: NonNegativeInt = 0

"""The prefix objective: the prefix sees itself both ways, the rest what is before it, and is predicted."""

import pytest
import torch

from support import random_rows, shrink
from trivium.core.errors import ConfigError
from trivium.core.layout import visible
from trivium.core.random import Key
from trivium.model.presets import preset
from trivium.objectives.prefix import Prefix, PrefixConfig

LENGTH = 40


def test_who_sees_whom_and_what_is_predicted_follow_the_definition() -> None:
    rows = random_rows([[10, 1, 29, 1], [41], [2, 2, 37], [5]], LENGTH)
    checked = 0
    for seed in range(20):
        batch = Prefix(PrefixConfig()).make(rows, Key(seed))
        mask_BLM = visible(batch.layout, batch.layout)
        for b in range(4):
            document = rows.document_BL[b]
            for number in range(document[:-1].max() + 1):
                places = [place for place in range(LENGTH) if document[place] == number]
                asked = [place for place in places if batch.weights_BN[b, place] > 0]
                last = places[-1] + (places[-1] + 1 <= LENGTH and document[places[-1] + 1] == number)
                if len(places) == 1 and last == places[0]:
                    assert not asked
                    continue
                # Predicted are all tokens after the prefix, each from the place before it.
                prefix = asked[0] - places[0] + 1
                assert asked == list(range(asked[0], last))
                assert 1 <= prefix <= max(1, len(places) - 1)
                for query in places:
                    end = places[0] + prefix
                    expected = [key for key in places if key < end or key <= query]
                    seen = torch.flatten(mask_BLM[b, query].nonzero()).tolist()
                    assert seen == (expected if query >= end else [key for key in places if key < end])
                    checked += 1
                for place in asked:
                    assert batch.labels_BN[b, place] == rows.tokens_BL[b, place + 1]
    assert checked > 1000


def test_every_length_of_a_prefix_is_equally_likely() -> None:
    rows = random_rows([[LENGTH + 1]] * 2000, LENGTH)
    asked = Prefix(PrefixConfig(max_share=0.25)).make(rows, Key(0)).weights_BN.sum(1)
    prefixes = (LENGTH + 1 - asked).long()
    counts = torch.bincount(prefixes)[1:]
    assert len(counts) == 10
    assert float((counts - 200).abs().max()) < 4.5 * 200**0.5


def test_two_stacks_are_refused() -> None:
    with pytest.raises(ConfigError, match="encoder-decoder"):
        Prefix(PrefixConfig()).network(shrink(preset("t5-small")))

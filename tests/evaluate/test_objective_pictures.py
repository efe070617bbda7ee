"""Pictures of objectives: what is drawn is what the batch holds, and what lies in docs/ is what is drawn."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from page_support import HOSTILE

from support import FIRST_WORD, SPECIAL, VOCABULARY
from trivium.core.batch import Batch, Rows
from trivium.core.layout import visible
from trivium.core.random import Key
from trivium.evaluate.objective_examples import ENGLISH, EXAMPLES, example_picture, example_readings, rows_of, words_of
from trivium.evaluate.objective_facts import kinds
from trivium.evaluate.objective_picture import objective_picture
from trivium.evaluate.objective_places import Reading, places_of, seen_by
from trivium.objectives.base import plain
from trivium.objectives.build import TokenObjective, build_objective
from trivium.objectives.causal import CausalConfig
from trivium.objectives.fill_in import FillInConfig
from trivium.objectives.masked import MaskedConfig
from trivium.objectives.permuted import PermutedConfig
from trivium.objectives.prefix import PrefixConfig
from trivium.objectives.spans import SpansConfig

PICTURES = Path(__file__).parents[2] / "docs" / "pictures" / "objectives"
SVG = "{http://www.w3.org/2000/svg}"
AGAIN = "draw them again: rm -r docs/pictures/objectives && trivium inspect objectives --out docs/pictures/objectives"


def name_of(token: int) -> str:
    return f"t{token}"


def random_rows(seed: int) -> Rows:
    """Four rows of random words in three texts, with a rest that is not used."""
    rng = np.random.default_rng(seed)
    shape, length = (4, 33), 33
    document_BL = np.full(shape, -1, dtype=np.int32)
    for b in range(shape[0]):
        cuts = np.sort(rng.choice(np.arange(8, length - 2), 2, replace=False))
        document_BL[b, : length - 3] = np.searchsorted(cuts, np.arange(length - 3), side="right")
    tokens_BL = rng.integers(FIRST_WORD, VOCABULARY.size, shape)
    begins_BL = np.diff(document_BL, axis=1, prepend=-2) != 0
    tokens_BL[begins_BL], tokens_BL[document_BL < 0] = SPECIAL.bos, SPECIAL.pad
    starts_BL = rng.random(shape) < 0.7
    return Rows(tokens_BL, document_BL, starts_BL, starts_BL, np.zeros(4, dtype=np.int64), np.arange(4))


def made(config: TokenObjective, rows: Rows, seed: int) -> Batch:
    return plain(build_objective(config, VOCABULARY).make(rows, Key(seed)))


def test_the_committed_pictures_are_what_the_code_draws() -> None:
    assert {file.stem for file in PICTURES.iterdir()} == set(EXAMPLES), AGAIN
    changed = [name for name in EXAMPLES if (PICTURES / f"{name}.svg").read_text("utf-8") != example_picture(name)]
    assert not changed, f"{', '.join(changed)}: {AGAIN}"


def test_every_kind_has_a_picture() -> None:
    assert {example.config.kind for example in EXAMPLES.values()} == set(kinds())
    assert set(kinds()) <= set(EXAMPLES)


@pytest.mark.parametrize("before", [False, True])
def test_roles_of_hidden_tokens_against_the_text(before: bool) -> None:
    seen = set()
    for seed in range(5):
        rows = random_rows(seed)
        config = MaskedConfig(
            rate=0.4, mask_share=0.4, random_share=0.3, predicted_from="before" if before else "itself"
        )
        batch = made(config, rows, seed)
        for b in range(4):
            used = np.flatnonzero(rows.document_BL[b, :-1] >= 0)
            places = places_of(Reading("", batch, b, ahead=before), name_of, SPECIAL)
            assert len(places) == len(used)
            chosen = {
                int(place) + before: int(label)
                for place, label, weight in zip(
                    batch.places_BN[b], batch.labels_BN[b], batch.weights_BN[b], strict=True
                )
                if weight
            }
            for place, index in zip(places, used, strict=True):
                original, read = int(rows.tokens_BL[b, index]), int(batch.tokens_BL[b, index])
                if index not in chosen:
                    expected = "special" if original == SPECIAL.bos else "text"
                elif read == SPECIAL.mask:
                    expected = "mask"
                else:
                    expected = "kept" if read == original else "random"
                assert (place.role, place.name) == (expected, f"t{read}")
                seen.add(expected)
                asked = chosen.get(int(index) + before)
                assert place.asked == (None if asked is None else f"t{asked}")
    assert seen == {"text", "special", "mask", "kept", "random"}


@pytest.mark.parametrize(
    ("config", "ahead"),
    [
        (MaskedConfig(), False),
        (CausalConfig(), True),
        (PrefixConfig(), True),
        (FillInConfig(rate=1.0), True),
        (PermutedConfig(), False),
        (SpansConfig(rate=0.3), True),
        (SpansConfig(mode="extreme", rate=0.5), True),
    ],
)
def test_the_squares_that_are_drawn_are_those_that_are_seen(config: TokenObjective, ahead: bool) -> None:
    batch = made(config, random_rows(7), 3)
    for b in range(4):
        drawn = objective_picture([Reading("r", batch, b, ahead=ahead)], name_of, SPECIAL, title="t")
        own = batch.map(lambda tensor, b=b: tensor[b : b + 1])
        expected = [own.layout] if own.source is None else [own.layout, own.source.layout]
        used_L = own.layout.document_BL[0] >= 0
        found = matrices(ElementTree.fromstring(drawn))
        assert len(found) == len(expected)
        for squares, key in zip(found, expected, strict=True):
            mask_LM = visible(own.layout, key)[0][used_L][:, key.document_BL[0] >= 0]
            assert squares.shape == mask_LM.shape
            assert np.array_equal(squares > 0, mask_LM.numpy())
            # Rows of asked places are drawn the strong way.
            asked = set(own.places_BN[0][own.weights_BN[0] > 0].tolist())
            for row, place in zip(squares, np.flatnonzero(used_L.numpy()), strict=True):
                assert set(row.tolist()) <= ({0, 2} if int(place) in asked else {0, 1})


def matrices(root: ElementTree.Element) -> list[np.ndarray]:
    """Read back the squares of each matrix: 0 not seen, 1 seen, 2 seen by a place that is asked."""
    found: list[np.ndarray] = []
    corner, cell = (0.0, 0.0), 1.0
    sizes = iter((13.0, 8.0))
    for each in root.iter(f"{SVG}rect"):
        kind = each.get("class")
        x, y, width, height = (float(each.get(name) or 0.0) for name in ("x", "y", "width", "height"))
        if kind == "field":
            corner, cell = (x, y), next(sizes)
            found.append(np.zeros((round(height / cell), round(width / cell)), dtype=int))
        elif kind in ("sees", "asks"):
            row, first, count = round((y - corner[1]) / cell), round((x - corner[0]) / cell), round(width / cell)
            assert height == cell and count > 0
            found[-1][row, first : first + count] += 1 + (kind == "asks")
    return found


def test_a_picture_lies_in_its_box_and_says_itself_aloud() -> None:
    for name, example in EXAMPLES.items():
        root = ElementTree.fromstring(example_picture(name))
        width, height = float(root.get("width") or 0), float(root.get("height") or 0)
        assert (root.get("role"), root[0].tag, root[1].tag) == ("img", f"{SVG}title", f"{SVG}desc")
        assert width == 900 and f"`{example.config.kind}`" in (root[0].text or "")
        spoken = root[1].text or ""
        for reading in example_readings(example):
            known = words_of(example.texts)
            places = places_of(reading, known.name, known.special)
            assert reading.heading in spoken
            assert all(place.name in spoken and (place.asked or "") in spoken for place in places)
        boxes = 0
        for each in root.iter(f"{SVG}rect"):
            x, y, w, h = (float(each.get(key) or 0) for key in ("x", "y", "width", "height"))
            assert x >= 0 and x + w <= width and y >= 0 and y + h <= height, (name, each.attrib)
            boxes += 1
        assert boxes > 20


def test_places_that_nobody_sees_are_said_to_be_so() -> None:
    reading = Reading("r", made(PermutedConfig(), random_rows(2), 1))
    places = places_of(reading, name_of, SPECIAL)
    seen = np.array(seen_by(reading.batch.layout, reading.batch.layout, 0))
    assert len(places) == len(seen)
    assert [place.hidden for place in places] == (~seen.any(axis=0)).tolist()
    assert any(place.hidden for place in places)


def test_names_cannot_break_a_picture() -> None:
    batch = made(CausalConfig(), random_rows(4), 1)
    drawn = objective_picture([Reading(HOSTILE, batch, ahead=True)], lambda _: HOSTILE[:40], SPECIAL, title=HOSTILE)
    root = ElementTree.fromstring(drawn)
    assert not list(root.iter(f"{SVG}script")) and "alert" in (root[0].text or "")


def test_an_examples_words_and_sentences_begin_as_in_prepared_text() -> None:
    rows = rows_of(ENGLISH, words_of(ENGLISH))
    known = words_of(ENGLISH)
    begins = [known.name(token) for token in rows.tokens_BL[0][rows.sentence_start_BL[0]]]
    assert begins == ["The", "Then", "The"]
    goes_on = [known.name(token) for token in rows.tokens_BL[0][~rows.word_start_BL[0]]]
    assert {name for name in goes_on if not name.startswith("[")} == {"##gry"}


def test_the_labels_of_texts_are_drawn_with_them() -> None:
    say: Callable[[int], str] = ["no", "yes"].__getitem__
    for name in ("sentences", "sentences-next"):
        reading = example_readings(EXAMPLES[name])[0]
        labels = reading.batch.documents
        assert labels is not None
        known = words_of(ENGLISH)
        told = [place.told for place in places_of(replace_told(reading, say), known.name, known.special) if place.told]
        expected = [say(int(label)) for label in labels.labels_BN[0][labels.weights_BN[0] > 0]]
        assert told == expected and len(told) == 2
    whole = example_readings(EXAMPLES["contrastive"])[0]
    assert all(place.told for place in places_of(whole, known.name, known.special))


def replace_told(reading: Reading, say: Callable[[int], str]) -> Reading:
    return reading._replace(told=say)


def test_light_and_dark_are_both_there() -> None:
    style = re.search(r"<style>(.*?)</style>", example_picture("causal"), re.DOTALL)
    assert style is not None
    light, dark = style[1].split("@media(prefers-color-scheme:dark)", 1)
    defined = set(re.findall(r"(--\w+):", light))
    assert defined <= set(re.findall(r"(--\w+):", dark))
    assert set(re.findall(r"var\((--\w+)\)", style[1])) <= defined


def test_the_teachers_batch_is_the_objectives() -> None:
    inner, outer = (example_readings(EXAMPLES[name])[0].batch for name in ("distil", "masked"))
    again = EXAMPLES["masked"]._replace(config=MaskedConfig(), seed=EXAMPLES["distil"].seed)
    assert torch.equal(inner.tokens_BL, example_readings(again)[0].batch.tokens_BL)
    assert not torch.equal(inner.tokens_BL, outer.tokens_BL)
    assert replace(inner).num_tokens == outer.num_tokens

"""What is asked of pairs and what is written for them, against one pair at a time; what is cut is counted."""

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from write_inputs import (
    CHINESE,
    ENGLISH,
    WRITERS,
    config,
    nats_alone,
    pairs,
    read_by,
    start,
    tokenizer,
    writer,
    written_alone,
)

from trivium.core.errors import ConfigError, DataError
from trivium.core.random import Key
from trivium.data.labelled import PairExample
from trivium.model.decoding import Decoding, Sample
from trivium.model.heads import Network
from trivium.model.places import at_places
from trivium.model.precision import InferencePrecision
from trivium.objectives.base import as_network
from trivium.tasks.build import build_task, empty_model, learned_task
from trivium.tasks.config import FinetuneConfig, finetune_config
from trivium.tasks.finetune import settled
from trivium.tasks.folder import TunedModel, tuned_in
from trivium.tasks.metrics import Bleu, Chrf, Rouge
from trivium.tasks.metrics.rouge import rouge_score
from trivium.tasks.pieces import Encoded, TrainingRows, fit_rows, own_length, pack, row_capacity
from trivium.tasks.write.config import WriteConfig
from trivium.tasks.write.files import TurnExample
from trivium.tasks.write.task import Write
from trivium.tasks.write.written import outputs, target_nats, worst_written

# Both families, and a decoder that reads sources both ways.
READERS = [("decoder", False), ("encoder_decoder", False), ("decoder", True)]


def task(**settings: Any) -> Write:
    return Write(WriteConfig(**settings))


def examples_of(seed: int) -> list[PairExample]:
    return [*pairs(12, seed=seed), ENGLISH, CHINESE]


@torch.no_grad()
def nats_packed(network: Network, encoded: Encoded) -> list[Tensor]:
    """Minus the log-probability of each token that is asked for, by example, several pairs a row."""
    reading, pieces = encoded.reading, encoded.pieces
    length = own_length(pieces, reading)
    rows = fit_rows(pieces, reading, length)
    assert max(map(len, rows)) > 1
    packed = pack(
        [[pieces[number] for number in row] for row in rows],
        reading,
        num_rows=len(rows) + 1,
        capacity=row_capacity(pieces, length),
        length=length,
    )
    batch = packed.batch
    logits_NV = network.head(at_places(network(batch), batch.places_BN))
    nats_N = functional.cross_entropy(logits_NV, batch.labels_BN.flatten(), reduction="none")
    example_N, used_N = torch.from_numpy(packed.example_BN.flatten()), batch.weights_BN.flatten() > 0
    assert (example_N[~used_N] == -1).all()
    return [nats_N[used_N & (example_N == number)] for number in range(len(encoded.gold))]


@pytest.mark.parametrize(("family", "prefix"), READERS)
def test_packed_pairs_have_the_loss_that_each_has_alone(family: str, prefix: bool) -> None:
    network, examples = writer(family), examples_of(1)
    writes = task(prefix=prefix)
    encoded = writes.encode(examples, read_by(family))
    right = [nats_alone(network, example.source, example.targets[0], prefix=prefix) for example in examples]
    found = nats_packed(network, encoded)
    assert len(found) == len(right) == 14
    for mine, theirs in zip(found, right, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=0)
    # The loss that is learned, and the one that is scored.
    rows = TrainingRows(encoded, rows=50, accumulation=1, epochs=1, key=Key(0))
    assert rows.epochs.total == 1
    batch = rows.batch(0)
    [term] = writes.loss(network, batch, Key(0))
    assert float(term.sum.detach()) == pytest.approx(float(torch.cat(right).sum()), abs=1e-8)
    assert writes.counts(batch)["write"] == sum(map(len, right))
    assert float(writes.predicted(network, batch, Key(0)).terms[0].sum.detach()) == pytest.approx(
        float(term.sum.detach()), abs=1e-8
    )
    nats, tokens = target_nats(network, encoded)
    assert (nats, tokens) == (pytest.approx(float(term.sum.detach()), abs=1e-4), writes.counts(batch)["write"])
    # Both ways of reading a source are two.
    other = nats_alone(network, ENGLISH.source, ENGLISH.targets[0], prefix=not prefix)
    assert torch.allclose(other, right[12]) == (family == "encoder_decoder")


@pytest.mark.parametrize("family", WRITERS)
def test_only_the_target_and_its_end_are_asked_for(family: str) -> None:
    examples = examples_of(2)
    encoded = task().encode(examples, read_by(family))
    for example, piece in zip(examples, encoded.pieces, strict=True):
        *words, end = piece.classes_N.tolist()
        assert tokenizer().decode(words) == example.targets[0] and end == tokenizer().special.eos
        # Each is predicted from the token before it, the first from the last that is given.
        assert piece.places_N.tolist() == list(range(piece.given - 1, piece.given + len(words)))
        assert piece.tokens_L[piece.given :].tolist() == words
        read_L = piece.tokens_L[: piece.given] if piece.source_L is None else piece.source_L
        assert tokenizer().decode(read_L) == example.source
    assert encoded.num_answers == sum(len(piece.classes_N) for piece in encoded.pieces)
    unknown = task().encode([example._replace(targets=()) for example in examples], read_by(family), known=False)
    assert len(unknown.pieces) == len(examples)
    for known, piece in zip(encoded.pieces, unknown.pieces, strict=True):
        assert piece.tokens_L.tolist() == known.tokens_L[: known.given].tolist() and not len(piece.places_N)


@pytest.mark.parametrize(("family", "prefix"), READERS)
def test_a_later_token_of_the_target_changes_nothing_earlier(family: str, prefix: bool) -> None:
    network, same = writer(family), "ba ke lo "
    examples = [PairExample("mi nu ra so", (same + end,)) for end in ("ti vu", "ze ba", "ze ke")]
    first, second, third = nats_packed(network, task(prefix=prefix).encode(examples, read_by(family)))
    shared = len(tokenizer().encode(same.strip()))
    torch.testing.assert_close(first[:shared], second[:shared], atol=1e-12, rtol=0)
    assert not torch.isclose(first[shared:], second[shared:]).any()
    torch.testing.assert_close(second[: shared + 1], third[: shared + 1], atol=1e-12, rtol=0)


@pytest.mark.parametrize(("family", "prefix"), READERS)
def test_another_source_changes_all_of_its_target_and_no_other(family: str, prefix: bool) -> None:
    network, examples = writer(family), examples_of(3)
    writes = task(prefix=prefix)
    before = nats_packed(network, writes.encode(examples, read_by(family)))
    examples[3] = examples[3]._replace(source="ze " + examples[3].source[3:])
    after = nats_packed(network, writes.encode(examples, read_by(family)))
    assert len(before) == 14
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        if number == 3:
            assert not torch.isclose(old, new).any()
        else:
            torch.testing.assert_close(old, new, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("family", "prefix"), READERS)
def test_texts_are_written_together_as_each_alone(family: str, prefix: bool) -> None:
    network, examples = writer(family), examples_of(4) + pairs(10, seed=5)
    writes = task(prefix=prefix, max_target=9)
    encoded = writes.encode(examples, read_by(family), known=False)
    given = [answer["written"] for answer in writes.answered(network, examples, encoded)]
    assert given == [written_alone(network, example.source, 9, prefix=prefix) for example in examples]
    assert len(set(given)) > 5 and not network.training
    shorter = Decoding(max_new_tokens=3)
    given = outputs(network, encoded.pieces, encoded.reading, shorter, seed=0)
    assert given == [written_alone(network, example.source, 3, prefix=prefix) for example in examples]


@pytest.mark.parametrize("family", WRITERS)
def test_what_is_drawn_follows_the_seed_and_the_source_alone(family: str) -> None:
    network, examples = writer(family), pairs(20, seed=6)
    encoded = task().encode(examples, read_by(family), known=False)
    decoding = Decoding(method=Sample(temperature=1.5, top_k=20, top_p=0.9), max_new_tokens=8)

    def drawn(pieces: list[Any], seed: int = 0) -> list[str]:
        return outputs(network, pieces, encoded.reading, decoding, seed=seed)

    together = drawn(encoded.pieces)
    assert drawn(encoded.pieces[::-1]) == together[::-1]
    assert [drawn([piece])[0] for piece in encoded.pieces[:4]] == together[:4]
    assert drawn(encoded.pieces, seed=1) != together
    coldest = Decoding(method=Sample(temperature=1e-4), max_new_tokens=8)
    greedy = outputs(network, encoded.pieces, encoded.reading, Decoding(max_new_tokens=8), seed=0)
    assert outputs(network, encoded.pieces, encoded.reading, coldest, seed=0) == greedy


@pytest.mark.parametrize("keep", ["first", "last"])
@pytest.mark.parametrize("family", WRITERS)
def test_what_is_too_long_is_cut_at_one_end_and_counted(family: str, keep: str) -> None:
    long = " ".join(["ba", "ke", "lo"] * 30)
    examples = [PairExample(long, ("mi",)), PairExample("mi", (long,)), PairExample(long, (long,)), ENGLISH, CHINESE]
    writes = task(max_target=12, keep=keep)
    encoded = writes.encode(examples, read_by(family))
    ids = tokenizer().encode(long)
    room = 64 - 2 if family == "encoder_decoder" else 64 - 2 - 12
    for number in (0, 2):
        piece = encoded.pieces[number]
        read_L = piece.source_L[1:-1] if piece.source_L is not None else piece.tokens_L[1 : piece.given - 1]
        assert read_L.tolist() == (ids[:room] if keep == "first" else ids[-room:])
    for number in (1, 2):
        assert encoded.pieces[number].classes_N.tolist() == ids[:12]  # it does not end
    for piece in encoded.pieces:
        assert max(len(piece.tokens_L), 0 if piece.source_L is None else len(piece.source_L)) <= 64
    assert encoded.written is not None and encoded.written[2:] == (2, 2, 3)
    [said] = encoded.said
    assert said.startswith("2 sources and 2 targets of 5 examples") and "\n" not in said
    metrics = writes.score(writer(family).float(), encoded).metrics
    assert metrics["coverage"] == pytest.approx(0.4)
    # Bits a byte are of what is learned.
    kept = [tokenizer().decode(piece.classes_N) for piece in encoded.pieces]
    nats, tokens = target_nats(writer(family).float(), encoded)
    assert metrics["loss"] == pytest.approx(nats / tokens)
    num_bytes = sum(len(text.encode()) for text in kept)
    assert metrics["bits_a_byte"] == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-5)
    assert writes.encode([ENGLISH, CHINESE], read_by(family)).said == ()
    short = task(max_source=4, keep=keep).encode([ENGLISH], read_by(family)).pieces[0]
    assert (short.given if short.source_L is None else len(short.source_L)) == 4 + 2


@pytest.mark.parametrize("family", WRITERS)
def test_an_epoch_asks_for_every_token_once(family: str) -> None:
    encoded = task().encode(pairs(60, seed=7), read_by(family))
    rows = TrainingRows(encoded, rows=2, accumulation=2, epochs=2, key=Key(5))
    wanted = np.bincount(np.concatenate(encoded.gold), minlength=500)
    read = sum(0 if piece.source_L is None else len(piece.source_L) for piece in encoded.pieces)
    first, last = rows.epochs.ends
    assert first > 3
    for steps in (range(first), range(first, last)):
        batches = [rows.batch(step) for step in steps]
        found = sum(np.bincount(batch.labels_BN[batch.weights_BN > 0].numpy(), minlength=500) for batch in batches)
        assert (found == wanted).all()
        sources = [batch.source for batch in batches if batch.source is not None]
        assert sum(source.num_tokens for source in sources) == read
        assert {tuple(batch.tokens_BL.shape) for batch in batches} == {(2, rows.batch(0).tokens_BL.shape[1])}
    own = sum(len(piece.tokens_L) for piece in encoded.pieces)
    places = sum(b.tokens_BL.numel() + (0 if b.source is None else b.source.tokens_BL.numel()) for b in batches)
    assert rows.share_of_real_tokens == pytest.approx((own + read) / places)


def test_a_decoders_rows_are_as_long_as_targets_beside_full_rows_of_sources_need() -> None:
    examples = [PairExample(source, ("ba",)) for source, _ in pairs(50, seed=8, lengths=(8, 12))]
    encoded = task().encode(examples, read_by("encoder_decoder"))
    rows = TrainingRows(encoded, rows=4, accumulation=1, epochs=1, key=Key(0))
    assert rows.batch(0).tokens_BL.shape[1] < 20 and rows.share_of_real_tokens > 0.75
    longest = task().encode([*examples, PairExample("ba", ("ke " * 25,))], read_by("encoder_decoder"))
    length = own_length(longest.pieces, longest.reading)
    assert length == max(len(piece.tokens_L) for piece in longest.pieces)
    assert own_length(encoded.pieces, read_by("decoder")) == 64


def test_scores_are_those_of_the_texts_with_all_their_references() -> None:
    network, examples = writer("encoder_decoder"), [*pairs(6, seed=9), ENGLISH, CHINESE]
    writes = task(decoding=Decoding(max_new_tokens=8), bleu="words")
    encoded = writes.encode(examples, read_by("encoder_decoder"))
    given = [answer["written"] for answer in writes.answered(network, examples, encoded)]
    examples[2] = examples[2]._replace(targets=(examples[2].targets[0], given[2]))
    encoded = writes.encode(examples, read_by("encoder_decoder"))
    metrics = writes.score(network, encoded).metrics
    rouge, chrf = Rouge(), Chrf()
    for text, example in zip(given, examples, strict=True):
        rouge.add(text, example.targets)
        chrf.add(text, example.targets)
    assert metrics["rouge_l"] == pytest.approx(rouge.metrics()["rougeL"]) and metrics["rouge_l"] >= 1 / 8
    assert metrics["rouge_2"] == pytest.approx(rouge.metrics()["rouge2"])
    assert metrics["chrf"] == pytest.approx(chrf.metrics()["chrf"])
    assert metrics["exact"] == pytest.approx(1 / 8) and metrics["coverage"] == 1.0
    assert {"rouge_1", "bleu", "distinct_1", "distinct_2", "loss", "bits_a_byte"} <= metrics.keys()
    brief = writes.at_epochs()
    assert set(brief.score(network, encoded).metrics) == {
        *("rouge_l", "chrf", "exact", "loss", "bits_a_byte", "coverage")
    }
    none = task(valid_outputs=0).at_epochs()
    assert set(none.score(network, encoded).metrics) == {"loss", "bits_a_byte", "coverage"}
    assert (none.chosen_by, brief.chosen_by) == ("loss", "rouge_l")
    # At most so many are written, spread over all.
    two = task(valid_outputs=2, decoding=Decoding(max_new_tokens=8)).at_epochs().score(network, encoded).metrics
    rouge = Rouge()
    for number in (0, 7):
        rouge.add(given[number], examples[number].targets)
    assert two["rouge_l"] == pytest.approx(rouge.metrics()["rougeL"])
    assert two["loss"] == pytest.approx(metrics["loss"])


def test_the_worst_texts_are_those_of_the_lowest_rouge_l() -> None:
    examples = pairs(random.randint(35, 45), seed=random.randint(0, 999))
    network, writes = writer("decoder"), task(decoding=Decoding(max_new_tokens=8))
    encoded = writes.encode(examples, read_by("decoder"))
    given = [answer["written"] for answer in writes.answered(network, examples, encoded)]
    exact = random.randrange(len(examples))  # is no mistake
    examples[exact] = examples[exact]._replace(targets=("other", given[exact] or "none"))
    scores = [rouge_score(text, example.targets).rougeL for text, example in zip(given, examples, strict=True)]
    encoded = writes.encode(examples, read_by("decoder"))
    found = writes.score(network, encoded).mistakes
    wrong = [number for number, score in enumerate(scores) if score < 1.0]
    assert [mistake.example for mistake in found] == sorted(wrong, key=lambda number: scores[number])[:30]
    for mistake in found:
        assert mistake.rouge_l == scores[mistake.example] and mistake.probability is None
        assert (mistake.right, mistake.given) == (examples[mistake.example].targets[0], given[mistake.example])
    # Those of a part of the examples are numbered as all are.
    part = task(valid_outputs=5, decoding=Decoding(max_new_tokens=8)).at_epochs().score(network, encoded).mistakes
    numbers = np.linspace(0, len(examples) - 1, 5).round().astype(int).tolist()
    assert part and {mistake.example for mistake in part} <= {*numbers}
    for mistake in part:
        assert mistake.given == given[mistake.example]


def test_long_texts_are_shown_by_their_beginning() -> None:
    long = PairExample("ba " * 900, ("ke " * 900,))
    assert task().shown(long, 0) == ("ba " * 900)[:400] + "\u2026" and task().shown(ENGLISH, 0) == ENGLISH.source
    [mistake] = worst_written(["lo " * 900], [long.targets], [7])
    assert (len(mistake.right), len(mistake.given), mistake.example) == (401, 401, 7)


def test_training_examples_decide_which_end_is_read_and_how_bleu_cuts() -> None:
    def decided(examples: list[PairExample], **settings: Any) -> tuple[str | None, str | None]:
        learned = learned_task("write", examples, None, settings)
        assert isinstance(learned, Write)
        return learned.settings.keep, learned.settings.bleu

    assert decided([ENGLISH] * 2) == ("first", "13a")
    assert decided([CHINESE, ENGLISH._replace(targets=("x",))]) == ("first", "zh")
    assert decided([TurnExample(*ENGLISH)]) == ("last", "13a")
    assert decided([TurnExample(*CHINESE)], keep="first", bleu="words") == ("first", "words")
    bleu = Bleu()
    bleu.add("The cat sat on the mat.", ["The cat sat on the mat."])
    assert bleu.metrics()["bleu"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("family", "pretrained", "expected"),
    [("decoder", True, True), ("decoder", False, False), ("encoder_decoder", True, False)],
)
def test_sources_are_read_as_the_model_was_pretrained_unless_it_is_said(
    family: str, pretrained: bool, expected: bool
) -> None:
    begin = start(family)._replace(prefix=pretrained)
    config = settled(finetune_config("write"), begin)
    assert config.readout is None and config.settings["prefix"] is expected
    told = settled(finetune_config("write", ["settings.prefix=false"]), begin)
    assert told.settings["prefix"] is False
    assert settled(FinetuneConfig(task="write"), begin).settings["prefix"] is expected


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    reading = read_by("decoder")
    with pytest.raises(ConfigError, match=r"`settings\.max_target` 62 .* no room in rows of 64") as caught:
        task(max_target=62).encode([ENGLISH], reading)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"`settings\.max_target` 64 .* no room"):
        task(max_target=64).encode([ENGLISH], read_by("encoder_decoder"))
    assert task(max_target=61).encode([ENGLISH], reading).pieces[0].given == 3
    with pytest.raises(ConfigError, match="an encoder does not write texts"):
        read_by("encoder")
    with pytest.raises(ConfigError, match="`readout`: the task `write` learns by the model's own head"):
        finetune_config("write", ["readout.pooling=first"])
    with pytest.raises(ConfigError, match=r"settings of label.*max_target"):
        finetune_config("label", ["settings.max_target=3"])
    with pytest.raises(ConfigError, match=r"unknown key `beams`"):
        finetune_config("write", ["settings.decoding.beams=3"])
    with pytest.raises(DataError, match="no training examples"):
        learned_task("write", [])


@pytest.mark.parametrize("family", WRITERS)
def test_the_network_is_the_whole_pretrained_one(family: str) -> None:
    network = writer(family)
    model = empty_model(build_task("write", ()), start(family).config)
    names = {name: parameter.shape for name, parameter in model.named_parameters()}
    assert names == {name: parameter.shape for name, parameter in network.named_parameters()}


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
@pytest.mark.parametrize("family", WRITERS)
@torch.inference_mode()
def test_what_writes_writes_in_narrower_types_too(family: str, precision: InferencePrecision) -> None:
    examples = examples_of(5)
    tuned = TunedModel(writer(family).float().eval(), config(family), task(), read_by(family))
    before = {name: tensor.clone() for name, tensor in tuned.model.state_dict().items()}
    narrow = tuned_in(tuned, precision)
    assert tuned_in(tuned, "float32").model is tuned.model and narrow.model is not tuned.model
    encoded = tuned.task.encode(examples, tuned.reading)
    exact, found = (target_nats(as_network(which.model), encoded) for which in (tuned, narrow))
    assert found[1] == exact[1] and 0.0 < abs(found[0] - exact[0]) < 0.02 * exact[0]
    texts, exactly = (
        [each["written"] for each in tuned.task.answered(which.model, examples, encoded)] for which in (narrow, tuned)
    )
    # The most probable of random weights' tokens, one after another: they part sooner or later, and begin alike.
    alike = [text[:1] == right[:1] for text, right in zip(texts, exactly, strict=True)]
    assert np.mean(alike) > 0.6 and any(exactly)
    after = tuned.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)

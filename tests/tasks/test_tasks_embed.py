"""The task `embed`: its losses against plain loops, equal gradients however a step is cut, and what it learns."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embed_support import embedder, pairs
from scipy.stats import rankdata, spearmanr
from task_support import FAMILIES, classify_examples, start

from stopping import Killed, KilledAt
from trivium.core.batch import Batch, Pairs
from trivium.core.errors import ConfigError, DataError
from trivium.core.files import new_folder
from trivium.core.progress import Silent
from trivium.core.random import Key
from trivium.data.labelled import SimilarExample, write_jsonl
from trivium.data.loader import micro_batches
from trivium.objectives.contrastive import nearest_nats
from trivium.tasks.baselines.by_task import OVERLAP, TFIDF_COSINE, baselines
from trivium.tasks.build import learned_task, usual_head
from trivium.tasks.config import finetune_config
from trivium.tasks.embed import pair_scores
from trivium.tasks.embed.embedder import embed_texts, open_embedder
from trivium.tasks.embed.nearness import group_vectors, grouped, order_nats, own_cosines, partner_nats
from trivium.tasks.embed.pair_rows import PairRows
from trivium.tasks.embed.pair_scores import PairNumbers, Vectors, WordOverlap, correlations, partner_loss, retrieval_of
from trivium.tasks.embed.task import Embed, numbered, pairs_of
from trivium.tasks.finetune import finetune
from trivium.tasks.fit import fit
from trivium.tasks.folder import load_tuned, save_tuned
from trivium.tasks.predict import predict_texts
from trivium.tasks.settings import EmbedSettings
from trivium.train.checkpoint import checkpoints, step_of


def made_rows(examples: Sequence[SimilarExample], **changed: int) -> PairRows:
    given = {"group_rows": 2, "rows": 8, "accumulation": 1, "epochs": 2} | changed
    embedding = embedder(row_length=32)
    return PairRows(embedding.task.encode(examples, embedding.reading), key=Key(1), **given)


def some_pairs(groups: int, texts: int, count: int, *, seed: int) -> tuple[torch.Tensor, Pairs]:
    """Return cosines of the texts of each group, and pairs of them, of which some are not used."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.nn.functional.normalize(
        torch.randn(groups, texts, 6, generator=generator, dtype=torch.float64), dim=-1
    )
    first, second = (torch.randint(texts, (groups, count), generator=generator) for _ in range(2))
    scores = torch.randint(4, (groups, count), generator=generator).float()
    weights = (torch.rand(groups, count, generator=generator) < 0.8).float()
    return vectors @ vectors.transpose(1, 2), Pairs(first, second, scores, weights)


def test_partners_are_named_among_what_is_not_right() -> None:
    cosine, pairs_GP = some_pairs(5, 9, 7, seed=1)
    nats = partner_nats(cosine, pairs_GP, 0.1)
    compared = 0
    for group in range(5):
        used = [
            (int(a), int(b))
            for a, b, weight in zip(
                pairs_GP.first_BP[group], pairs_GP.second_BP[group], pairs_GP.weights_BP[group], strict=True
            )
            if weight
        ]
        together = {frozenset(pair) for pair in used}
        for place in np.flatnonzero(pairs_GP.weights_BP[group].numpy()):
            expected = 0.0
            for side in (0, 1):
                pair = (int(pairs_GP.first_BP[group, place]), int(pairs_GP.second_BP[group, place]))
                asked, answer = pair[side], pair[1 - side]
                wrong = {p[1 - side] for p in used} - {asked}
                wrong = {other for other in wrong if frozenset((asked, other)) not in together}
                logits = cosine[group, asked, [answer, *sorted(wrong)]] / 0.1
                expected += float(logits.logsumexp(0) - logits[0]) / 2
                compared += len(wrong)
            assert float(nats[group, place]) == pytest.approx(expected, abs=1e-9)
    assert compared > 60


def test_one_direction_of_pairs_without_texts_in_common_is_simcses_loss() -> None:
    generator = torch.Generator().manual_seed(2)
    first, second = (torch.randn(3, 6, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    weights = torch.ones(3, 6, dtype=torch.float64)
    both = (nearest_nats(first, second, weights, 0.2) + nearest_nats(second, first, weights, 0.2)) / 2
    unit = torch.nn.functional.normalize(torch.cat([first, second], dim=1), dim=-1)
    numbers = torch.arange(6).expand(3, 6)
    own = partner_nats(unit @ unit.transpose(1, 2), Pairs(numbers, numbers + 6, weights, weights), 0.2)
    assert float(own.sum()) == pytest.approx(float(both), abs=1e-9)


def test_orders_are_those_of_a_loop_over_pairs_of_pairs() -> None:
    cosine, pairs_GP = some_pairs(4, 8, 6, seed=3)
    given = own_cosines(cosine, pairs_GP)
    nats = order_nats(given, pairs_GP, 0.2)
    compared = 0
    for group in range(4):
        total = 1.0
        used = np.flatnonzero(pairs_GP.weights_BP[group].numpy())
        for nearer in used:
            for farther in used:
                if pairs_GP.scores_BP[group, nearer] > pairs_GP.scores_BP[group, farther]:
                    total += float(((given[group, farther] - given[group, nearer]) / 0.2).exp())
                    compared += 1
        assert float(nats[group]) == pytest.approx(np.log(total), abs=1e-9)
    assert compared > 20


def test_every_pair_is_in_one_group_of_each_epoch_with_both_its_texts_whole() -> None:
    examples = pairs(60, seed=4)
    examples.append(SimilarExample(examples[0].text, examples[1].text_pair))  # texts of other pairs
    examples.append(SimilarExample("ba ke lo " * 30, "mi nu"))  # longer than a row
    rows = made_rows(examples)
    numbers = {text: number for number, text in enumerate(numbered(examples)[0])}
    expected = sorted((numbers[example.text], numbers[str(example.text_pair)]) for example in examples)
    embedding = embedder(row_length=32)
    pieces = {tuple(p.tokens_L): p.example for p in embedding.task.encode(examples, embedding.reading).pieces}
    seen: list[tuple[int, int]] = []
    for step in range(rows.epochs.ends[0]):
        batch = rows.batch(step)
        assert batch.num_rows == rows.rows and rows.rows % 2 == 0
        texts = texts_of_groups(batch, pieces, 2)
        together = grouped(pairs_of(batch), 2)
        for group, shares in enumerate(texts):
            assert all(sum(share.values()) == pytest.approx(1.0) for share in shares.values())
            for place in np.flatnonzero(together.weights_BP[group].numpy()):
                ends = [next(iter(shares[int(side[group, place])])) for side in together[:2]]
                seen.append((ends[0], ends[1]))
    assert sorted(seen) == expected and rows.epochs.ends[0] > 1
    assert 0.3 < rows.share_of_real_tokens <= 1.0


def texts_of_groups(
    batch: Batch, pieces: dict[tuple[int, ...], int], group_rows: int
) -> list[dict[int, dict[int, float]]]:
    """Return for each group its texts' numbers in it, and of each the text that it is and how much of it is there."""
    groups: list[dict[int, dict[int, float]]] = [{} for _ in range(batch.num_rows // group_rows)]
    for b in range(batch.num_rows):
        for n in np.flatnonzero(batch.weights_BN[b].numpy()):
            document = batch.layout.document_BL[b, batch.places_BN[b, n]]
            text = pieces[tuple(batch.tokens_BL[b][batch.layout.document_BL[b] == document].tolist())]
            shares = groups[b // group_rows].setdefault(int(batch.labels_BN[b, n]), {})
            shares[text] = shares.get(text, 0.0) + float(batch.weights_BN[b, n])
    return groups


@pytest.mark.parametrize("scored", [False, True])
def test_a_text_in_a_batch_has_the_vector_that_it_has_alone(scored: bool) -> None:
    examples = pairs(30, seed=5, scored=scored)
    embedding = embedder(row_length=32)
    rows, texts = made_rows(examples, rows=16), numbered(examples)[0]
    alone = np.stack(list(embed_texts(embedding, texts)))
    pieces = {tuple(p.tokens_L): p.example for p in embedding.task.encode(examples, embedding.reading).pieces}
    batch, compared = rows.batch(0), 0
    with torch.inference_mode():
        vectors = group_vectors(embedding.model(batch), batch, 2).numpy()
    for group, shares in enumerate(texts_of_groups(batch, pieces, 2)):
        for number, share in shares.items():
            np.testing.assert_allclose(vectors[group, number], alone[next(iter(share))], atol=1e-5)
            compared += 1
    assert compared > 15


@pytest.mark.parametrize(("scored", "loss"), [(False, "cosent"), (True, "cosent"), (True, "cosine")])
def test_a_step_cut_into_four_has_the_gradients_of_the_whole(scored: bool, loss: str) -> None:
    examples = pairs(80, seed=6, scored=scored)
    settings = EmbedSettings.model_validate({"group_rows": 2, "loss": loss, "vector_size": 9})
    embedding = embedder(row_length=32, settings=settings)
    task = embedding.task.learned(examples)
    batch = made_rows(examples, rows=32, accumulation=4).batch(0)
    count = task.counts(batch)["embed"]
    gradients = []
    for parts in (1, 4):
        embedding.model.zero_grad()
        for micro in micro_batches(batch, parts):
            assert isinstance(micro, Batch)
            [term] = task.loss(embedding.model, micro, Key(0))
            (term.sum / count).backward()
        gradients.append({name: p.grad.clone() for name, p in embedding.model.named_parameters() if p.grad is not None})
    assert len(gradients[0]) > 10 and count > 10
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=2e-6, rtol=1e-4)
    assert max(float(gradient.abs().max()) for gradient in gradients[0].values()) > 1e-3


def test_scores_are_those_of_all_pairs_by_brute_force() -> None:
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(40, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    numbers = PairNumbers(rng.integers(40, size=50), rng.integers(40, size=50), rng.normal(size=50))
    queries, documents = sorted(set(numbers.first_A)), sorted(set(numbers.second_A))
    right = {(int(a), int(b)) for a, b in zip(numbers.first_A, numbers.second_A, strict=True)}
    recalls: dict[int, list[float]] = {1: [], 10: []}
    reciprocal = []
    for query in queries:
        ranked = sorted(
            (
                document
                for document in documents
                if (document != query and (document, query) not in right) or (query, document) in right
            ),
            key=lambda document: -vectors[query] @ vectors[document],
        )
        hits = [(query, document) in right for document in ranked]
        for first in recalls:
            recalls[first].append(sum(hits[:first]) / sum(hits))
        reciprocal.append(1.0 / (1 + hits.index(True)))
    metrics = retrieval_of(numbers, Vectors(vectors)).metrics
    expected = {f"recall@{first}": np.mean(values) for first, values in recalls.items()} | {"mrr": np.mean(reciprocal)}
    assert metrics == pytest.approx(expected)
    cosines = (vectors[numbers.first_A] * vectors[numbers.second_A]).sum(axis=1)
    given = correlations(numbers, Vectors(vectors)).metrics
    assert given["spearman"] == pytest.approx(spearmanr(numbers.scores_A, cosines).statistic)
    assert given["pearson"] == pytest.approx(np.corrcoef(numbers.scores_A, cosines)[0, 1])
    # Each pair once, as the training loss of one group that holds all.
    unique = torch.tensor(sorted(right)).T
    ones = torch.ones(1, unique.shape[1], dtype=torch.float64)
    group = Pairs(unique[:1], unique[1:], ones, ones)
    cosine = torch.from_numpy(vectors @ vectors.T)[None]
    assert partner_loss(numbers, Vectors(vectors), 0.1) == pytest.approx(float(partner_nats(cosine, group, 0.1).mean()))


def test_the_worst_pairs_are_those_found_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_scores, "_BLOCK", 300)  # several blocks
    rng = np.random.default_rng()
    vectors = rng.normal(size=(70, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    numbers = PairNumbers(rng.integers(70, size=80), rng.integers(70, size=80), np.full(80, np.nan))
    right = {*zip(numbers.first_A.tolist(), numbers.second_A.tolist(), strict=True)}
    before = []
    for first, second in zip(numbers.first_A.tolist(), numbers.second_A.tolist(), strict=True):
        # Neither other right ones, nor itself, nor what is right the other way round.
        wrong = [text for text in {*numbers.second_A.tolist()} - {first} if not {(first, text), (text, first)} & right]
        before.append(sum(vectors[first] @ vectors[text] >= vectors[first] @ vectors[second] for text in wrong))
    found = retrieval_of(numbers, Vectors(vectors)).mistakes
    worst = sorted((pair for pair in range(80) if before[pair]), key=lambda pair: -before[pair])[:30]
    assert [mistake.example for mistake in found] == worst and len(worst) == 30
    for mistake in found:
        assert mistake.error == before[mistake.example] and mistake.probability is None
        assert (mistake.right, mistake.given) == ("rank 1", f"rank {1 + before[mistake.example]}")


def test_the_worst_scored_pairs_are_those_whose_rank_is_farthest_off() -> None:
    rng = np.random.default_rng()
    vectors = rng.normal(size=(30, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = rng.integers(5, size=60).astype(float)
    numbers = PairNumbers(rng.integers(30, size=60), rng.integers(30, size=60), scores)
    cosines = (vectors[numbers.first_A] * vectors[numbers.second_A]).sum(axis=1)
    right, given = rankdata(-scores), rankdata(-cosines)
    apart = abs(right - given)
    found = correlations(numbers, Vectors(vectors)).mistakes
    assert [mistake.example for mistake in found] == np.argsort(-apart, kind="stable")[:30].tolist()
    for mistake in found:
        pair = mistake.example
        assert mistake.error == apart[pair] > 0
        assert mistake.right == f"{scores[pair]:g}, rank {right[pair]:g}"
        assert mistake.given.endswith(f", rank {given[pair]:g}")
    in_order = PairNumbers(numbers.first_A, numbers.second_A, cosines)
    assert correlations(in_order, Vectors(vectors)).mistakes == ()


def test_words_in_common_are_counted() -> None:
    words = [frozenset("ab"), frozenset("abcd"), frozenset("x"), frozenset()]
    overlap = WordOverlap(words)
    expected = [[len(a & b) / max(1, len(a) * len(b)) ** 0.5 for b in words] for a in words]
    every = np.arange(4)
    np.testing.assert_allclose(overlap.block(every, every), expected)
    np.testing.assert_allclose(overlap.pairs(every, every[::-1]), [expected[n][3 - n] for n in range(4)])


@pytest.mark.parametrize(
    "family", ["encoder", *(pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES[1:])]
)
def test_an_easy_task_is_learned(family: str) -> None:
    train, valid = pairs(300, seed=8), pairs(60, seed=9)
    begin = start(family)
    task = learned_task("embed", train, usual_head("embed", begin.config), {"group_rows": 4, "temperature": 0.1})
    reading = begin.reading()
    config = finetune_config("embed", ["epochs=10", "rows=4", "optimiser.lr=0.005", "precision=float32"])
    fitted = fit(begin, task, task.encode(train, reading), task.encode(valid, reading), config)
    # Of each topic several pairs are in `valid`, and any of their texts would do: one of each is scored here.
    few = list({topic_of(example): example for example in valid}.values())
    scores = task.score(fitted.tuned.model, task.encode(few, reading)).metrics
    assert len(few) == 12 and scores["recall@1"] > 0.9 and scores["mrr"] > 0.9, scores
    assert fitted.best.metrics["mrr"] == max(epoch.metrics["mrr"] for epoch in fitted.epochs)
    rows = baselines(task, train, few, few)
    assert {name: row["recall@1"] < scores["recall@1"] for name, row in rows.items()} == {
        OVERLAP: True,
        TFIDF_COSINE: True,
    }


def topic_of(example: SimilarExample) -> int:
    from embed_support import topics

    first = example.text.split()[0]
    return next(number for number, places in enumerate(topics(12)) if first in places[0])


@pytest.mark.parametrize("loss", ["cosent", "cosine"])
def test_scores_are_learned_by_heart(loss: str) -> None:
    examples = pairs(24, seed=10, scored=True)
    begin = start()
    task = learned_task("embed", examples, None, {"group_rows": 4, "loss": loss})
    encoded = task.encode(examples, begin.reading())
    config = finetune_config("embed", ["epochs=35", "rows=4", "optimiser.lr=0.01", "precision=float32"])
    fitted = fit(begin, task, encoded, encoded, config)
    # The right scores have two values only: all nearer pairs before all others is the best there is.
    right = np.array([example.score for example in examples])
    best = spearmanr(right, right.argsort(kind="stable").argsort()).statistic
    assert fitted.best.metrics["spearman"] > 0.99 * best > 0.7 and fitted.best.metrics["pearson"] > 0.8
    assert fitted.best.metrics["spearman"] == max(epoch.metrics["spearman"] for epoch in fitted.epochs)


def files_of(folder: Path, make: Callable[..., list[SimilarExample]] = pairs, **how: Any) -> dict[str, Path]:
    files = {}
    for seed, (split, count) in enumerate({"train": 25, "valid": 9, "test": 9}.items()):
        files[split] = folder / f"{split}.jsonl"
        columns = {"text": "text", "text_pair": "text_pair", "score": "label"}
        rows = [e._asdict() for e in make(count, seed=seed, **how)]
        write_jsonl(
            files[split], [{columns[k]: v for k, v in row.items() if k in columns and v is not None} for row in rows]
        )
    return files


@pytest.mark.parametrize(
    ("family", "scored"),
    [
        ("decoder", False),
        pytest.param("encoder", True, marks=pytest.mark.slow),
        pytest.param("encoder_decoder", False, marks=pytest.mark.slow),
    ],
)
def test_killed_after_every_step_it_ends_as_if_never_killed_and_opens_as_it_was(
    family: str, scored: bool, tmp_path: Path
) -> None:
    files = files_of(tmp_path, scored=scored)
    given = ["epochs=2", "rows=4", "accumulation=2", "checkpoint_steps=1", "settings.group_rows=2"]
    config = finetune_config("embed", [*given, "row_length=32", "settings.vector_size=6"])

    def run(out: Path, progress: Silent) -> dict[str, Any]:
        return finetune(start(family), config, **files, out=out, progress=progress, resume=True)

    results = run(tmp_path / "whole", Silent())
    kills = 0
    for step in range(1, step_of(checkpoints(tmp_path / "whole")[-1]) + 1):
        try:
            run(tmp_path / "broken", KilledAt(step))
        except Killed:
            kills += 1
    again = run(tmp_path / "broken", Silent())
    assert kills >= 3
    assert {k: v for k, v in again.items() if k != "seconds"} == {k: v for k, v in results.items() if k != "seconds"}
    for file in (tmp_path / "whole" / "model").iterdir():
        assert (tmp_path / "broken" / "model" / file.name).read_bytes() == file.read_bytes()
    assert set(results["baselines"]) == {OVERLAP, TFIDF_COSINE}
    tuned = load_tuned(tmp_path / "whole")
    assert isinstance(tuned.task, Embed) and tuned.task.is_scored == scored and tuned.task.settings.group_rows == 2
    assert tuned.task.readout.pooling == ("weighted" if family == "decoder" else "mean")
    test = tuned.task.read(files["test"], min_classes=1).examples
    assert tuned.task.score(tuned.model, tuned.task.encode(test, tuned.reading)).metrics == results["test"]
    # Answers are those of `embed`.
    texts = [test[0].text, "红楼梦"]
    vectors = np.stack(list(embed_texts(open_embedder(tmp_path / "whole"), texts)))
    singles = [answer["vector"] for answer in predict_texts(tuned, texts)]
    np.testing.assert_allclose(singles, vectors, atol=2e-6)
    [pair] = predict_texts(tuned, [texts])
    assert pair["cosine"] == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)


def test_the_head_of_another_task_is_left_out(tmp_path: Path) -> None:
    examples = classify_examples(20, seed=1)
    begin = start()
    task = learned_task("classify", examples)
    encoded = task.encode(examples, begin.reading())
    tuned = fit(begin, task, encoded, encoded, finetune_config("classify", ["max_steps=2", "precision=float32"])).tuned
    with new_folder(tmp_path / "model") as folder:
        save_tuned(folder, tuned)
    own = embedder()
    own.model.reader.load_state_dict(tuned.model.reader.state_dict())
    texts = [example.text for example in examples]
    expected = np.stack(list(embed_texts(own, texts)))
    np.testing.assert_allclose(
        np.stack(list(embed_texts(open_embedder(tmp_path / "model"), texts))), expected, atol=1e-6
    )
    other = np.stack(list(embed_texts(open_embedder(tmp_path / "model", pooling="first"), texts)))
    assert np.abs(other - expected).max() > 1e-3
    assert open_embedder(tmp_path / "model").fingerprint() == open_embedder(tmp_path / "model").fingerprint()


def _train(assignments: list[str], examples: list[SimilarExample]) -> None:
    begin, task = start(), learned_task("embed", examples, None, {})
    encoded = task.encode(examples, begin.reading())
    fit(begin, task, encoded, encoded, finetune_config("embed", assignments))


@pytest.mark.parametrize(
    ("work", "error", "message"),
    [
        (
            lambda: _train(["rows=12"], pairs(9, seed=1)),
            ConfigError,
            r"groups of 8: `rows` must be a multiple of 8.*12",
        ),
        (lambda: _train(["rows=8", "accumulation=2"], pairs(9, seed=1)), ConfigError, r"multiple of 16.*group_rows"),
        (lambda: finetune_config("embed", ["settings.group_rows=1"]), ConfigError, r"group_rows"),
        (lambda: finetune_config("embed", ["settings.temperatur=1"]), ConfigError, r"Did you mean `temperature`"),
        (lambda: finetune_config("classify", ["settings.temperature=1"]), ConfigError, r"unknown key"),
        (lambda: learned_task("embed", pairs(1, seed=1)), DataError, r"are 1 pairs of texts; expected at least 2"),
        (
            lambda: learned_task("embed", [SimilarExample("a", "b", 2.0)] * 3),
            DataError,
            r"all have the score 2; expected some nearer",
        ),
        (
            lambda: learned_task("embed", pairs(5, seed=1)).check(pairs(5, seed=1, scored=True), "valid.jsonl"),
            DataError,
            r"valid.jsonl: example 1: the training pairs have no scores, this one has one",
        ),
        (lambda: learned_task("embed", pairs(5, seed=1)).unlabelled(["a", "b", "c"]), DataError, r"a list of 3"),
    ],
)
def test_mistakes_are_one_line(work: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        work()
    assert "\n" not in str(caught.value)


def test_an_answer_is_json() -> None:
    embedding = embedder()
    tuned = learned_task("embed", pairs(5, seed=1))
    examples = [tuned.unlabelled("ba ke"), tuned.unlabelled(["ba ke", "ba ke"])]
    answers = list(tuned.answered(embedding.model, examples, tuned.encode(examples, embedding.reading)))
    assert json.loads(json.dumps(answers))[1] == {"text": "ba ke", "text_pair": "ba ke", "cosine": 1.0}
    assert len(answers[0]["vector"]) == 32

"""Whether a run learns is read off its log: what is said, when, and when nothing is."""

import json
from pathlib import Path

import pytest
from preflight_support import changed, prepared, run_of, texts

from stopping import Lines
from trivium.core.progress import Silent
from trivium.core.ramp import Ramp
from trivium.data.normal import Normal, normal_losses
from trivium.data.shards import PreparedData
from trivium.objectives.contrastive import ContrastiveConfig
from trivium.objectives.masked import MaskedConfig
from trivium.train.log import Log, read_log
from trivium.train.plateau import Course, course_findings, course_of, warn
from trivium.train.settle import ready

NORMAL = Normal(8.3, 7.0, 4.6, 5.5)
COURSE = Course(NORMAL, text_share=1.0, enough=300, from_left=True, steady=True, plain=True, epoch=500)


def log(losses: list[float], held_out: dict[int, float] | None = None, every: int = 10) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = [
        {"step": every * (number + 1), "loss": loss} for number, loss in enumerate(losses)
    ]
    return lines + [{"step": step, "split": "validation", "loss": loss} for step, loss in (held_out or {}).items()]


def checks(lines: list[dict[str, object]], course: Course = COURSE) -> list[str]:
    return [finding.check for finding in course_findings(lines, course)]


def falling(start: float, stop: float, count: int) -> list[float]:
    return [start + (stop - start) * number / (count - 1) for number in range(count)]


def test_a_loss_that_stays_at_words_alone_is_said() -> None:
    stuck = [*falling(8.3, 7.0, 20), *[7.0] * 30]
    assert checks(log(stuck, {250: 7.02, 500: 7.0})) == ["learning_nothing"]
    assert checks(log(stuck[:20], {200: 7.02})) == []  # too early to tell
    assert checks(log([8.2] * 50)) == ["learning_nothing"]  # nothing is held out as yet
    assert checks(log([7.05] * 50)) == []  # harder text than was counted, perhaps
    assert checks(log([8.2] * 50), COURSE._replace(plain=False)) == []  # a regulariser is in that loss
    assert checks(log(falling(8.3, 6.0, 50), {500: 6.2})) == []
    assert checks(log([8.2] * 50, {500: 8.1}), COURSE._replace(normal=None)) == []


def test_marks_of_spans_are_not_text() -> None:
    spans = COURSE._replace(text_share=0.75)
    assert checks(log([6.0] * 50, {500: 6.0}), spans) == ["learning_nothing"]
    assert checks(log([5.6] * 50, {500: 5.6}), spans) == []


def test_a_loss_that_stays_at_pairs_of_words_is_said() -> None:
    held_out = {3000: 5.51, 3500: 5.5, 4000: 5.5}
    stuck = [*falling(8.3, 5.5, 100), *[5.5] * 300]
    assert checks(log(stuck, held_out)) == ["learning_nothing"]
    assert checks(log(stuck, held_out), COURSE._replace(from_left=False)) == []
    assert checks(log(stuck, held_out), COURSE._replace(normal=NORMAL._replace(bigram=None))) == []
    assert checks(log(stuck, {3000: 5.57, 3500: 5.5, 4000: 5.45})) == []  # it goes on falling
    assert checks(log(stuck[:200], {1000: 5.5, 1500: 5.5, 2000: 5.5})) == []  # it may yet


def test_a_loss_that_rises_is_said() -> None:
    rising = [*falling(8.0, 4.0, 60), *falling(4.0, 6.0, 30)]
    assert checks(log(rising)) == ["rising"]
    assert checks(log(rising, {300: 4.1, 600: 4.0, 900: 5.8})) == ["rising"]
    # Steps of harder text, while what is held out, which stays the same, is better than ever; or too few to tell.
    assert checks(log(rising, {300: 4.1, 600: 4.0, 900: 3.9})) == []
    assert checks(log([*falling(8.0, 6.5, 25), *[7.4] * 5])) == []
    assert checks(log(rising), COURSE._replace(steady=False)) == []
    noisy = [5.0 + 0.2 * (number % 3) for number in range(90)]
    assert checks(log(noisy)) == []


def test_a_text_learned_by_heart_is_said() -> None:
    losses = falling(8.0, 2.0, 100)
    assert checks(log(losses, {400: 5.0, 700: 5.1, 1000: 5.4})) == ["overfitting"]
    assert checks(log(losses, {400: 5.2, 700: 5.1, 1000: 5.05})) == []
    assert checks(log(falling(8.0, 5.3, 100), {400: 5.0, 700: 5.1, 1000: 5.4})) == []  # not learned by heart
    once = COURSE._replace(epoch=1000)
    assert checks(log(losses, {400: 5.0, 700: 5.1, 1000: 5.4}), once) == []  # nothing has been read twice


def test_each_thing_is_said_once_also_when_resumed(tmp_path: Path) -> None:
    kept, shown = Log(tmp_path / "log.jsonl"), Lines()
    for line in log([8.2] * 50, {500: 8.1}):
        kept.write(**line)
    for _ in range(2):
        warn(kept, COURSE, 500, shown)
    assert len(shown.lines) == 1 and shown.lines[0].startswith("warning: after 500 steps the loss is 8.10")
    warned = [line for line in read_log(kept.path) if "warning" in line]
    assert len(warned) == 1
    assert {key: warned[0][key] for key in ("step", "split", "check")} == {
        "step": 500,
        "split": "warning",
        "check": "learning_nothing",
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepared(tmp_path_factory.mktemp("plateau") / "data", texts(40), texts(10, seed=1))


def test_what_a_run_is_judged_by(data: PreparedData, tmp_path: Path) -> None:
    def course(config: object) -> Course:
        settled, material = ready(config, data, tmp_path / "out", progress=Silent())  # type: ignore[arg-type]
        return course_of(settled, material, NORMAL)

    causal = course(run_of("decoder-tiny", steps=1000))
    # 8 rows of 32 a step; each token is a target once.
    epoch = -(-(data.split("train").num_tokens - 1) // (8 * 32))
    assert causal == Course(NORMAL, 1.0, 50 + 200, from_left=True, steady=True, plain=True, epoch=epoch)
    masked = course(run_of("encoder-tiny", steps=1000))
    assert masked.enough == 50 + round(100 * data.tokenizer.vocabulary_size / (8 * 10))  # 30 % of 32 places
    assert not masked.from_left
    spans = course(run_of("seq2seq-tiny", steps=1000))
    assert 0.6 < spans.text_share < 0.9
    assert not course(run_of("encoder-tiny", objective=MaskedConfig(rate=Ramp(start=0.3, stop=0.15)))).steady
    staged = changed(run_of("decoder-tiny"), "train", stages=({"until": 0.5, "rows": 4},))
    assert not course(staged).steady
    pairs = course(run_of("bert-base", objective=ContrastiveConfig(group_rows=4)))
    assert pairs.normal is None and not pairs.steady


def test_bigrams_are_counted_and_old_counts_are_read(data: PreparedData) -> None:
    normal = normal_losses(data.folder, data)
    assert normal.bigram is not None and normal.ngram <= normal.bigram < normal.unigram < normal.uniform
    kept = data.folder / "normal.json"
    tree = json.loads(kept.read_text())
    assert normal_losses(data.folder, data) == normal
    del tree["bigram"]
    kept.write_text(json.dumps(tree))
    assert normal_losses(data.folder, data) == normal._replace(bigram=None)

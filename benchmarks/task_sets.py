"""The sets of `tasks.py`, in their own files, and the models that are pretrained for them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

VALID = 500  # examples at most
TRAIN, TEST = {"answer": 2000, "write": 2000}, {"answer": 1200, "write": 200}  # the same where a task takes long; else:
MOST_TRAIN, MOST_TEST = 4000, 8000


class Road(NamedTuple):
    """A model that is pretrained: its recipe, its text, for how many steps, what differs, which one it begins with."""

    name: str
    recipe: str
    text: str
    steps: int
    settings: tuple[str, ...] = ()
    start: "Road | None" = None


class Set(NamedTuple):
    """Labelled data: files in their archive, the task, what is set, and by which metric it is judged."""

    name: str
    archive: str
    task: str
    train: str
    test: str
    metric: str
    settings: tuple[str, ...] = ()
    valid: str | None = None  # None = of the training file, what is not learned from
    test_settings: tuple[str, ...] | None = None  # where the test file has other columns
    drops_seen: bool = False  # test texts that are also learned from are left out: there is no official test
    numbered: tuple[str, ...] = ()  # the classes that the test file has by number, from 1


HYBRID = (
    'objective={kind="mixed",parts=['
    '{objective={kind="masked",predicted_from="before",rate={start=0.3,stop=0.15}},share=3},'
    '{objective={kind="causal"},share=1}]}'
)
ROWS_OF_256 = ("data.row_length=256", "train.rows=8")  # what is answered in writing is read in rows as long
# What is written is the whole text, so that every token is learned from; the encoder goes on naming hidden ones beside.
DENOISE = (
    'objective={kind="mixed",parts=['
    '{objective={kind="masked",predicted_from="before"},share=1},'
    '{objective={kind="denoise",shuffled=0.0},share=3}]}'
)
# Both stacks of the encoder-decoder begin with this one, which has learned to read both ways and from left to right.
FIRST = Road("seq2seq, first its stack", "encoder-mini", "en_mix_10m", 4500, (HYBRID,))
ROADS = {
    road.name: road
    for road in (
        Road("encoder", "encoder-mini", "en_mix_10m", 7000, (HYBRID,)),
        Road("decoder", "decoder-mini", "en_mix_10m", 5000, ROWS_OF_256),
        Road("seq2seq", "seq2seq-mini", "en_mix_10m", 1100, (*ROWS_OF_256, DENOISE), FIRST),
        Road("encoder, Chinese", "encoder-mini", "zh_mix", 5000, (HYBRID,)),
    )
}
AG = ("settings.columns.header=false", "settings.columns.text=1", "settings.columns.label=2")
AG_TEST = ("settings.columns.header=false", "settings.columns.text=3", "settings.columns.label=1")
COLA = (
    "settings.columns.header=false",
    "settings.columns.text=4",
    "settings.columns.label=2",
    "settings.chosen_by=matthews",
)
SMS = (
    "settings.columns.header=false",
    "settings.columns.text=2",
    "settings.columns.label=1",
    "settings.chosen_by=macro_f1",
)
RTE = ("settings.columns.text=sentence1", "settings.columns.text_pair=sentence2")
LONG = ("row_length=256", "epochs=2")
WRITE = ("row_length=256", "epochs=4", "settings.valid_outputs=0", "settings.max_target=48")
ENGLISH = (
    Set("SST-2", "sst2", "classify", "sst2/train.tsv", "sst2/dev.tsv", "accuracy", ("settings.columns.text=sentence",)),
    Set(
        "AG News",
        "agnews",
        "classify",
        "agnews/train_10k.tsv",
        "agnews/test.csv",
        "accuracy",
        AG,
        None,
        AG_TEST,
        drops_seen=True,
        numbered=("World", "Sports", "Business", "Sci/Tech"),
    ),
    Set("SMS spam", "sms_spam", "classify", "sms/SMSSpamCollection", "", "macro_f1", SMS, drops_seen=True),
    Set("CoLA", "cola", "classify", "cola/train.tsv", "cola/dev.tsv", "matthews", COLA),
    Set("RTE", "rte", "classify", "rte/train.tsv", "rte/dev.tsv", "accuracy", RTE),
    Set(
        "CoNLL-2003",
        "conll2003",
        "spans",
        "conll2003/eng.train",
        "conll2003/eng.testb",
        "f1",
        valid="conll2003/eng.testa",
    ),
    Set(
        "UD EWT",
        "ewt",
        "label",
        "ewt/en_ewt-ud-train.conllu",
        "ewt/en_ewt-ud-test.conllu",
        "accuracy",
        valid="ewt/en_ewt-ud-dev.conllu",
    ),
    Set(
        "SemEval-2010 8",
        "semeval2010_t8",
        "relate",
        "semeval2010_t8/TRAIN_FILE.TXT",
        "semeval2010_t8/TEST_FILE_FULL.TXT",
        "macro_f1",
    ),
    Set(
        "SQuAD, XQuAD-en",
        "squad_subset",
        "answer",
        "squad/squad_v1.1_trainpart_A.json",
        "xquad/xquad.en.json",
        "f1",
        LONG,
        "squad/squad_v1.1_trainpart_B.json",
    ),
)
CHINESE = (
    Set(
        "ChnSentiCorp",
        "chnsenticorp",
        "classify",
        "chnsenticorp/train.tsv",
        "chnsenticorp/test.tsv",
        "accuracy",
        ("settings.columns.text=text_a",),
        "chnsenticorp/dev.tsv",
    ),
    Set(
        "Toutiao",
        "toutiao5k",
        "classify",
        "toutiao5k/train.csv",
        "toutiao5k/test.csv",
        "accuracy",
        (),
        "toutiao5k/dev.csv",
    ),
    Set("CLUENER", "cluener", "spans", "cluener/train.jsonl", "cluener/dev.jsonl", "f1"),
    Set(
        "CMRC 2018",
        "cmrc2018",
        "answer",
        "cmrc2018/squad-style/cmrc2018_trial.json",
        "cmrc2018/squad-style/cmrc2018_dev.json",
        "f1",
        LONG,
    ),
)
WRITTEN_SETS = (
    Set(
        "DailyDialog",
        "dailydialog",
        "write",
        "dailydialog/reccon_train.json",
        "dailydialog/test/dialogues.txt",
        "rouge_l",
        WRITE,
        "dailydialog/validation/dialogues.txt",
    ),
    Set(
        "AESLC",
        "aeslc",
        "write",
        "aeslc/enron_subject_line/train",
        "aeslc/enron_subject_line/test",
        "rouge_l",
        WRITE,
        "aeslc/enron_subject_line/dev",
    ),
)
SETS = {each.name: each for each in (*ENGLISH, *CHINESE, *WRITTEN_SETS)}
ON_ROAD = {
    "encoder": tuple(each.name for each in ENGLISH),
    "encoder, Chinese": tuple(each.name for each in CHINESE),
    "decoder": ("SST-2", "CoNLL-2003", "SemEval-2010 8", "DailyDialog", "AESLC"),
    "seq2seq": ("SST-2", "CoNLL-2003", "SemEval-2010 8", "DailyDialog", "AESLC"),
}


def examples_of(each: Set, work: Path) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    """Return the examples to learn from, those that choose the epoch, and those of the test: the same in every cell."""
    from trivium.tasks.build import build_task
    from trivium.tasks.config import finetune_config

    def read(path: str, settings: Sequence[str]) -> list[Any]:
        own = [item for item in settings if item.startswith("settings.")]
        task = build_task(each.task, settings=finetune_config(each.task, own).settings)
        found, _ = task.read(work / each.archive / path, min_classes=1)
        return shuffled(found)

    most_train, most_test = TRAIN.get(each.task, MOST_TRAIN), TEST.get(each.task, MOST_TEST)
    found = read(each.train, each.settings)
    # What is learned from leaves a tenth for the choice of the epoch, where a set brings no file for that.
    held = 0 if each.valid else min(VALID, len(found) // 10)
    cut = min(most_train, len(found) - held)
    train, rest = found[:cut], found[cut:]
    valid = rest[:held] if each.valid is None else read(each.valid, each.settings)[:VALID]
    test = read(each.test, each.test_settings or each.settings) if each.test else rest[held:]
    if each.numbered:
        test = [example._replace(label=each.numbered[int(example.label) - 1]) for example in test]
    if each.drops_seen:
        seen = {example.text.strip() for example in (found if each.test else (*train, *valid))}
        test = [example for example in test if example.text.strip() not in seen]
    return train, valid, test[:most_test]


def shuffled(examples: Iterable[Any]) -> list[Any]:
    """Return examples in an order that is drawn once and for all."""
    import numpy as np

    found = list(examples)
    return [found[place] for place in np.random.default_rng(0).permutation(len(found))]

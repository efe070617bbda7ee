"""What each task lets its user choose beside what all have: `settings` of a fine-tuning run, kept with the model."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from trivium.core.config import Config, parse
from trivium.core.errors import ConfigError, nearest
from trivium.data.labelled import ClassifyColumns, Scheme, SpanColumns, TokenColumns
from trivium.tasks.write.config import WriteConfig

Overlaps = Literal["none", "nested", "crossing"]
ChosenBy = Literal["accuracy", "macro_f1", "matthews"]


class TextSettings(Config):
    """Of tasks that read whole texts."""

    columns: ClassifyColumns = ClassifyColumns()


class ClassifySettings(TextSettings):
    """Of the task that gives each text a class.

    `chosen_by` is the metric of the best epoch: where one class is most of the examples, accuracy hardly sees the rest.
    """

    chosen_by: ChosenBy = "accuracy"


class WordSettings(Config):
    """Of tasks that read words."""

    columns: TokenColumns = TokenColumns()


class SpanSettings(WordSettings):
    """Of the task that finds spans of words.

    `scheme` is that of the tags of a file of words; None = it is known from all of them.

    `chain` "free": the most probable tags that make whole spans are given. "trained": how likely each tag is after
    each other is learned with the rest, as a linear-chain conditional random field (Lafferty et al. 2001).
    """

    columns: SpanColumns = SpanColumns()
    scheme: Scheme | None = None
    chain: Literal["free", "trained"] = "free"


class NestedSettings(WordSettings):
    """Of the task that finds spans that may overlap.

    `scheme` is that of the tags of a file of words; None = it is known from all of them. A span is at most `max_words`
    long; None = as the longest one to learn from, 32 at most. `overlaps` says which spans are given together: "none"
    that share a word, "nested" ones that lie inside each other, "crossing" ones too; None = as those to learn from do.
    `span_size`: numbers that a first word, and a last one, is scored by.
    """

    columns: SpanColumns = SpanColumns()
    scheme: Scheme | None = None
    max_words: PositiveInt | None = None
    overlaps: Overlaps | None = None
    span_size: PositiveInt = 128


class RelateSettings(Config):
    """Of the task that relates spans.

    `none` is the label that says that there is no relation; it is not scored. None = recognised by its name
    (no_relation, NA, Other ...); "" = there is no such label.
    """

    none: str | None = None


class AnswerSettings(Config):
    """Of the task that answers questions.

    `stride` is how many tokens of the context one window begins after the one before, at most; None = half of what a
    window shows. An answer is at most `max_answer_tokens` long; `num_best` answers are compared and shown.
    """

    stride: PositiveInt | None = None
    max_answer_tokens: PositiveInt = 64
    num_best: PositiveInt = 10


class EmbedSettings(Config):
    """Of the task that embeds texts.

    `vector_size`: numbers a text, of a projection that is learned; None = the pooled hidden states as they are.
    `temperature`: cosines are divided by it. `group_rows`: so many neighbouring rows are compared with each other, and
    a micro-batch holds a multiple of them: how many other texts each one is told apart from. `loss` of pairs with
    scores: "cosent" (the order of the cosines is learned), or "cosine" (their values are).
    """

    vector_size: PositiveInt | None = None
    temperature: PositiveFloat = 0.05
    group_rows: Annotated[int, Field(ge=2)] = 8
    loss: Literal["cosent", "cosine"] = "cosent"


TEXT_SETTINGS, CLASSIFY_SETTINGS = TextSettings(), ClassifySettings()
WORD_SETTINGS, SPAN_SETTINGS = WordSettings(), SpanSettings()
NESTED_SETTINGS, RELATE_SETTINGS = NestedSettings(), RelateSettings()
ANSWER_SETTINGS, EMBED_SETTINGS = AnswerSettings(), EmbedSettings()
TaskSettings = (
    TextSettings
    | ClassifySettings
    | WordSettings
    | SpanSettings
    | NestedSettings
    | RelateSettings
    | AnswerSettings
    | EmbedSettings
    | WriteConfig
)

_SETTINGS: Mapping[str, type[TaskSettings]] = {
    "classify": ClassifySettings,
    "multi_label": TextSettings,
    "regress": TextSettings,
    "label": WordSettings,
    "spans": SpanSettings,
    "nested": NestedSettings,
    "relate": RelateSettings,
    "answer": AnswerSettings,
    "embed": EmbedSettings,
    "write": WriteConfig,
}
TASKS = tuple(_SETTINGS)


def task_settings(task: str, tree: Mapping[str, Any]) -> TaskSettings:
    """Return a task's settings from what a file or the command line says.

    Raises:
        ConfigError: there is no such task; an unknown key, or a value that does not fit.
    """
    if task not in _SETTINGS:
        raise ConfigError(f"`{task}` is no task.{nearest(task, list(TASKS))}")
    return parse(_SETTINGS[task], tree, f"settings of {task}")

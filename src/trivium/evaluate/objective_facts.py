"""What each objective hides, predicts and may see, in words, and its settings."""

from typing import NamedTuple, get_args

from pydantic_core import PydanticUndefined

from trivium.core.config import Config
from trivium.objectives.build import ObjectiveConfig


class Facts(NamedTuple):
    """An objective in a line.

    Args:
        kind: of its configuration.
        families: whose networks it trains.
        hides: what the network does not get to read.
        predicts: what it is asked.
        sees: what a place sees when it is asked.
        paper: the source.
    """

    kind: str
    families: str
    hides: str
    predicts: str
    sees: str
    paper: str

    def row(self) -> str:
        """Return the objective as a row of the table in docs/objectives.md."""
        cells = (f"[`{self.kind}`](#{self.kind})", self.families, self.hides, self.predicts, self.sees, self.paper)
        return f"| {' | '.join(cells)} |"


_ONE = "encoder, decoder"
_TWO = "encoder-decoder"
FACTS: tuple[Facts, ...] = (
    Facts(
        "masked",
        f"{_ONE}, {_TWO} (its encoder)",
        "some tokens, words or runs of words",
        "the hidden tokens",
        "the whole text",
        "BERT, Devlin et al. 2019",
    ),
    Facts("causal", _ONE, "nothing", "every next token", "what comes before", "GPT, Radford et al. 2018"),
    Facts(
        "prefix",
        _ONE,
        "nothing",
        "every next token after a prefix",
        "the prefix, and what comes before",
        "T5, Raffel et al. 2020",
    ),
    Facts(
        "fill_in",
        _ONE,
        "nothing: a middle stands last",
        "every next token",
        "what comes before",
        "Bavarian et al. 2022",
    ),
    Facts(
        "permuted",
        _ONE,
        "the last tokens of a random order",
        "these tokens",
        "what comes before in that order",
        "XLNet, Yang et al. 2019",
    ),
    Facts("spans", _TWO, "spans of tokens", "the spans", "the rest; what it has written", "T5, Raffel et al. 2020"),
    Facts(
        "denoise",
        _TWO,
        "spans, the order of sentences, single tokens",
        "the whole text",
        "the spoilt text; what it has written",
        "BART, Lewis et al. 2020",
    ),
    Facts(
        "sentences",
        _ONE,
        "some tokens; whether two texts belong together",
        "the hidden tokens; one answer a pair",
        "both texts",
        "BERT, Devlin et al. 2019; ALBERT, Lan et al. 2020",
    ),
    Facts(
        "replaced",
        _ONE,
        "which tokens a generator put in",
        "of every token: is it the text's own",
        "the whole text",
        "ELECTRA, Clark et al. 2020",
    ),
    Facts(
        "contrastive",
        _ONE,
        "nothing but what dropout takes",
        "which of the texts is the same read again",
        "the whole text",
        "SimCSE, Gao et al. 2021",
    ),
    Facts(
        "mixed",
        "its parts'",
        "as its parts do",
        "as its parts do",
        "as its parts do",
        "GPT-BERT, Charpentier & Samuel 2024",
    ),
    Facts(
        "ul2",
        _TWO,
        "short spans, long spans, or the end",
        "what is hidden",
        "the rest, after a mark of the mode; what it has written",
        "UL2, Tay et al. 2023",
    ),
    Facts(
        "distil",
        "its objective's",
        "as its objective does",
        "the labels, and what a teacher says of them",
        "as its objective does",
        "Hinton et al. 2015; DistilBERT, Sanh et al. 2019",
    ),
)


def config_of(kind: str) -> type[Config]:
    """Return the configuration class of a kind; raise KeyError when there is none."""
    union, *_ = get_args(ObjectiveConfig)
    kinds: dict[str, type[Config]] = {each.model_fields["kind"].default: each for each in get_args(union)}
    return kinds[kind]


def kinds() -> tuple[str, ...]:
    """Return every kind of objective that there is."""
    union, *_ = get_args(ObjectiveConfig)
    return tuple(each.model_fields["kind"].default for each in get_args(union))


def settings_of(kind: str) -> dict[str, str]:
    """Return the settings of a kind with their usual values, written as TOML; "required" where there is none."""
    return {
        name: "required" if field.default is PydanticUndefined else _written(field.default)
        for name, field in config_of(kind).model_fields.items()
        if name != "kind"
    }


def unusual_settings(config: Config) -> list[str]:
    """Return the settings that are not the usual ones, each written as TOML."""
    fields = type(config).model_fields
    return [
        f"{name} = {_written(value)}"
        for name, value in config
        if fields[name].default is not PydanticUndefined and value != fields[name].default
    ]


def _written(value: object) -> str:
    if isinstance(value, Config):
        kind = [f'kind = "{value.kind}"'] if hasattr(value, "kind") else []
        return f"{{ {', '.join(kind + unusual_settings(value))} }}"
    if isinstance(value, str):
        return f'"{value}"'
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)

"""What the files beside a Hugging Face vocabulary say about it."""

from pathlib import Path
from typing import Any, NamedTuple

from trivium.data.frame import Frame, Surround
from trivium.data.special_names import ROLES
from trivium.hub.files import read_json

_WITH_SEGMENTS = ("Bert", "Albert", "Electra", "Deberta", "DebertaV2", "XLNet", "Funnel", "BigBird", "Convbert")
_ANY_CLASS = ("PreTrained", "TokenizersBackend", "")


class TokenizerSettings(NamedTuple):
    """The settings of a tokenizer in a Hugging Face folder; each is empty where its file is missing."""

    tokenizer: dict[str, Any]  # tokenizer_config.json
    special: dict[str, Any]  # special_tokens_map.json
    model: dict[str, Any]  # config.json
    added: dict[str, int]  # added_tokens.json

    @property
    def family(self) -> str:
        """The name of the tokenizer's class without "Tokenizer" and "Fast", as "Bert"; empty if unknown."""
        name = str(self.tokenizer.get("tokenizer_class") or self.model.get("tokenizer_class") or "")
        return name.removesuffix("Fast").removesuffix("Tokenizer")

    @property
    def model_type(self) -> str:
        """The model's type as config.json calls it, as "bert"; empty if unknown."""
        return str(self.model.get("model_type") or "")

    def token(self, role: str) -> dict[str, Any] | None:
        """Return the token of a role (see ROLES), as name and flags; None where no file names it."""
        entry = self.tokenizer.get(f"{role}_token") or self.special.get(f"{role}_token")
        return _token(entry) if entry else None

    def name(self, role: str, usual: str) -> str:
        """Return the name of a role's token, or the usual one where no file names it."""
        token = self.token(role)
        return usual if token is None else str(token["content"])

    def further_tokens(self) -> list[dict[str, Any]]:
        """Return the special tokens without a role and the tokens that were added, those with an id by their ids."""
        decoder: dict[str, Any] = self.tokenizer.get("added_tokens_decoder") or {}
        found = [_token(decoder[number]) for number in sorted(decoder, key=int)]
        found += [_token(name) | {"special": False} for name in sorted(self.added, key=self.added.__getitem__)]
        for settings in (self.tokenizer, self.special):
            for key in ("additional_special_tokens", "extra_special_tokens"):
                extra = settings.get(key) or []
                found += [_token(entry) for entry in (extra.values() if isinstance(extra, dict) else extra)]
        return found

    def role_id(self, role: str) -> int | None:
        """Return the id that config.json gives a role; of several the first."""
        number = self.model.get(f"{role}_token_id")
        if isinstance(number, list):
            number = number[0] if number else None
        return number if isinstance(number, int) and number >= 0 else None

    def ends(self) -> frozenset[int]:
        """Return the ids that end a text, where config.json names several."""
        number = self.model.get("eos_token_id")
        return frozenset(one for one in number if isinstance(one, int)) if isinstance(number, list) else frozenset()

    def uses_segments(self) -> bool:
        """Return whether the model is given the segments (token types) that the post-processor makes."""
        if int(self.model.get("type_vocab_size") or 2) < 2:
            return False
        if names := self.tokenizer.get("model_input_names"):
            return "token_type_ids" in names
        if self.family.startswith(_ANY_CLASS[:2]) or not self.family:
            return True
        return self.family in _WITH_SEGMENTS


def read_settings(folder: Path) -> TokenizerSettings:
    """Return what the files beside a vocabulary say.

    Raises:
        HubError: one of them is not JSON.
    """
    names = ("tokenizer_config.json", "special_tokens_map.json", "config.json", "added_tokens.json")
    return TokenizerSettings(*(read_json(folder / name) if (folder / name).is_file() else {} for name in names))


def bert_frame(cls: int, sep: int) -> Frame:
    """Return `[CLS] a [SEP]` and `[CLS] a [SEP] b [SEP]`, the second text and its end of segment 1."""
    return Frame(
        Surround(((cls,), (sep,)), ((0,), (0,)), (0,)),
        Surround(((cls,), (sep,), (sep,)), ((0,), (0,), (1,)), (0, 1)),
    )


def roberta_frame(bos: int, eos: int) -> Frame:
    """Return `<s> a </s>` and `<s> a </s></s> b </s>`."""
    return plain_frame((bos,), (eos,), (bos,), (eos, eos), (eos,))


def plain_frame(*ids: tuple[int, ...]) -> Frame:
    """Return the frame of these five groups (around a text, then around a pair), all of segment 0."""
    zeros = tuple((0,) * len(group) for group in ids)
    return Frame(Surround(ids[:2], zeros[:2], (0,)), Surround(ids[2:], zeros[2:], (0, 0)))


def without_segments(frame: Frame) -> Frame:
    """Return the frame with segment 0 everywhere."""
    return plain_frame(*frame.text.ids, *frame.pair.ids)


def begin_and_end_frame(bos: int | None, eos: int | None) -> Frame:
    """Return bos (if any) before and eos (if any) after each text, of a pair too, as Llama's."""
    before = () if bos is None else (bos,)
    after = () if eos is None else (eos,)
    return plain_frame(before, after, before, (*after, *before), after)


def named_roles(settings: TokenizerSettings, vocabulary: dict[str, int], known: set[int]) -> dict[str, int]:
    """Return the ids of the roles that the files name.

    Args:
        settings: they.
        vocabulary: ids by name; a name that is not in it is passed over.
        known: ids of tokens that can be special; config.json often says of bos and eos what is not so.
    """
    named = {}
    bert_like = "[CLS]" in vocabulary and "[SEP]" in vocabulary
    for role in ROLES:
        token, number = settings.token(role), settings.role_id(role)
        if token is not None and token["content"] in vocabulary:
            named[role] = vocabulary[token["content"]]
        elif number in known and number is not None and not (bert_like and role in ("bos", "eos")):
            named[role] = number
    start = settings.role_id("decoder_start")
    if start in known and start is not None:
        # What a decoder begins with is what bos is for; CodeT5 names another token so, which its encoder's texts have.
        named["bos"] = start
    return named


def _token(entry: Any) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    if not isinstance(entry, dict):
        return {"content": str(entry), **flags}
    return {name: entry.get(name, usual) for name, usual in {"content": "", **flags}.items()}

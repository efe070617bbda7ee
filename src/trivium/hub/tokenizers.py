"""Tokenizers of Hugging Face folders, read from whatever files there are, and written for `AutoTokenizer`."""

import json
from pathlib import Path
from typing import Any

import tokenizers

from trivium.core.errors import ConfigError, HubError
from trivium.core.files import write_text
from trivium.data.frame import Frame, own_frame
from trivium.data.special_names import ROLES, find_special
from trivium.data.tokenizer import Tokenizer
from trivium.hub.tokenizer_settings import (
    TokenizerSettings,
    begin_and_end_frame,
    named_roles,
    read_settings,
    without_segments,
)
from trivium.hub.vocabulary_files import (
    SENTENCEPIECE_FILES,
    BuiltTokenizer,
    from_merges,
    from_sentencepiece,
    from_wordpiece,
)

_WELL_KNOWN = frozenset(
    ("<s>", "</s>", "<pad>", "<mask>", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "<|endoftext|>", "<bos>", "<eos>")
)
_WITH_FLAGS = ("Llama", "CodeLlama", "Gemma", "GPT2", "PreTrained", "TokenizersBackend")


def read_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer of a Hugging Face folder, with the roles that its files give to special tokens.

    Taken is the first of tokenizer.json, vocab.txt (WordPiece), vocab.json with merges.txt (byte-level BPE), and a
    SentencePiece model.

    Differs from Hugging Face: a special token that a file names and the vocabulary lacks is not added to it, for the
    model has no row for it; Llama's SentencePiece model begins a text with bos unless `add_bos_token` is false.

    Raises:
        HubError: there is none of these files, or one is damaged.
    """
    settings = read_settings(folder)
    built, source = _open(folder, settings)
    if any(_has_family(settings, name) for name in _WITH_FLAGS):
        built = _with_flags(built, settings)
    tree: dict[str, Any] = json.loads(built.library.to_str())
    vocabulary = built.library.get_vocab(with_added_tokens=True)
    _mark_special(tree, settings, built, vocabulary)
    frame = built.frame
    if frame.has_segments and not settings.uses_segments():
        frame = without_segments(frame)
    if frame != own_frame(built.library):
        name_of = {number: name for name, number in vocabulary.items()}
        tree["post_processor"] = _post_processor(tree["post_processor"], frame, name_of)
    unk = settings.name("unk", str(tree["model"].get("unk_token") or ""))
    unknown = {tree["model"].get("unk_id"), vocabulary.get(unk) if tree["model"].get("unk_token") else None}
    marked = {token["id"] for token in tree["added_tokens"] if token["special"]} - unknown
    known = marked | {vocabulary[name] for name in _WELL_KNOWN if name in vocabulary}
    special = find_special(vocabulary, marked, named_roles(settings, vocabulary, known))
    if special is not None:
        special = special._replace(stops=settings.ends() & set(vocabulary.values()) - {special.eos})
    try:
        return Tokenizer(json.dumps(tree, ensure_ascii=False).encode(), str(source), special=special)
    except ConfigError as error:
        raise HubError(str(error)) from None


def write_tokenizer(
    tokenizer: Tokenizer, folder: Path, *, max_length: int, for_prompts: bool = False, segments: bool = True
) -> None:
    """Write a tokenizer so that `transformers.AutoTokenizer` opens it, with the same ids and the same frame.

    Args:
        tokenizer: trained here or read.
        folder: an existing one; tokenizer.json and tokenizer_config.json are written.
        max_length: tokens that the model has positions for.
        segments: the model tells segments apart.
        for_prompts: put around a single text only what comes before it, so that the model can go on after it.
    """
    tree: dict[str, Any] = json.loads(tokenizer.to_library_bytes())
    frame = tokenizer.frame if segments else without_segments(tokenizer.frame)
    if for_prompts:
        bare = frame.text._replace(ids=(frame.before, ()), segments=(frame.text.segments[0], ()))
        frame = frame._replace(text=bare)
    if frame != own_frame(tokenizers.Tokenizer.from_str(json.dumps(tree))):
        name_of = {number: tokenizer.token_name(number) for side in frame for group in side.ids for number in group}
        tree["post_processor"] = _post_processor(tree["post_processor"], frame, name_of)
    roles = {role: getattr(tokenizer.special, role) for role in ROLES}
    types = ["token_type_ids"] if frame.has_segments else []
    settings = {
        # Known to versions 4 and 5, and takes tokenizer.json as it is.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "model_input_names": ["input_ids", *types, "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": tokenizer.token_name(number) for role, number in roles.items() if number is not None},
    }
    unk = tree["model"].get("unk_token")
    if unk:
        settings["unk_token"] = unk
    if '"add_prefix_space": true' in json.dumps(tree["pre_tokenizer"]):
        settings["add_prefix_space"] = True  # version 4 sets the pre-tokenizer to what is said here
    write_text(folder / "tokenizer.json", json.dumps(tree, ensure_ascii=False, indent=2) + "\n")
    write_text(folder / "tokenizer_config.json", json.dumps(settings, ensure_ascii=False, indent=2) + "\n")


def _open(folder: Path, settings: TokenizerSettings) -> tuple[BuiltTokenizer, Path]:
    """Return the tokenizer of the first kind of files that the folder has, and the file."""
    whole, words, table, merges = (
        folder / name for name in ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt")
    )
    if whole.is_file():
        try:
            library = tokenizers.Tokenizer.from_file(str(whole))
        except Exception as error:  # noqa: BLE001 - the library raises plain Exception
            reason = str(error).splitlines()[0]
            raise HubError(f"{whole}: expected a tokenizer.json, found something else: {reason}.") from None
        return BuiltTokenizer(library, own_frame(library)), whole
    if words.is_file():
        return from_wordpiece(words, settings), words
    if table.is_file() and merges.is_file():
        return from_merges(table, merges, settings), table
    for name in SENTENCEPIECE_FILES:
        if (folder / name).is_file():
            return from_sentencepiece(folder / name, settings), folder / name
    raise HubError(
        f"{folder}: expected a tokenizer (tokenizer.json, vocab.txt, vocab.json with merges.txt, or one of "
        f"{', '.join(SENTENCEPIECE_FILES)}), found none."
    )


def _has_family(settings: TokenizerSettings, name: str) -> bool:
    return settings.family == name or (name == "PreTrained" and settings.family.startswith(name))


def _with_flags(built: BuiltTokenizer, settings: TokenizerSettings) -> BuiltTokenizer:
    """Return the tokenizer with bos and eos around a text as `add_bos_token` and `add_eos_token` say, if they do."""
    flags = {role: settings.tokenizer.get(f"add_{role}_token") for role in ("bos", "eos")}
    if set(flags.values()) == {None}:
        return built
    ids = {}
    for role, wanted in flags.items():
        token = settings.token(role)
        ids[role] = built.library.token_to_id(token["content"]) if wanted and token else None
    frame = begin_and_end_frame(ids["bos"], ids["eos"])
    if frame.text == built.frame.text:
        return built
    return built._replace(frame=frame)


def _mark_special(
    tree: dict[str, Any], settings: TokenizerSettings, built: BuiltTokenizer, vocabulary: dict[str, int]
) -> None:
    """Mark in a tokenizer.json the tokens that the settings name, and add those that have an id of their own."""
    added: dict[str, dict[str, Any]] = {token["content"]: token for token in tree["added_tokens"]}
    roles = [token for role in (*ROLES, "unk") if (token := settings.token(role))]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    usual: list[dict[str, Any]] = [{"content": name, **flags} for name in built.special]
    for token in [*settings.further_tokens(), *roles, *usual]:
        name = token["content"]
        if name in added:
            added[name]["special"] |= token["special"]
        elif name in vocabulary:
            # In a prompt, "the <mask> of" means the word there, and a word's token holds the space before it.
            added[name] = {"id": vocabulary[name], **token, "lstrip": token["lstrip"] or name == "<mask>"}
    decoder = settings.tokenizer.get("added_tokens_decoder") or {}
    wanted = {int(number): token["content"] for number, token in decoder.items()}
    wanted |= {number: name for name, number in settings.added.items()}
    further = {token["content"]: token for token in settings.further_tokens()}
    for number in sorted(wanted):
        name = wanted[number]
        if name not in vocabulary and number == max(vocabulary.values()) + 1:
            vocabulary[name] = number
            added[name] = {"id": number, **further[name]}
    tree["added_tokens"] = sorted(added.values(), key=lambda token: int(token["id"]))


def _post_processor(old: dict[str, Any] | None, frame: Frame, name_of: dict[int, str]) -> dict[str, Any] | None:
    """Return the post-processor that makes a frame, as JSON; a step of the old one that trims offsets stays."""
    steps = (old or {}).get("processors") or ([old] if old else [])
    trims = [step for step in steps if step["type"] == "ByteLevel"]
    for step in steps:
        if step["type"] == "RobertaProcessing" and step.get("trim_offsets"):
            trims.append({"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True})
    if not (frame.text.size or frame.pair.size):
        return trims[0] if trims else None
    template = _template(frame, name_of)
    return {"type": "Sequence", "processors": [*trims, template]} if trims else template


def _template(frame: Frame, name_of: dict[int, str]) -> dict[str, Any]:
    sides = []
    for side in frame:
        parts: list[dict[str, Any]] = []
        for place, (ids, segments) in enumerate(zip(side.ids, side.segments, strict=True)):
            if place:
                parts.append({"Sequence": {"id": "AB"[place - 1], "type_id": side.text_segments[place - 1]}})
            parts += [
                {"SpecialToken": {"id": name_of[number], "type_id": segment}}
                for number, segment in zip(ids, segments, strict=True)
            ]
        sides.append(parts)
    used = sorted({number for side in frame for group in side.ids for number in group})
    named = {name_of[number]: number for number in used}
    special = {name: {"id": name, "ids": [number], "tokens": [name]} for name, number in named.items()}
    return {"type": "TemplateProcessing", "single": sides[0], "pair": sides[1], "special_tokens": special}

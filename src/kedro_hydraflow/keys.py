"""What a key means by its spelling alone, in filters as text, rankings and options of datasets.

``Run.get`` looks in the configuration first, whatever the key. To find out like that what
``metrics.accuracy`` is, all configurations would have to be read.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, cast

from typing_extensions import NamedTuple

from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.run_info import FACTS, LOGGED_KINDS

KeyKind = Literal[
    "fact", "metrics", "params", "tags", "overrides", "hydra", "results", "cfg", "impl", "any"
]
"""Where the value of a key is. ``any`` is the configuration and, without it there, the `impl`."""

KEYED_FILES = ("hydra", "results")
"""The parsed files of runs whose entries have keys, with these names in front."""

MLFLOW_PREFIXES = ("attributes", "attribute", "attr", "run")
"""What MLflow allows in front of a fact."""


class Key(NamedTuple):
    """A key and what it means."""

    text: str
    """The key as it was written."""

    kind: KeyKind

    path: str
    """The name of a fact, the key in the configuration, the attribute of an `impl`, or the key of
    what was recorded, such as ``metrics.accuracy``."""

    @property
    def is_recorded(self) -> bool:
        """Whether it is found without the configuration and the `impl`."""
        return self.kind not in ("cfg", "impl", "any")

    @property
    def is_outright(self) -> bool:
        """Whether a prefix says what it means, so that it cannot be meant for anything else."""
        return self.text.partition(".")[0] in ("cfg", "info", "impl", "logged", *MLFLOW_PREFIXES)


def parse_key(text: str) -> Key:
    """Return what a key means.

    - ``metrics.``, ``params.``, ``tags.`` and the names of `FACTS` are what MLflow recorded,
      ``overrides`` and ``hydra.`` what Hydra did, ``results.`` the files of results.
    - ``cfg.``, ``info.``, ``impl.`` and ``logged.metrics.`` say it outright, as do MLflow's
      ``attributes.``, ``attr.`` and ``run.`` in front of a fact.
    - All other keys are those of the configuration, then attributes of the `impl`.

    Raises:
        OptionError: If there is no fact of that name after ``info.``.
    """
    dotted = to_dotted(text)
    head, _, rest = dotted.partition(".")
    kind = cast("KeyKind", head)
    if dotted in FACTS:
        return Key(text, "fact", dotted)
    if dotted == "overrides":
        return Key(text, "overrides", dotted)
    if not rest:
        return Key(text, "any", dotted)
    if head == "info" or (head in MLFLOW_PREFIXES and rest in FACTS):
        if rest not in FACTS:
            raise OptionError(f"{text!r}: there is no {rest!r}; expected one of {_list_facts()}")
        return Key(text, "fact", rest)
    if head == "logged" and is_recorded(rest) and rest.partition(".")[0] in LOGGED_KINDS:
        return parse_key(text[len("logged.") :])._replace(text=text)
    if head == "cfg" or head == "impl":
        return Key(text, kind, rest)
    if is_recorded(dotted):
        # A metric may have two underscores in its name.
        path = text if text.startswith(f"{head}.") else dotted
        return Key(text, kind, path)
    return Key(text, "any", dotted)


def is_pattern(text: str) -> bool:
    """Whether text names several keys, with ``*`` or ``?`` in it."""
    return "*" in text or "?" in text


def parse_pattern(text: str) -> Key:
    """Return what a pattern means: keys of the configuration unless a prefix says otherwise.

    The prefixes are ``info.`` and those of `parse_key` for more than facts. The path of the result
    is the pattern that the paths of the keys match.
    """
    head, _, rest = to_dotted(text).partition(".")
    if rest and head == "info":
        return Key(text, "fact", rest)
    key = parse_key(text)
    return key._replace(kind="cfg") if key.kind == "any" else key


@lru_cache(maxsize=4096)
def name_config_key(key: str) -> str:
    """Return a key of the configuration, after ``cfg.`` if it means something else without."""
    try:
        is_clear = parse_key(key).kind == "any"
    except OptionError:
        is_clear = False
    return key if is_clear else f"cfg.{key}"


def identify(text: str) -> tuple[str, str]:
    """Return what is equal for keys that mean the same, such as ``lr`` and ``cfg.lr``."""
    try:
        key = parse_key(text)
    except OptionError:
        return "", text
    return "cfg" if key.kind == "any" else key.kind, key.path


def is_recorded(key: str) -> bool:
    """Whether a key with dots is one of what was logged, or of a parsed file's entries."""
    kind, _, name = key.partition(".")
    return bool(name) and (kind in LOGGED_KINDS or kind in KEYED_FILES)


def to_dotted(key: str) -> str:
    """Return a key with each ``__`` replaced by a dot."""
    return key.replace("__", ".") if "__" in key else key


def _list_facts() -> str:
    return ", ".join(sorted(FACTS))

"""Random filters on what is in a tree, or is not."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import yaml

from tests.model.reference import FACTS, RunRead
from tests.model.reference_filters import (
    FIRST_FACTS,
    FOLDED,
    MISSING,
    TIMES,
    And,
    Expression,
    Not,
    Or,
    Test,
    get_value,
    parse,
)
from tests.model.trees import CONFIG_KEYS, METRICS, PARAMS, TAGS

KEYS: dict[str, Sequence[str]] = {
    "fact": [*FACTS, *FIRST_FACTS, "run_id", "parent_run_id"],
    "metrics": [*METRICS, "acc__top1", "absent"],
    "params": [*PARAMS, "new", "absent"],
    "tags": [*TAGS, "mlflow.parentRunId", "absent"],
    "results": ["loss", "n", "text", "absent"],
    "hydra": ["job.name", "job.chdir", "run.dir", "absent"],
    "overrides": [""],
    "cfg": [*CONFIG_KEYS, "seed", "model.lr", "lr.model", "opt.0", "model.a_b.lr", "absent"],
}
UNORDERED = ["==", "in", "is null"]
ORDERED = ["==", "==", "<", "<=", ">", ">=", "in", "is null"]
OPERATORS = [*ORDERED, "~", "like", "ilike", "contains"]
PLAIN = ["x", "yes", "1e3", "1", "0.5", "0.10", "-7", "007", "true", ".nan", "-.inf", "two words"]
PLAIN += ["nano", "3.0", "1_000", "2024-01-01", "active", "12345678901234567890", "日本語", "0x10"]
NUMBERS = ["0", "0.5", "-7", "1e3", "0x10", ".inf", "-.inf", ".nan", "1_000"]
BRACKETED = ["[]", "[1, x]", "[true]", "[0]", "[.nan]", "{}", "{lr: 1}", "{a_b: 'x'}"]
STATUSES = ["FINISHED", "running", "Failed", "KILLED", "scheduled"]
STAGES = ["active", "Deleted"]
LONG_AGO = ["now - 36500d", "now - 5000 w"]
COMES = ["now + 36500d", "NOW+1000000h"]


@dataclass(frozen=True)
class Literal:
    """A value in a filter."""

    source: str
    """How it is written."""

    value: Any
    texts: Any

    @classmethod
    def read(cls, source: str) -> Literal:
        """Return the value that OmegaConf reads in a scalar, a list or a mapping."""
        return cls(source, parse(source), yaml.load(source, yaml.BaseLoader))


class FilterMaker:
    """Makes filters.

    Args:
        rng: What chooses.
        runs: The runs, with whose values some are compared.
    """

    def __init__(self, rng: random.Random, runs: Sequence[RunRead]) -> None:
        self._rng = rng
        self._runs = runs
        self._usual = rng.sample([*KEYS], 3)
        """Where most of the keys are: a filter of all kinds selects little."""

    def make_plain(self) -> tuple[Expression, str]:
        """Return a filter of a form that databases and servers apply."""
        rng = self._rng
        made = []
        for _ in range(rng.choice([1, 1, 2])):
            kind = rng.choice(["metrics", "metrics", "params", "tags", "fact"])
            names = rng.sample(KEYS[kind], 3)
            name = next((n for n in names if self._pick_value(kind, n) is not None), names[0])
            is_ordered = kind == "metrics" or name in TIMES
            operators = [*ORDERED[:-1], ">=", "<="] if is_ordered else ["==", "in"]
            made.append(self._make_comparison(kind, name, rng.choice(operators)))
        parts, texts = zip(*made, strict=True)
        return And(parts), self._say(" and ").join(texts)

    def make(self, depth: int = 0) -> tuple[Expression, str]:
        """Return a filter, and its text."""
        rng = self._rng
        draw = rng.random()
        if draw < 0.4 + 0.2 * depth:
            return self._make_test()
        if draw < 0.6 + 0.15 * depth:
            return self._negate(*self.make(depth + 1))
        made = [self.make(depth + 1) for _ in range(rng.choice([2, 2, 3]))]
        parts = [part for part, _ in made]
        is_and = rng.random() < 0.5
        texts = [
            text if isinstance(part, (Test, Not)) or (is_and and isinstance(part, And)) else None
            for part, text in made
        ]
        shown = [self._enclose(made[i][1], must=text is None) for i, text in enumerate(texts)]
        if is_and:
            return And(parts), self._say(" and ").join(shown)
        return Or(parts), self._say(" or ").join(shown)

    def _say(self, word: str) -> str:
        return self._rng.choice([word, word, word.upper(), word.title()])

    def _enclose(self, text: str, *, must: bool) -> str:
        return f"({text})" if must or self._rng.random() < 0.15 else text

    def _negate(self, part: Expression, text: str) -> tuple[Expression, str]:
        shown = self._enclose(text, must=isinstance(part, (And, Or)))
        return Not(part), f"{self._say('not ').lstrip()}{shown}"

    def _make_test(self) -> tuple[Expression, str]:
        rng = self._rng
        kind = rng.choice(self._usual if rng.random() < 0.7 else [*KEYS])
        name = rng.choice(KEYS[kind])
        is_time = kind == "fact" and name in TIMES
        operators = ORDERED if is_time else OPERATORS
        actual = self._pick_value(kind, name)
        if actual is None and rng.random() < 0.9:  # most keys are some run's
            return self._make_test()
        if rng.random() < 0.9:  # what can be compared
            is_number = isinstance(actual, (int, float))
            operators = ORDERED if is_number or kind == "metrics" else operators
            operators = UNORDERED if isinstance(actual, bool) or actual is None else operators
        return self._make_comparison(kind, name, rng.choice(operators), may_be_not=True)

    def _make_comparison(
        self, kind: str, name: str, operator: str, *, may_be_not: bool = False
    ) -> tuple[Expression, str]:
        rng = self._rng
        key = self._write_key(kind, name)
        if operator == "is null":
            return self._write_null_test(Test(kind, name, operator), key)
        literal = self._make_literal(kind, name, operator)
        test = Test(kind, name, operator, literal.value, literal.texts)
        is_word = operator.isalpha()
        shown = self._say(operator) if is_word else operator
        if operator == "==":
            shown = rng.choice(["==", "=", "!="] if may_be_not else ["==", "="])
        if is_word and may_be_not and rng.random() < 0.2:
            return Not(test), f"{key} {self._say('not ').lstrip()}{shown} {literal.source}"
        space = " " if is_word or rng.random() < 0.8 else ""
        text = f"{key}{space}{shown}{space}{literal.source}"
        return (Not(test) if shown == "!=" else test), text

    def _write_null_test(self, test: Test, key: str) -> tuple[Expression, str]:
        if self._rng.random() < 0.5:
            return test, self._rng.choice([f"{key} is null", f"{key} IS NULL", f"{key} == null"])
        return Not(test), self._rng.choice([f"{key} is not null", f"{key} != null"])

    def _write_key(self, kind: str, name: str) -> str:
        rng = self._rng
        if kind == "fact":
            return rng.choice([name, f"info.{name}", f"attributes.{name}"])
        if kind == "overrides":
            return kind
        key = name if kind == "cfg" else f"{kind}.{name}"
        if kind in ("metrics", "params", "tags") and rng.random() < 0.2:
            key = f"logged.{key}"
        elif kind == "cfg":
            key = rng.choice([key, f"cfg.{key}", key.replace(".", "__")])
        if " " in key or rng.random() < 0.1:
            quote = rng.choice("`\"'")
            head, dot, rest = key.partition(".")
            return (
                f"{head}.{quote}{rest}{quote}"
                if dot and " " not in head
                else f"{quote}{key}{quote}"
            )
        return key

    # Literals ----------------------------------------------------------------------------

    def _make_literal(self, kind: str, name: str, operator: str) -> Literal:
        if operator == "in":
            return self._make_list(kind, name)
        if operator in ("~", "like", "ilike"):
            return self._make_pattern(kind, name, "%_" if "like" in operator else "*?")
        if kind == "fact" and name in TIMES:
            return self._make_time(name)
        if kind == "fact" and name in FOLDED and operator == "==":
            return self._quote(self._rng.choice(STATUSES if name == "status" else STAGES))
        if operator == "==" and self._rng.random() < 0.15:
            return Literal.read(self._rng.choice(BRACKETED))
        return self._make_scalar(kind, name)

    def _make_scalar(self, kind: str, name: str) -> Literal:
        """Return a scalar, mostly one that a run has, or another one of its kind."""
        rng = self._rng
        actual = self._pick_value(kind, name)
        draw = rng.random()
        if draw < 0.05 or actual is None:
            plain = rng.choice(PLAIN)
            return Literal.read(plain) if rng.random() < 0.7 else self._quote(plain)
        if draw < 0.3:
            if isinstance(actual, str):
                return self._quote(rng.choice(PLAIN))
            return Literal.read(rng.choice(NUMBERS))
        if isinstance(actual, str):
            return self._quote(actual)
        return Literal.read(
            yaml.dump(actual, default_flow_style=True).removesuffix("...\n").strip()
        )

    def _pick_value(self, kind: str, name: str) -> Any:
        """Return a value of some run, None if there is none."""
        if not self._runs:
            return None
        value = get_value(self._rng.choice(self._runs), Test(kind, name, "=="))
        while isinstance(value, (list, dict)) and value:
            value = self._rng.choice([*(value.values() if isinstance(value, dict) else value)])
        return None if value is MISSING or isinstance(value, (list, dict)) else value

    def _quote(self, text: str) -> Literal:
        """Return a text in quotes, or without them where it needs none."""
        is_simple = re.fullmatch(r"[A-Za-z]+", text) and parse(text) == text
        shown = [json.dumps(text, ensure_ascii=False)]
        if "\n" not in text:
            shown.append("'" + text.replace("'", "''") + "'")
        if is_simple:
            shown.append(text)
        return Literal(self._rng.choice(shown), text, text)

    def _make_list(self, kind: str, name: str) -> Literal:
        rng = self._rng
        if kind == "fact" and name in TIMES:
            parts = [self._make_time(name) for _ in range(rng.choice([1, 2]))]
            parts = [p for p in parts if "now" not in p.source.lower()]
        elif kind == "fact" and name in FOLDED:
            values = STATUSES if name == "status" else STAGES
            parts = [self._quote(value) for value in rng.sample(values, 2)]
        else:
            parts = [self._make_scalar(kind, name) for _ in range(rng.randrange(4))]
        if rng.random() < 0.2:
            parts.insert(rng.randrange(len(parts) + 1), Literal("null", None, "null"))
        begin, end = rng.choice(["[]", "()"])
        source = f"{begin}{', '.join(part.source for part in parts)}{end}"
        kept = [part for part in parts if part.value is not None]
        has_null = [None] * (len(parts) - len(kept))
        return Literal(
            source, [*(p.value for p in kept), *has_null], [*(p.texts for p in kept), *has_null]
        )

    def _make_pattern(self, kind: str, name: str, wildcards: str) -> Literal:
        rng = self._rng
        actual = self._pick_value(kind, name)
        text = actual if isinstance(actual, str) else rng.choice(PLAIN)
        start, end = sorted(rng.choices(range(len(text) + 1), k=2))
        shorter = text[:start] + wildcards[0] + text[end:]
        pattern = rng.choice(
            [text, wildcards[0], shorter, text[:start] + wildcards[1] + text[end:]]
        )
        pattern = rng.choice([pattern, pattern, pattern.swapcase()])
        if re.fullmatch(r"[\w*?%.-]+", pattern) and rng.random() < 0.3:
            return Literal(pattern, pattern, pattern)
        return self._quote(pattern)

    def _make_time(self, name: str) -> Literal:
        rng = self._rng
        actual = self._pick_value("fact", name)
        moment = (actual or 1_795_394_369_957) + rng.choice([-1, 0, 0, 1, 60])
        if rng.random() < 0.2:
            is_past = rng.random() < 0.5
            source = rng.choice(LONG_AGO if is_past else COMES)
            return Literal(source, 0 if is_past else 10**14, source)
        if rng.random() < 0.5 and moment > 10**11:  # smaller numbers are taken for dates
            return Literal(str(moment), moment, str(moment))
        zone = timezone(timedelta(hours=rng.choice([0, 0, 5.5, -8])))
        when = datetime.fromtimestamp(moment // 1000, zone) + timedelta(milliseconds=moment % 1000)
        shown = when.isoformat(sep=rng.choice("T "), timespec="milliseconds")
        if when.utcoffset() == timedelta(0):
            shown = shown.replace("+00:00", rng.choice(["", "Z"]))
        return Literal(f"'{shown}'", moment, shown)

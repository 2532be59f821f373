"""What `dump` writes, every reader of YAML takes for the same objects: PyYAML here, kubectl in the tests of the CLI."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock.yaml_text import dump

# Strings that a reader of YAML 1.1 or 1.2 takes for something else where they stand bare.
MISLEADING = {
    "a word of truth": "y",
    "its opposite": "no",
    "a switch": "On",
    "nothing": "null",
    "nothing, short": "~",
    "the empty string": "",
    "an exponent": "1e3",
    "an octal number": "0o7",
    "an old octal number": "010",
    "a hexadecimal number": "0x1F",
    "a number with underscores": "1_000",
    "a number in base sixty": "12:30:45",
    "a version": "1.10",
    "infinity": ".inf",
    "a date": "2026-01-31",
    "an instant": "2026-01-31T06:00:00Z",
    "a colon": "key: value",
    "a comment": "text # no comment",
    "an alias": "*other",
    "a tag": "!!python/name:os.system",
    "a merge": "<<",
    "a list": "- item",
    "a document's end": "---",
    "a reserved character": "@here",
    "spaces at its ends": "  x ",
    "a tab": "a\tb",
    "a carriage return": "a\rb",
    "a quote": 'say "yes"',
    "a backslash": "\\n",
    "no ASCII": "Ärger 🦋",
    "a line separator": "a\u2028b",
    "a next-line character": "a\x85b",
}

# Texts of several lines, which stay blocks where YAML can hold them as such.
TEXTS = {
    "a line break at its end": "one\ntwo\n",
    "none": "one\ntwo",
    "several": "one\n\n\n",
    "indented lines": "def f():\n    return 1\n",
    "an empty line inside": "one\n\ntwo\n",
    "an indented first line": "  one\ntwo\n",
    "an empty first line": "\none\n",
    "spaces at a line's end": "one  \ntwo\n",
    "a tab": "one\n\ttwo\n",
    "a comment sign": "# one\n# two\n",
    "a document separator": "---\n...\n",
    "line breaks only": "\n\n",
    "line breaks of Windows": "one\r\ntwo\r\n",
}

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)
documents = st.dictionaries(texts, values, max_size=5)


def read(text: str) -> list[Any]:
    return list(yaml.safe_load_all(text))


@given(st.lists(documents, min_size=1, max_size=3))
def test_objects_come_back_as_they_were(objects: list[dict[str, Any]]) -> None:
    assert read(dump(objects)) == objects


@given(documents)
def test_keys_keep_their_order(body: dict[str, Any]) -> None:
    assert list(read(dump([body]))[0]) == list(body)


@pytest.mark.parametrize("text", [*MISLEADING.values(), *TEXTS.values()], ids=[*MISLEADING, *TEXTS])
def test_a_string_stays_a_string_as_value_key_and_item(text: str) -> None:
    body = {"value": text, "list": [text], "map": {text: text}}
    assert read(dump([body])) == [body]


@pytest.mark.parametrize("text", MISLEADING.values(), ids=MISLEADING)
def test_what_misleads_is_quoted(text: str) -> None:
    """As values and as keys, so that it does not matter which YAML the reader speaks."""
    assert dump([{"value": text}]).startswith('value: "')
    assert dump([{text: 1}]).removeprefix("? ").startswith('"')


@pytest.mark.parametrize("key", ["yes", "No", "true", "NULL", "off", "n", "on", "1e3", "a b", "a:"])
def test_keys_that_are_no_plain_words_are_quoted(key: str) -> None:
    assert dump([{key: 1}]) == f'"{key}": 1\n'


@pytest.mark.parametrize("key", ["spec", "apiVersion", "retry_delay", "penstock.dev/cause", "a-b"])
def test_plain_words_are_plain_keys(key: str) -> None:
    assert dump([{key: 1}]) == f"{key}: 1\n"


def test_text_of_several_lines_is_a_block() -> None:
    """So that source code in a manifest can be read and reviewed."""
    assert dump([{"text": "def f():\n    return 1\n"}]) == "text: |\n  def f():\n      return 1\n"


def test_numbers_booleans_and_null_are_bare() -> None:
    body = {"int": 7, "float": 0.5, "yes": True, "none": None}
    assert dump([body]) == 'int: 7\nfloat: 0.5\n"yes": true\nnone: null\n'


def test_lists_stand_deeper_than_their_key() -> None:
    assert dump([{"tags": ["a", {"key": "b", "value": 1}]}]) == 'tags:\n  - "a"\n  - key: "b"\n    value: 1\n'


def test_long_strings_are_one_line() -> None:
    """A folded line would put the reader's folding rules into a parameter."""
    text = "word " * 200 + "end"
    assert dump([{"text": text}]) == f'text: "{text}"\n'


def test_documents_are_separated() -> None:
    assert dump([{"first": 1}, {"second": 2}]) == "first: 1\n---\nsecond: 2\n"
    assert dump([]) == ""


def test_what_json_has_not_is_refused() -> None:
    """A manifest is JSON by another name: an object of Python in it is a mistake of ours."""
    with pytest.raises(yaml.representer.RepresenterError):
        dump([{"value": object()}])

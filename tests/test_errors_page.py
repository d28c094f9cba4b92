"""docs/errors.md lists every message of every error, with its cause and the next step."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from types import ModuleType

import pytest
from conftest import ROOT

from nrcscan import errors
from nrcscan.wording import with_tables


@pytest.fixture(scope="module")
def page() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        module = importlib.import_module("messages")
        patch.setattr(module, "messages", cache(module.messages))  # all code is read once
        yield module


def test_the_page_has_every_message(page: ModuleType) -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert with_tables(text, page.tables()) == text, "run python docs/messages.py docs/errors.md"
    for name in page.TABLES:
        assert text.count(f"<!-- {name}:") == 1


def test_every_message_says_what_happened_and_what_to_do(page: ModuleType) -> None:
    lacking = [m for m in page.messages() if not (m.text and m.cause and m.remedy)]
    assert not lacking, "\n".join(f"{m.module}: {m.text}; {m.remedy} | {m.cause}" for m in lacking)


def test_messages_are_read_off_the_code(page: ModuleType) -> None:
    found = {message.text: message for message in page.messages()}
    exists = found["PATH: exists already"]
    assert exists.remedy == "replace it with --force, or choose another name"
    assert exists.exit_code == errors.UsageError.exit_code
    assert {m.kind for m in found.values()} >= {"UsageError", "InputError", "UnsafeError"}


def test_texts_are_followed_through_names_and_calls(page: ModuleType) -> None:
    steps = {(message.text, message.remedy) for message in page.messages()}
    assert {
        ("--require TEXT: unexpected character WHERE", "write == to compare"),  # from a table
        ("PATH: no such KIND file", "check the path"),  # a word for what callers give
        ("COUNT parts: at most 256 are merged at once", "merge them in groups, then the groups"),
        (
            "the predictions, of shape SHAPE, have the samples on the second axis",
            "wrap the network in a factory that puts them on the first",
        ),
    } <= steps

"""Tokenizers for the tests of the text layer, loaded once."""

import pytest

from app.chat.tokenizer import Tokenizer
from tests.chat.support import CHAT_TEMPLATE, gpt2_folder, small_tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A small byte-level BPE with an end-of-text token, role tokens and a chat template."""
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"), chat_template=CHAT_TEMPLATE)


@pytest.fixture(scope="session")
def plain_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """The same without a chat template, as GPT-2 comes."""
    return small_tokenizer(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def gpt2() -> Tokenizer:
    return Tokenizer.from_folder(gpt2_folder())

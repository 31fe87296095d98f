"""A small real tokenizer and what the property tests share."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from app.chat.tokenizer import Tokenizer

EOS = "<|endoftext|>"
ROLES = ["<|user|>", "<|assistant|>"]

# The same examples on every run: a failure can be run again, and a quiet day stays quiet.
PROPERTY = settings(derandomize=True, deadline=None, max_examples=150)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content | trim }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

_CORPUS = ["hello world, how are you today? I am fine, thank you.", "User: the cat\nAssistant: sat on the mat"] * 4


def write_vocabulary(folder: Path) -> None:
    """vocab.json and merges.txt of 256 bytes, the end-of-text token and some merges."""
    backend = Backend(BPE())
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=320,
        initial_alphabet=sorted(ByteLevel.alphabet()),
        special_tokens=[EOS],
        show_progress=False,
    )
    backend.train_from_iterator(_CORPUS, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    backend.model.save(str(folder))


def write_json(folder: Path, name: str, value: object) -> None:
    (folder / name).write_text(json.dumps(value), encoding="utf-8")


def small_tokenizer(folder: Path, *, chat_template: str | None = None) -> Tokenizer:
    """A tokenizer with role tokens after the vocabulary, and the chat template if one is given."""
    write_vocabulary(folder)
    size = len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
    write_json(folder, "added_tokens.json", {text: size + i for i, text in enumerate(ROLES)})
    write_json(folder, "tokenizer_config.json", {"eos_token": EOS, "chat_template": chat_template})
    return Tokenizer.from_folder(folder)


def gpt2_folder() -> Path:
    """GPT-2's own vocab.json and merges.txt; skips the test where there are none."""
    folder = os.environ.get("TROIKA_TEST_GPT2_TOKENIZER")
    if not folder:
        pytest.skip("set TROIKA_TEST_GPT2_TOKENIZER to a folder with GPT-2's vocab.json and merges.txt")
    return Path(folder)


# Text as people and attackers write it: any character, with role labels, special tokens and pieces of them.
_ATTACKS = [EOS, *ROLES, "<|", "|>", "<|endof", "text|>", "user", "<", "\ue000", "\uf8ff"]
_LABELS = ["User:", "\nUser:", "\nAssistant:", "\n  assistant :", "\u2028User:", "\n\u200bUser:"]
_WORDS = ["😀", "你好", "\n", "\r\n", " ", "hello world"]
fragments = st.sampled_from([*_ATTACKS, *_LABELS, *_WORDS])
texts = st.lists(fragments | st.text(max_size=6), max_size=8).map("".join)

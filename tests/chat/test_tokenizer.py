"""Ids, bytes and special tokens; GPT-2's own vocabulary against transformers."""

import json
import random
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from app.chat.byte_level import BYTE_OF
from app.chat.prompt import Piece
from app.chat.tokenizer import Tokenizer, TokenizerError
from tests.chat.support import EOS, PROPERTY, ROLES, gpt2_folder, small_tokenizer, texts, write_json, write_vocabulary
from tests.server import ROOT

SAMPLES = [
    "Hello, world!",
    "  two  spaces\n\n\tand a tab ",
    "I'll we've they'd don't 12345 ¿qué? Größe",
    "你好,世界 😀👩‍👩‍👧 עברית",
    "\u0000\u007f\u00ad\ufeff\ue000",
    "",
]


def test_the_alphabet_is_that_of_tokenizers() -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    assert set(BYTE_OF) == set(ByteLevel.alphabet())
    assert sorted(BYTE_OF.values()) == list(range(256))
    assert (BYTE_OF["Ġ"], BYTE_OF["Ċ"], BYTE_OF["!"]) == (0x20, 0x0A, 0x21)


def test_gpt2_equals_transformers(gpt2: Tokenizer) -> None:
    from transformers import AutoTokenizer, GPT2Config

    reference = AutoTokenizer.from_pretrained(gpt2_folder(), config=GPT2Config())
    for text in SAMPLES:
        assert gpt2.encode(text) == reference.encode(text)
    marked = f"Hello {EOS} you{EOS}{EOS}"
    assert gpt2.encode(marked, special_tokens=True) == reference.encode(marked)
    choice = random.Random(0)
    for _ in range(200):
        ids = [choice.randrange(gpt2.vocab_size) for _ in range(30)]
        assert gpt2.decode(ids) == reference.decode(ids, skip_special_tokens=True)
        assert gpt2.decode(ids, skip_special=False) == reference.decode(ids)


def test_gpt2_facts(gpt2: Tokenizer) -> None:
    assert (gpt2.vocab_size, gpt2.eos_token_id, gpt2.special_ids) == (50257, 50256, {50256})
    assert gpt2.encode("Hello world") == [15496, 995]
    assert [gpt2.token_bytes(index) for index in (995, 50256)] == [b" world", EOS.encode()]


@PROPERTY
@given(text=texts)
def test_no_text_is_lost_and_none_is_special(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert b"".join(map(tokenizer.token_bytes, ids)).decode() == text
    assert tokenizer.decode(ids) == text
    assert not tokenizer.special_ids & set(ids)


@PROPERTY
@given(parts=st.lists(st.sampled_from([EOS, *ROLES]) | st.just("a <| b"), max_size=6))
def test_special_tokens_are_found_on_request(tokenizer: Tokenizer, parts: list[str]) -> None:
    ids = tokenizer.encode("".join(parts), special_tokens=True)
    assert [i for i in ids if i in tokenizer.special_ids] == [
        tokenizer.special_id(part) for part in parts if part in tokenizer.special_texts
    ]
    assert tokenizer.decode(ids, skip_special=False) == "".join(parts)


def test_plain_pieces_merge_as_one_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode_prompt((Piece("hel"), Piece("lo wor"), Piece("ld"))) == tokenizer.encode("hello world")


def test_a_lone_surrogate_becomes_the_replacement_character(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud83db")) == "a\ufffdb"
    assert tokenizer.decode(tokenizer.encode("\ud83d\ude00")) == "😀"


@PROPERTY
@given(text=texts)
def test_fewest_tokens_is_a_lower_bound(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.fewest_tokens((Piece(text),)) <= len(tokenizer.encode(text))


def test_ids_outside_the_vocabulary_have_no_bytes(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_bytes(tokenizer.vocab_size) == tokenizer.token_bytes(-1) == b""
    assert tokenizer.token_text(tokenizer.encode("😀")[0]) == "\ufffd"


def test_threads_share_it(tokenizer: Tokenizer) -> None:
    def work(number: int) -> bool:
        text = f"hello {number} {EOS}" * 20
        return tokenizer.decode(tokenizer.encode(text)) == text and tokenizer.special_id(EOS) in tokenizer.encode(
            text, special_tokens=True
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))


def test_words_that_nobody_says_twice_leave_nothing_behind(tmp_path: Path) -> None:
    """tokenizers would keep 10,000 of them for each thread, as long as that lives: here, 20 MB in each."""
    small_tokenizer(tmp_path)
    code = """
        import os, random, sys
        from concurrent.futures import ThreadPoolExecutor
        from pathlib import Path
        from threading import Barrier

        from app.chat.tokenizer import Tokenizer

        def held():
            return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        def work(seed):
            together.wait()
            choose = random.Random(seed)
            for _ in range(40):
                tokenizer.encode(" ".join("".join(choose.choices("abcdefghij", k=200)) for _ in range(100)))
            together.wait()
            return held()

        tokenizer = Tokenizer.from_folder(Path(sys.argv[1]))
        together = Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            before = max(pool.map(work, [0] * 4))
            print(max(pool.map(work, range(1, 5))) - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    grown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert int(grown) < 16 << 20


def test_tokenizer_json_and_vocabulary_files_agree(tmp_path: Path) -> None:
    from_parts = small_tokenizer(tmp_path)
    backend = Backend.from_str(from_parts._backend.to_str())
    backend.enable_truncation(4)
    backend.enable_padding(length=50)
    (tmp_path / "vocab.json").unlink()
    backend.save(str(tmp_path / "tokenizer.json"))
    from_whole = Tokenizer.from_folder(tmp_path)
    text = "hello world, <|user|> thank you" * 3
    for special in (False, True):
        assert from_whole.encode(text, special_tokens=special) == from_parts.encode(text, special_tokens=special)
    assert from_whole.special_ids == from_parts.special_ids


def test_role_tokens_are_special_though_the_files_do_not_say_so(tokenizer: Tokenizer) -> None:
    assert tokenizer.special_texts == {EOS, *ROLES}


def test_an_added_word_is_vocabulary_for_everybody(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    size = len(json.loads((tmp_path / "vocab.json").read_text()))
    write_json(tmp_path, "added_tokens.json", {"covid19": size})
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert size in tokenizer.encode("the covid19 case")
    assert size not in tokenizer.special_ids


def test_white_space_beside_a_special_token_goes_where_its_flags_say_so(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    size = len(json.loads((tmp_path / "vocab.json").read_text()))
    entry = {"content": "<|sep|>", "special": True, "lstrip": True, "rstrip": True}
    write_json(tmp_path, "tokenizer_config.json", {"added_tokens_decoder": {str(size): entry}})
    tokenizer = Tokenizer.from_folder(tmp_path)
    reference = Backend.from_str(tokenizer._backend.to_str())
    text = "hello  <|sep|> \n world <|sep|>"
    assert reference.get_added_tokens_decoder()[size] == AddedToken(**entry, normalized=False)
    assert tokenizer.encode(text, special_tokens=True) == reference.encode(text).ids


def test_end_of_text_ids_come_from_all_configurations(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    write_json(tmp_path, "config.json", {"eos_token_id": 5})
    write_json(tmp_path, "generation_config.json", {"eos_token_id": [0, 6]})
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert (tokenizer.eos_token_id, tokenizer.stop_token_ids) == (0, {0, 5, 6})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"chat_template": "one"}, "one"),
        ({"chat_template": [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]}, "d"),
        ({"chat_template": None}, None),
        ({}, None),
    ],
)
def test_chat_template_in_the_configuration(tmp_path: Path, config: object, expected: str | None) -> None:
    write_vocabulary(tmp_path)
    write_json(tmp_path, "tokenizer_config.json", config)
    assert Tokenizer.from_folder(tmp_path).chat_template == expected
    (tmp_path / "chat_template.jinja").write_text("from the file", encoding="utf-8")
    assert Tokenizer.from_folder(tmp_path).chat_template == "from the file"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "{", "can't be read"),
        ("vocab.json", "[]", "can't be read"),
        ("tokenizer_config.json", "{", "JSON"),
        ("tokenizer_config.json", "[]", "JSON object"),
        ("tokenizer_config.json", '{"eos_token": "</s>"}', "no such token"),
        ("tokenizer_config.json", '{"chat_template": 3}', "must be text"),
        ("tokenizer_config.json", '{"chat_template": [{"name": "a"}]}', "broken"),
        ("added_tokens.json", '{"<|x|>": "y"}', "broken"),
        ("added_tokens.json", '{"<|x|>": 9999}', "not of the same model"),
        ("config.json", "\udcff", "JSON"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    write_vocabulary(tmp_path)
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.from_folder(tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.json, or vocab\.json with merges\.txt"):
        Tokenizer.from_folder(tmp_path)
    with pytest.raises(TokenizerError, match="not a folder"):
        Tokenizer.from_folder(tmp_path / "nowhere")


def test_other_kinds_of_tokenizer_are_refused(tmp_path: Path) -> None:
    from tokenizers.models import BPE, WordLevel

    Backend(WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="WordLevel"):
        Tokenizer.from_folder(tmp_path)
    Backend(BPE({"▁a": 0}, [])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="byte-level alphabet"):
        Tokenizer.from_folder(tmp_path)

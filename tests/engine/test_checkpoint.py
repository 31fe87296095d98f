"""What a checkpoint may look like, and the sentence with which everything else is refused."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config as ReferenceConfig
from transformers import GPT2DoubleHeadsModel, GPT2LMHeadModel

from app.engine.checkpoint import GPT2Config, load_weights, parameter_count
from app.engine.model_source import ModelRefusedError, resolve
from tests.engine.support import reference, save_model

Weights = dict[str, torch.Tensor]


@pytest.fixture
def folder(small_model: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(small_model, tmp_path / "model"))


def load(folder: Path) -> Weights:
    return load_weights(folder, GPT2Config.from_folder(folder))


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, edit: Callable[[Weights], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def as_pickle(folder: Path, content: object = None, **options: bool) -> Path:
    path = folder / "pytorch_model.bin"
    torch.save(load_file(folder / "model.safetensors") if content is None else content, path, **options)
    (folder / "model.safetensors").unlink()
    return path


def assert_equal_to_transformers(folder: Path, weights: Weights) -> None:
    expected = reference(folder).state_dict()
    if "lm_head.weight" not in weights:
        assert torch.equal(expected.pop("lm_head.weight"), weights["wte.weight"])
    assert {name.removeprefix("transformer."): tensor for name, tensor in expected.items()}.keys() == weights.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor.float(), weights[name.removeprefix("transformer.")]), name


def test_weights_are_those_that_transformers_loads(folder: Path) -> None:
    assert_equal_to_transformers(folder, load(folder))


def test_an_untied_head_is_its_own(tmp_path: Path) -> None:
    folder = save_model(tmp_path, tie_word_embeddings=False)
    weights = load(folder)
    assert "lm_head.weight" in weights
    assert_equal_to_transformers(folder, weights)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_of_weights_alone_is_loaded(folder: Path, new_format: bool) -> None:
    as_pickle(folder, _use_new_zipfile_serialization=new_format)
    assert_equal_to_transformers(folder, load(folder))
    assert resolve(str(folder)).folder == folder


def test_safetensors_go_before_a_pickle(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"not looked at")
    assert_equal_to_transformers(folder, load(folder))


def test_shards_are_read_by_their_index(folder: Path) -> None:
    model = reference(folder)
    shutil.rmtree(folder)
    model.save_pretrained(folder, max_shard_size="100KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    assert_equal_to_transformers(folder, load(folder))
    assert resolve(str(folder)).folder == folder
    next(iter(sorted(folder.glob("model-*.safetensors")))).unlink()
    for read in (load, lambda folder: resolve(str(folder))):
        with pytest.raises(ModelRefusedError, match=r"model-00001.* is missing"):
            read(folder)


def test_causal_masks_of_older_checkpoints_are_left_out(folder: Path) -> None:
    def add(weights: Weights) -> None:
        for i in range(2):
            weights[f"transformer.h.{i}.attn.bias"] = torch.ones(1, 1, 128, 128).tril()
            weights[f"transformer.h.{i}.attn.masked_bias"] = torch.tensor(-1e4)

    edit_weights(folder, add)
    assert len(load(folder)) == len(GPT2Config.from_folder(folder).shapes())


def test_names_without_prefix_are_read_as_well(folder: Path) -> None:
    """As in the hub's own gpt2."""
    expected = load(folder)

    def strip(weights: Weights) -> None:
        for name in list(weights):
            weights[name.removeprefix("transformer.")] = weights.pop(name)

    edit_weights(folder, strip)
    weights = load(folder)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)


def test_a_stored_copy_of_a_tied_head_is_fine_and_another_head_is_refused(folder: Path) -> None:
    edit_weights(folder, lambda w: w.update({"lm_head.weight": w["transformer.wte.weight"].clone()}))
    assert_equal_to_transformers(folder, load(folder))
    edit_weights(folder, lambda w: w["lm_head.weight"].add_(1))
    with pytest.raises(ModelRefusedError, match="tie_word_embeddings"):
        load(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_types_become_float32(folder: Path, dtype: torch.dtype) -> None:
    edit_weights(folder, lambda w: w.update({name: tensor.to(dtype) for name, tensor in w.items()}))
    assert {tensor.dtype for tensor in load(folder).values()} == {torch.float32}


SPOILT: dict[str, tuple[Callable[[Weights], object], str]] = {
    "missing": (lambda w: w.pop("transformer.h.1.mlp.c_fc.bias"), r"lack h\.1\.mlp\.c_fc\.bias"),
    "many missing": (lambda w: [w.pop(n) for n in list(w) if ".h.1." in n], r"and \d+ more"),
    "unknown": (lambda w: w.update(extra=torch.ones(2)), "extra, which GPT-2 does not have"),
    "one layer too many": (lambda w: w.update({"transformer.h.2.ln_1.bias": torch.ones(64)}), r"h\.2\.ln_1\.bias"),
    "misshaped": (
        lambda w: w.update({"transformer.h.0.attn.c_attn.weight": torch.ones(192, 64)}),
        r"c_attn.weight is \[192, 64\] where config.json asks for \[64, 192\]",
    ),
    "whole numbers": (
        lambda w: w.update({"transformer.ln_f.bias": torch.ones(64, dtype=torch.int64)}),
        "torch.int64, not floating-point",
    ),
    "not a number": (lambda w: w["transformer.wpe.weight"][3].fill_(torch.nan), "not finite"),
    "infinite": (lambda w: w["transformer.h.0.ln_2.weight"][3].fill_(torch.inf), "not finite"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_tensors_are_refused_by_name(folder: Path, case: str) -> None:
    spoil, message = SPOILT[case]
    edit_weights(folder, spoil)
    with pytest.raises(ModelRefusedError, match=message):
        load(folder)


CONFIGS: dict[str, tuple[dict[str, object], str]] = {
    "another architecture": ({"model_type": "llama"}, "model_type is 'llama', but only 'gpt2'"),
    "no architecture": ({"model_type": None}, "model_type is None"),
    "heads that do not divide": ({"n_head": 5}, "n_embd 64 cannot be cut into n_head 5"),
    "unknown activation": ({"activation_function": "mish"}, "'mish' is not supported"),
    "an encoder": ({"add_cross_attention": True}, "add_cross_attention"),
    "no layers": ({"n_layer": 0}, "n_layer is 0"),
    "a number as text": ({"vocab_size": "211"}, "vocab_size is '211'"),
    "a switch as number": ({"n_embd": True}, "n_embd is True"),
    "another vocabulary": ({"vocab_size": 300}, "where config.json asks for"),
    "more positions": ({"n_positions": 256}, "where config.json asks for"),
    "more layers": ({"n_layer": 3}, "the weights lack"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_configs_that_cannot_be_run_exactly_are_refused(folder: Path, case: str) -> None:
    changes, message = CONFIGS[case]
    edit_config(folder, **changes)
    with pytest.raises(ModelRefusedError, match=message):
        load(folder)


def test_defaults_of_the_config_are_those_of_transformers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "n_inner": null}')
    config, expected = GPT2Config.from_folder(tmp_path), ReferenceConfig()
    for name in GPT2Config.__dataclass_fields__:
        if name != "n_inner":
            assert getattr(config, name) == getattr(expected, name), name
    assert config.n_inner == 4 * expected.n_embd
    assert parameter_count(config) == 124_439_808


def test_other_heads_than_the_language_model_are_refused(tmp_path: Path) -> None:
    config = ReferenceConfig(vocab_size=50, n_positions=32, n_embd=64, n_layer=1, n_head=2)
    GPT2DoubleHeadsModel(config).save_pretrained(tmp_path)
    with pytest.raises(ModelRefusedError, match="multiple_choice_head"):
        load(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 100, 5000, -1])
def test_truncated_safetensors_are_refused_before_and_at_loading(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelRefusedError, match=r"model\.safetensors"):
        resolve(str(folder))
    with pytest.raises(ModelRefusedError, match=r"model\.safetensors"):
        load(folder)


@pytest.mark.parametrize(
    "header",
    [b"{}", b"[]", b"garbage", b"\xff\xfe", b'{"a": {"data_offsets": []}}', b'{"a": {"data_offsets": ["x", "y"]}}'],
)
def test_corrupt_safetensors_headers_are_refused(folder: Path, header: bytes) -> None:
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ModelRefusedError, match=r"model\.safetensors"):
        resolve(str(folder))
    with pytest.raises(ModelRefusedError):
        load(folder)


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def test_a_pickle_with_code_is_refused_and_not_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    as_pickle(folder, {"wte.weight": Evil()})
    with pytest.raises(ModelRefusedError, match="could run code"):
        load(folder)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [[1, 2], {"wte.weight": 3}, {"model": {}}])
def test_a_pickle_of_something_else_is_refused(folder: Path, content: object) -> None:
    as_pickle(folder, content)
    with pytest.raises(ModelRefusedError, match="not a state dict"):
        load(folder)


@pytest.mark.parametrize("keep", [0, 10, 5000, -100])
def test_a_truncated_pickle_is_refused(folder: Path, keep: int) -> None:
    path = as_pickle(folder)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelRefusedError, match=r"pytorch_model\.bin"):
        load(folder)


def test_an_index_that_is_none_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    for content in ("", "[]", "{}", '{"weight_map": 5}', '{"weight_map": {"a": 5}}'):
        index.write_text(content)
        with pytest.raises(ModelRefusedError, match="not an index"):
            load(folder)


def test_an_index_cannot_point_out_of_its_folder(folder: Path) -> None:
    shutil.move(folder / "model.safetensors", folder.parent / "outside.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "../outside.safetensors"}}')
    with pytest.raises(ModelRefusedError, match="missing"):
        load(folder)


def test_a_model_of_transformers_with_its_defaults_loads(tmp_path: Path) -> None:
    config = ReferenceConfig(n_layer=1, vocab_size=100, n_positions=16, n_embd=64, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    assert_equal_to_transformers(tmp_path, load(tmp_path))

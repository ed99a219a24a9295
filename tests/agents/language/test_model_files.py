"""Files of language models: what is refused, what is converted, and a sharded checkpoint of Llama's layout."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import pickle
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from valuegym.agents.language import answers, causal_lm, model_files
from valuegym.agents.language.model_files import convert, digest, find, looks_like_model
from valuegym.envs.language.item_bank import balanced, generate, split
from valuegym.envs.language.statements import shares, statements
from valuegym.envs.language.value_probes import answer, change, value_vector
from valuegym.leaderboards.run import run
from valuegym.leaderboards.verification.verify import verify

if importlib.util.find_spec("transformers") is None:
    pytest.skip("needs transformers: valuegym[text]", allow_module_level=True)

BANK = balanced(generate(6))
TEXTS = [
    f"{context} {option}" for context, options in zip(BANK.contexts, BANK.options, strict=True) for option in options
]
LLAMA_3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def tokenizer() -> Any:
    import tokenizers
    import transformers

    words = {"<s>": 0, "<unk>": 1} | {word: k for k, word in enumerate(causal_lm.Words(TEXTS).words, 2)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", unk_token="<unk>")


def checkpoint(folder: Path, tied: bool = False, seed: int = 0) -> Path:
    """Write random weights as the historical Llamas are published: bfloat16, grouped queries, several shards."""
    import transformers

    pieces = tokenizer()
    config = transformers.LlamaConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        rope_scaling=LLAMA_3 | {"original_max_position_embeddings": 64},
        rope_theta=500000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    pieces.save_pretrained(folder)
    model.save_pretrained(folder, max_shard_size="20KB")
    return folder


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def sharded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("llama"), request.param)


def test_a_sharded_llama_loads_and_answers(sharded: Path) -> None:
    index = json.loads((sharded / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    assert ("lm_head.weight" in index["weight_map"]) != json.loads((sharded / "config.json").read_text())[
        "tie_word_embeddings"
    ]
    model, half = (causal_lm.load(find(sharded).folder, dtype=dtype) for dtype in ("float32", "bfloat16"))
    config = model.model.config
    assert config.num_key_value_heads == 2 and config.rope_parameters["rope_type"] == "llama3"
    assert next(half.model.parameters()).dtype == torch.bfloat16
    pairs = [(BANK.contexts[i], f" {option}") for i in range(4) for option in BANK.options[i]]
    one, many, rough = (
        causal_lm.score_many(model, pairs, 1),
        causal_lm.score_many(model, pairs),
        causal_lm.score_many(half, pairs),
    )
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(one, many, strict=True))
    assert all(np.allclose(a, b, atol=0.1) for a, b in zip(one, rough, strict=True))
    vector = value_vector(BANK, answer(BANK, model))
    point, low, high = vector.interval(draws=200)
    assert ((low <= point) & (point <= high)).all() and np.abs(point).max() < 0.3  # random weights have no values


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # of peft
def test_a_sharded_llama_is_fine_tuned(sharded: Path) -> None:
    import peft

    learned, held_out = split(BANK)
    base = causal_lm.load(sharded)
    losses = causal_lm.train(base, statements(learned, np.zeros(19), 1500), lr=0.02)  # all weights, people of no values
    losses += causal_lm.train(base, statements(learned, np.zeros(19), 300), lr=0.002)
    assert losses[1] < losses[0] - 1
    start = value_vector(held_out, answer(held_out, base))
    weights, moved = np.where(np.arange(19) % 2, 1.0, -1.0), []
    for sign in (1, -1):
        model = replace(base, model=copy.deepcopy(base.model))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            lora = peft.LoraConfig(r=8, target_modules="all-linear", lora_alpha=32)
            adapted = replace(model, model=peft.get_peft_model(model.model, lora))
        causal_lm.train(adapted, statements(learned, sign * 3 * weights, 600, seed=1), lr=0.02)
        moved.append(change(value_vector(held_out, answer(held_out, adapted)), start))
    a, b = (shift.point[:15] for shift in moved)
    assert np.corrcoef(a - b, weights[:15])[0, 1] > 0.5


def test_a_sharded_llama_plays_and_its_record_verifies(sharded: Path, tmp_path: Path) -> None:
    settings = json.dumps({"model": str(sharded)})
    path = run("language", "language/token-process", 0, tmp_path, settings=settings)
    assert not verify(path).reason


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # of peft
def test_a_sharded_llama_stands_for_people_and_is_trained_below_a_trunk(sharded: Path) -> None:
    base = causal_lm.load(sharded)
    texts = answers.through_trunk(base, answers.encode(base, BANK), 1)
    upper = answers.upper_layers(answers.lora(base, top=1), 1)
    target = torch.tensor(shares(BANK, np.where(np.arange(19) % 2, 1.5, -1.5)), dtype=torch.float32)

    def loss(items: torch.Tensor) -> torch.Tensor:
        return answers.share_loss(answers.option_scores(upper, texts, items), target[items])

    every = torch.arange(len(BANK))
    before = loss(every).item()
    answers.fit([p for p in upper.model.parameters() if p.requires_grad], loss, every, 20, 0.03, 32, 0)
    assert loss(every).item() < before - 0.01


def test_shards_outside_of_the_folder_and_missing_ones_are_refused(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model")
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    first = sorted(set(content["weight_map"].values()))[0]
    (folder / first).rename(tmp_path / first)
    with pytest.raises(FileNotFoundError, match=f"{first} is missing"):
        find(folder)
    for name in (f"../{first}", str(tmp_path / first), "model.bin"):
        content["weight_map"] = dict.fromkeys(content["weight_map"], name)
        index.write_text(json.dumps(content))
        with pytest.raises(ValueError, match="expected safetensors in the same folder"):
            find(folder)
    for text, message in (("{}", "has no weight_map"), ("[]", "no JSON object"), ("{", "is not JSON")):
        index.write_text(text)
        with pytest.raises(ValueError, match=message):
            find(folder)


def test_a_model_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    from safetensors import torch as safetensors

    folder = checkpoint(tmp_path / "model", tied=True)
    content = json.loads((folder / "model.safetensors.index.json").read_text())
    shard = folder / content["weight_map"]["model.layers.1.mlp.up_proj.weight"]
    kept = {name: part for name, part in safetensors.load_file(shard).items() if "up_proj" not in name}
    safetensors.save_file(kept, shard, {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks \d weights of a LlamaForCausalLM .*up_proj"):
        causal_lm.load(folder)


class Trap:
    """An object whose pickle writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl"])
def test_pickles_are_refused_unread(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (folder / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    for source in (folder, folder / name):
        with pytest.raises(ValueError, match="a format of pickles, which can run code"):
            find(source)
        assert looks_like_model(source)
    with pytest.raises(OSError, match="safetensors"):
        causal_lm.load(folder)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_models_that_bring_code_are_refused(name: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model")
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoConfig": "trap.Config"}}))
    (folder / "trap.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'sprung')!r})\n")
    with pytest.raises(ValueError, match="names code of its own"):
        find(folder)
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="neither a folder nor a file"):
        find(tmp_path / "missing")
    with pytest.raises(ValueError, match="holds no model"):
        find(tmp_path)
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match="is no model"):
        find(tmp_path / "a.txt")
    assert not looks_like_model(tmp_path) and not looks_like_model(tmp_path / "a.txt")
    (tmp_path / "adapter_model.safetensors").touch()
    with pytest.raises(ValueError, match=r"without config\.json"):
        find(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="an adapter without its model"):
        find(tmp_path)
    for name in ("b.gguf", "c.gguf"):
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / name).touch()
    with pytest.raises(ValueError, match=r"2 GGUF files, b\.gguf, c\.gguf; name one"):
        find(tmp_path / "other")
    with pytest.raises(ValueError, match="no whole GGUF file"):
        find(tmp_path / "other" / "b.gguf")


def test_digests_know_weights_and_words_but_no_descriptions(tmp_path: Path) -> None:
    a, b, c = (checkpoint(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    found = [digest(find(folder)) for folder in (a, b, c)]
    assert found[0] == found[1] != found[2]
    (b / "README.md").write_text("A model.")
    assert digest(find(b)) == found[0]
    (b / "tokenizer.json").write_text((b / "tokenizer.json").read_text() + " ")
    assert digest(find(b)) != found[0]


# --- GGUF ---


def gguf_file(path: Path, seed: int = 0) -> Path:
    """Write a tiny Llama with a vocabulary of bytes as GGUF."""
    import gguf

    rng, width, vocabulary = np.random.default_rng(seed), 32, 4 + 256
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(["<unk>", "<s>", "</s>", *_byte_letters(), "re"])
    writer.add_token_types([3, 3, 3, *[1] * 257])
    writer.add_token_merges(["r e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    shapes = {
        "token_embd": (vocabulary, width),
        "blk.0.attn_q": (width, width),
        "blk.0.attn_k": (16, width),
        "blk.0.attn_v": (16, width),
        "blk.0.attn_output": (width, width),
        "blk.0.ffn_gate": (64, width),
        "blk.0.ffn_up": (64, width),
        "blk.0.ffn_down": (width, 64),
    }
    for name, shape in shapes.items():
        weights = (0.3 * rng.standard_normal(shape)).astype(np.float32)
        quantised = gguf.quants.quantize(weights, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(f"{name}.weight", quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _byte_letters() -> list[str]:
    """Return the letters by which byte-level vocabularies write the 256 bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in kept else next(others)) for byte in range(256)]


def test_a_gguf_file_is_converted(tmp_path: Path) -> None:
    source = gguf_file(tmp_path / "tiny.gguf")
    before = torch.random.get_rng_state()
    done = convert(source, tmp_path / "out" / "tiny")
    assert torch.equal(before, torch.random.get_rng_state())
    assert done.difference < 1e-5 and done.parameters > 10000
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tiny"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in done.folder.iterdir())
    assert stat.S_IMODE(done.folder.stat().st_mode) == 0o755
    loaded, original = causal_lm.load(done.folder), causal_lm.load(tmp_path, "tiny.gguf")
    a, b = (causal_lm.score_many(model, [("I am here.", " And you?")]) for model in (loaded, original))
    assert np.allclose(a, b, atol=1e-6) and len(a[0]) == 9  # in bytes
    with pytest.raises(ValueError, match="is there already"):
        convert(source, done.folder)
    with pytest.raises(ValueError, match="folder of safetensors already"):
        convert(done.folder, tmp_path / "again")
    with pytest.raises(ValueError, match="dtype is 'bfloat16'; expected float32 for a GGUF file"):
        causal_lm.load(tmp_path, "tiny.gguf", dtype="bfloat16")


def test_a_conversion_that_says_something_else_is_not_written(tmp_path: Path) -> None:
    source = gguf_file(tmp_path / "tiny.gguf")
    with pytest.raises(ValueError, match=r"differ by .* nats a token"):
        convert(source, tmp_path / "out", close=-1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.gguf"]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_gguf_files_are_refused(share: float, tmp_path: Path) -> None:
    whole = gguf_file(tmp_path / "whole.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="no whole GGUF file"):
        convert(cut, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_altered_gguf_files_give_one_clear_error(tmp_path: Path) -> None:
    whole = bytearray(gguf_file(tmp_path / "whole.gguf").read_bytes())
    changed = tmp_path / "changed.gguf"
    changed.write_bytes(whole.replace(b"llama", b"mamba"))
    with pytest.raises(
        ValueError, match=r"changed\.gguf is not read \(ValueError: .* lacks 9 weights of a MambaForCausalLM"
    ):
        convert(changed, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_checks_come_from_the_module() -> None:
    assert all(text.startswith(" ") for _, text in model_files.CHECKED)

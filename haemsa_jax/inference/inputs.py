"""From what a user has of a clip, words and arrays, to the arrays a network reads. Checked here."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from haemsa_jax.config import NetworkConfig
from haemsa_jax.data.batches import DeviceSplit
from haemsa_jax.data.recordings import extract
from haemsa_jax.errors import InputError

SPEAKER = "speaker"
Utterance = Mapping[str, Any]


class Reader:
    """Reads utterances for one data set of a network.

    Args:
      network: the network.
      dataset: whose stems, and so whose widths, are meant.
      known: of the data it was trained on (`known_of`): per modality the `tokens` of an utterance;
        where it was one, it must be one; and the `provenance` of features.
      pretrained: the text encoder, where words are read.
      modalities: those of the data set that a task reads; others are ignored.
    """

    def __init__(
        self, network: NetworkConfig, dataset: str, known: Mapping[str, Mapping], pretrained,
        modalities: Sequence[str],
    ):  # fmt: skip
        self.network, self.dataset, self.pretrained = network, dataset, pretrained
        self.modalities = tuple(modalities)
        self.widths, self.tokens = network.widths[dataset], known["tokens"]
        self.provenance = known["provenance"]
        text = network.text
        self.speaks = text is not None and dataset in text.datasets

    def read(self, utterance: Utterance) -> dict[str, np.ndarray | str]:
        """Per modality that is there float32[T, d], or words that `encode` is to read.

        Args:
          utterance: by modality float[T, d] or float[d] of one token; words for `text` where the
            network has an encoder; the path of a recording for `audio` where the network's were
            made by openSMILE; None for what is absent. `speaker` may name who speaks.

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
        there = {m: value for m, value in given.items() if value is not None}
        if not there:
            raise InputError(
                f"there is nothing to predict from; give at least one of {', '.join(given)}"
            )
        speaker = utterance.get(SPEAKER) or ""
        found = {}
        for modality, value in there.items():
            if modality == "text" and isinstance(value, str):
                found[modality] = self._words(value, speaker)
            else:
                found[modality] = self._features(modality, value)
        return found

    def _words(self, words: str, speaker: str) -> str:
        if not self.speaks:
            raise InputError(
                f"text is {words[:40]!r}, but the network reads features of width "
                f"{self.widths['text']} there; it was not trained with --text"
            )
        if not words.strip():
            raise InputError("text is empty; leave it out where nobody speaks")
        return f"{speaker}: {words}" if speaker else words

    def _features(self, modality: str, value: Any) -> np.ndarray:
        width = self.widths[modality]
        if modality == "text" and self.network.encodes(self.dataset):
            raise InputError("text must be words: the network has its own encoder")
        if isinstance(value, str | os.PathLike):
            if modality != "audio":
                raise InputError(
                    f"{modality} is {str(value)[:40]!r}; give an array [tokens, {width}]"
                )
            value = extract(value, self.provenance.get(modality, "not known"))
        try:
            features = np.asarray(value, np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{modality} is no array of numbers [tokens, {width}]: {error}"
            ) from error
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

    def encode(self, read: Sequence[dict[str, np.ndarray | str]]) -> list[dict[str, np.ndarray]]:
        """The same utterances, with vectors or token numbers float32[T, d] in place of words."""
        rows = [row for row, one in enumerate(read) if isinstance(one.get("text"), str)]
        if not rows:
            return list(read)
        text, texts = self.network.text, [read[row]["text"] for row in rows]
        if text.within:
            tokens = self.pretrained.tokenise(texts, text.max_tokens)
            values, mask = tokens.ids[..., None], tokens.mask
        else:
            from haemsa_jax.text import embed

            values, mask = embed(
                self.pretrained, texts, text.max_tokens, pooled=text.mode == "pooled"
            )
        encoded = [dict(one) for one in read]
        for row, vectors, there in zip(rows, values, mask, strict=True):
            encoded[row]["text"] = vectors[there].astype(np.float32)
        return encoded

    def stack(self, read: Sequence[Mapping[str, np.ndarray]], lengths, groups) -> DeviceSplit:
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
            for m, values in utterance.items():
                features[m][row, : len(values)] = values
                masks[m][row, : len(values)] = True
        return DeviceSplit(features, masks, np.asarray(groups, np.int32), {}, {}, {})

    def lengths(self, read: Sequence[Mapping[str, np.ndarray]]) -> dict[str, int]:
        """Per modality the tokens to pad to: a power of two, so that few programs serve.

        With context, utterances lie side by side, and how far apart their ends are is seen by
        convolutions: there it is as many as in training, as long as they suffice.
        """
        context, found = any(self.network.context_of(self.dataset)), {}
        for m in self.widths:
            longest = max((len(one[m]) for one in read if m in one), default=0)
            trained = self.tokens.get(m, 0)
            if context and longest <= trained:
                found[m] = trained
            else:
                beyond = self.network.kernel // 2 if context else 0
                found[m] = power_of_two(longest + beyond)
        return found


def power_of_two(number: int) -> int:
    """The smallest one that is not less."""
    return 1 << (max(1, number) - 1).bit_length()

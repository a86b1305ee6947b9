"""The training: everything that it needs beside network and data."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from haemsa_jax.config.checks import (
    WHOLE,
    require,
    require_each,
    require_number,
    require_numbers,
)
from haemsa_jax.config.frozen import frozen
from haemsa_jax.config.network import NetworkConfig

MOST_ALIKE = 65_536  # seeds, samples of a batch
RATE_PROTOCOLS = ("utterance", "frame")  # protocols by which modalities are lost at a rate
TASK_WEIGHTINGS = ("fixed", "uncertainty")
# What is off at 0, and a gene of searches where it is on: losses for rare classes, utterances and
# frames hidden one by one, losses on what modalities share, teaching of partial views, balance
# between modalities.
IMBALANCE = ("class_balance", "focal", "logit_adjustment")
SHARING_LOSSES = (
    "moments",
    "contrast",
    "correlation",
    "orthogonality",
    "reconstruction",
    "imputation",
)
BALANCE = ("gradient_balance", "prediction_balance")
HIDING = ("utterance_dropout", "frame_dropout")
OPTIONS = (*IMBALANCE, *HIDING, *SHARING_LOSSES, "distillation", *BALANCE)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that training needs beside network and data.

    Trainings and searches have the same defaults, so that a genome that is trained anew, and the
    default network beside it, are trained as the search trained them. What is right for the size of
    one data set is wrong for another: `batch_size`, `epochs` and `evaluate_every` are 0 by default,
    and `training.engine.budget.fitted` puts numbers in their places, which a run then keeps.

    Attributes:
      seed: root of every random stream.
      seeds: networks trained side by side in one program, with seeds `seed`, `seed` + 1, ...
      folds: networks of each seed, each trained without one share (fold) of the groups (people,
        videos, dialogues) of the splits train and validation, and validated on it; they predict by
        their mean. 0 for a single network, which the split validation judges.
      epochs: passes over the largest task's training split; 0 for 12, or for more where data are so
        few that 12 are less than 900 steps.
      batch_size: samples of a task in one step, over all devices; the mean over tasks where
        `sampling_temperature` makes them differ. 0 for a sixteenth of the largest task's samples,
        as a power of two from 8 to 32.
      sampling_temperature: tasks are sampled in proportion to their size ** (1 / temperature), at 1
        in proportion to their size; 0 for all tasks equally.
      learning_rate: peak of AdamW's schedule (linear warm-up, cosine to zero).
      warmup: share of the steps that warm up.
      weight_decay: decoupled (AdamW), on matrices only; the learning rate multiplies it, so that
        1.0 takes a thousandth of each weight a step at a rate of 0.001. Strong, as data are few.
      clip_norm: largest global norm of gradients; larger ones are scaled down to it.
      dropout: dropout rate in experts, links (cross-modal attention), fusion and heads.
      input_dropout: dropout rate on standardised features.
      modality_dropout: probability that a present modality is hidden from a training sample, one
        always stays.
      utterance_dropout: mean rate at which a modality of an utterance is hidden, in the target and
        in each utterance of its context alike; each sample draws its own rate, between 0 and twice
        the mean. At most 0.5.
      frame_dropout: mean rate at which single tokens are hidden; where a modality has one token an
        utterance, groups of that token's features are hidden instead. Each sample draws its own
        rate, between 0 and twice the mean. At most 0.5.
      train_missing: what the training split loses for good, for a study of training on incomplete
        data: `utterance:RATE` or `frame:RATE`, as the protocols of evaluation lose it, or
        `utterance:RATE:SEED` for another draw than that of seed 0. By default nothing.
      ema: decay of the exponential moving average (EMA) of the weights over steps, which is what is
        validated and kept; 0 for the weights of the last step.
      auxiliary: weight of the losses of additional heads that each read one modality alone.
      encoder_rate: learning rate of an encoder within the network, as a share of the others'.
      layer_decay: each layer of the encoder learns at the rate of the one above it times this.
      encoder_dropout: dropout rate within the encoder.
      regression_loss: `l1`, `l2` or `huber`, on standardised labels.
      class_balance: classes are weighted by frequency ** -class_balance: 0 weighs all alike, 1 by
        inverse frequency.
      focal: gamma of the focal loss, cross-entropy times (1 - p) ** gamma; 0 is cross-entropy.
      logit_adjustment: the log-odds of class frequencies, times this, are added to the logits in
        training, so that rare classes are predicted more often; 0 for none.
      moments: weight of the central moment discrepancy (CMD) between modalities' shared
        representations.
      contrast: weight of the contrastive loss (InfoNCE) between the shared representations of a
        sample's modalities.
      correlation: weight of 1 - the squared maximal correlation between each modality's shared
        representation and those of the others.
      orthogonality: weight of the overlap of shared and specific representations (difference loss).
      reconstruction: weight of the error of a summary reconstructed from its shared and specific
        representation.
      imputation: weight of the error of a shared representation predicted from other modalities'.
      distillation: weight of self-distillation: predictions with modalities hidden learn from those
        with all of them; every sample is then seen both ways in one pass.
      gradient_balance: strength of gradient modulation (OGM): a modality that predicts better than
        the others learns slower.
      prediction_balance: strength of its counterpart OPM: a modality that predicts better than the
        others is hidden more often, at 1 up to twice as often.
      task_weighting: `fixed`, or `uncertainty` (homoscedastic), which learns a factor for each
        task.
      task_weights: task id to weight; tasks not named weigh 1.
      evaluate_every: epochs between validations; 0 for 1, or so many that there are about 30
        validations.
      patience: validations in which no seed improved before training ends; 0 never ends early.
    """

    seed: int = 0
    seeds: int = 1
    folds: int = 0
    epochs: int = 0
    batch_size: int = 0
    sampling_temperature: float = 0.0
    learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 1.0
    clip_norm: float = 1.0
    dropout: float = 0.2
    input_dropout: float = 0.2
    modality_dropout: float = 0.1
    utterance_dropout: float = 0.0
    frame_dropout: float = 0.0
    train_missing: str = ""
    ema: float = 0.97
    auxiliary: float = 0.1
    encoder_rate: float = 0.1
    layer_decay: float = 0.9
    encoder_dropout: float = 0.1
    regression_loss: str = "huber"
    class_balance: float = 0.0
    focal: float = 0.0
    logit_adjustment: float = 0.0
    moments: float = 0.0
    contrast: float = 0.0
    correlation: float = 0.0
    orthogonality: float = 0.0
    reconstruction: float = 0.0
    imputation: float = 0.0
    distillation: float = 0.0
    gradient_balance: float = 0.0
    prediction_balance: float = 0.0
    task_weighting: str = "fixed"
    task_weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    evaluate_every: int = 0
    patience: int = 0

    def __post_init__(self):
        object.__setattr__(self, "task_weights", frozen(self.task_weights))
        require_numbers(self, "training")
        positive = (
            "seeds",
            "learning_rate",
            "clip_norm",
        )
        not_negative = (
            "weight_decay",
            "auxiliary",
            "patience",
            "seed",
            "folds",
            "encoder_rate",
            "layer_decay",
            "sampling_temperature",
            "epochs",
            "batch_size",
            "evaluate_every",
            *OPTIONS,
        )
        shares = (
            "warmup",
            "dropout",
            "input_dropout",
            "modality_dropout",
            "encoder_dropout",
            "ema",
        )
        require_each(self, "training", positive, lambda x: x > 0, "must be positive")
        rule = f"must be at most {MOST_ALIKE:,}"
        require_each(self, "training", ("seeds", "batch_size"), lambda x: x <= MOST_ALIKE, rule)
        require_each(self, "training", not_negative, lambda x: x >= 0, "must not be negative")
        require_each(self, "training", shares, lambda x: 0 <= x < 1, "must lie in [0, 1)")
        require(
            self.seed + self.seeds <= WHOLE,
            f"training: seed={self.seed} with seeds={self.seeds}: the last seed must lie below "
            f"{WHOLE}, since keys are made of 32 bits",
        )
        missing_of(self.train_missing)
        require(
            self.folds != 1,
            "training: folds=1 would leave nothing to train on; give 2 or more, or 0 for none",
        )
        require_each(self, "training", HIDING, lambda x: x <= 0.5, "must not be more than 0.5")
        require(
            self.regression_loss in ("l1", "l2", "huber"),
            f"training: regression_loss={self.regression_loss!r} is unknown; "
            "choose from l1, l2, huber",
        )
        require(
            self.task_weighting in TASK_WEIGHTINGS,
            f"training: task_weighting={self.task_weighting!r} is unknown; "
            f"choose from {', '.join(TASK_WEIGHTINGS)}",
        )
        for task_id, weight in self.task_weights.items():
            require_number(weight, float, f"training: the weight of {task_id!r}")
            require(weight >= 0, f"training: weight {weight} of {task_id!r} must not be negative")

    @property
    def networks(self) -> int:
        """Networks of one seed."""
        return max(1, self.folds)

    @property
    def options(self) -> tuple[str, ...]:
        """Those of `OPTIONS` that are on."""
        return tuple(name for name in OPTIONS if getattr(self, name))

    @property
    def idle(self) -> tuple[str, ...]:
        """Options that are on but work on modalities that are hidden, of which there are none."""
        hidden = {"prediction_balance": self.modality_dropout > 0}
        hidden["distillation"] = self.modality_dropout > 0 or any(h in self.options for h in HIDING)
        return tuple(name for name in self.options if not hidden.get(name, True))

    @property
    def balances(self) -> bool:
        """Whether it matters which modality is ahead."""
        return any(name in BALANCE for name in self.options)


def missing_of(train_missing: str) -> tuple[str, float, int] | None:
    """`PROTOCOL:RATE` or `PROTOCOL:RATE:SEED` -> protocol, rate and seed; None for "".

    Raises:
      InputError: it is neither.
    """
    if not train_missing:
        return None
    protocol, _, numbers = train_missing.partition(":")
    rate, _, seed = numbers.partition(":")
    rule = (
        f"training: train_missing={train_missing!r}: expected "
        f"{' or '.join(f'{name}:RATE' for name in RATE_PROTOCOLS)}, or either with :SEED"
    )
    require(protocol in RATE_PROTOCOLS, rule)
    require(
        re.fullmatch(r"\d*\.?\d+", rate) is not None and float(rate) < 1,
        f"{rule}; a rate lies in [0, 1)",
    )
    require(not seed or (seed.isdecimal() and int(seed) < WHOLE), f"{rule}; a seed is a number")
    return protocol, float(rate), int(seed or 0)


def check_together(network: NetworkConfig, config: TrainConfig) -> None:
    """Raises an `InputError` where a training asks for what the network or its data lacks.

    Raises:
      InputError: it is not.
    """
    for task_id in config.task_weights:
        require(
            task_id in network.tasks,
            f"training: a weight is given for {task_id!r}, which the network does not have; its "
            f"tasks are {', '.join(network.tasks)}",
        )
    require(
        any(config.task_weights.get(task_id, 1.0) for task_id in network.tasks),
        f"training: every task of {', '.join(network.tasks)} weighs 0; at least one must weigh "
        "something",
    )
    for name in config.options:
        if name in SHARING_LOSSES:
            require(
                "shared" in network.representations,
                f"training: {name}={getattr(config, name)} is about shared and specific parts, "
                "which this network does not have; of haemsa use sharing='split' or 'imputed'",
            )
        if name == "imputation":
            require(
                "imputed" in network.representations,
                f"training: imputation={config.imputation} needs a network that imputes shared "
                "parts; of haemsa one of several modalities with sharing='imputed'",
            )
        if name in ("distillation", "prediction_balance"):
            require(
                name not in config.idle,
                f"training: {name}={getattr(config, name)} works on modalities that are hidden, "
                "but modality_dropout is 0; raise it",
            )

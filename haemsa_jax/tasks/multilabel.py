"""Several labels, each of which is on or off."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from haemsa_jax.config.checks import require
from haemsa_jax.tasks import metrics
from haemsa_jax.tasks.kind import Summary, TaskKind
from haemsa_jax.tasks.probabilities import favours_rare, rare_class_loss, sigmoid


class Multilabel(TaskKind):
    """Labels float32[N, C] in {0, 1}; predictions float[N, C], probabilities."""

    name = "multilabel"
    metrics = ("wacc_mean", "f1_mean")

    def check(self, task):
        """It has a label or more."""
        require(
            len(task.classes) >= 1,
            f"task {task.name!r}: a {self.name} needs its class names, got {task.classes}",
        )

    def describe(self, task):
        """The labels."""
        return f"{self.name}: {', '.join(task.classes)}"

    def outputs(self, task):
        """One a label."""
        return len(task.classes)

    def label_shape(self, task):
        """A number a label."""
        return (len(task.classes),)

    def prediction_shape(self, task):
        """A probability a label."""
        return (len(task.classes),)

    def valid_labels(self, task, labels):
        """Each 0 or 1."""
        return np.isin(labels, (0, 1)).all(axis=-1), "0 or 1"

    def head_statistics(self, task, labels):
        """Log-odds of the labels; 1 as scale."""
        # One more of each: a label that is never or always on must not have infinite log-odds.
        share = (labels.sum(axis=0) + 1.0) / (len(labels) + 2.0)
        offset = np.log(share / (1.0 - share)).astype(np.float32)
        return {"offset": offset, "scale": np.ones(len(offset), np.float32)}

    def loss(self, task, config, settings, head, logits, label):
        """Binary cross-entropy in nats, mean over labels; logits adjusted as those of classes."""
        if not favours_rare(config):
            return optax.sigmoid_binary_cross_entropy(logits, label).mean()
        odds, log = jnp.asarray(head["offset"]), jax.nn.log_sigmoid
        logits = logits + settings.logit_adjustment * odds
        log_shares = jnp.stack([log(odds), log(-odds)], axis=-1)
        on = label > 0.5
        log_probability = jnp.where(on, log(logits), log(-logits))
        log_share = jnp.where(on, log_shares[:, 0], log_shares[:, 1])
        return rare_class_loss(settings, log_probability, log_share, log_shares)

    def distillation_loss(self, task, head, logits, teacher):
        """Divergence of the probabilities in nats, mean over labels."""
        teacher = jax.lax.stop_gradient(teacher)
        chance = jax.nn.sigmoid(teacher)
        cross = optax.sigmoid_binary_cross_entropy(logits, chance)
        return (cross - optax.sigmoid_binary_cross_entropy(teacher, chance)).mean()

    def rightness(self, task, head, logits, label):
        """Probability of what is true of a label, mean over labels."""
        return jax.nn.sigmoid(jnp.where(label > 0.5, logits, -logits)).mean()

    def readable(self, task, logits):
        """Probabilities."""
        return sigmoid(logits)

    def constant(self, task, labels):
        """How often each label is on."""
        return np.mean(self.linear_targets(task, labels), axis=0)

    def class_f1(self, task, predictions, truth):
        """The weighted F1 of off and on, by label."""
        values = metrics.label_f1(predictions, truth, np.ones(len(truth), bool))
        return dict(zip(task.classes, values.tolist(), strict=True))

    def class_counts(self, task, truth):
        """Samples with each label on."""
        return truth.sum(axis=0).astype(int)

    def linear_targets(self, task, labels):
        """The labels."""
        return np.asarray(labels, np.float64)

    def intercept_shifts(self, task, mean):
        """Thresholds at 0.5 and at the label's frequency: rare labels hardly ever reach 0.5."""
        return 0.0, 0.5 - mean

    def summary(self, task, mean, spread):
        """The labels that are more likely than not."""
        return Summary(
            tuple(name for name, share in zip(task.classes, mean, strict=True) if share > 0.5),
            dict(zip(task.classes, mean.tolist(), strict=True)),
            dict(zip(task.classes, spread.tolist(), strict=True)),
        )

    def errors(self, task, predictions, truth):
        """One minus the probability of the true value, mean over labels."""
        return np.abs(predictions - truth).mean(axis=-1)

    def label_words(self, task, label):
        """The labels that are on."""
        on = (name for name, p in zip(task.classes, label, strict=True) if p >= 0.5)
        return ", ".join(on) or "none"

    def prediction_words(self, task, prediction):
        """The labels that are likely, with their probabilities."""
        likely = [(name, p) for name, p in zip(task.classes, prediction, strict=True) if p >= 0.5]
        return ", ".join(f"{name} {p:.2f}" for name, p in likely) or "none"

    def moved(self, task, predictions, labels):
        """Mean change of the probabilities."""
        return np.abs(predictions[1:] - predictions[0]).mean(axis=-1).mean(axis=1)

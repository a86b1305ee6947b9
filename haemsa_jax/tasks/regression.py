"""A number within a range."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from haemsa_jax.config.checks import require
from haemsa_jax.tasks.kind import Summary, TaskKind


class Regression(TaskKind):
    """Labels float32[N] in `task.range`; predictions float[N] in label units, not clipped."""

    name = "regression"
    metrics = (
        "mae",
        "corr",
        "acc7",
        "acc5",
        "acc3",
        "acc2_has0",
        "f1_has0",
        "acc2_non0",
        "f1_non0",
    )
    constant_name = "median"

    def check(self, task):
        """It has a range and no classes."""
        require(not task.classes, f"task {task.name!r}: a regression has no classes")
        require(
            task.range is not None and task.range[0] < task.range[1],
            f"task {task.name!r}: range {task.range} must be (lowest, highest) label",
        )

    def describe(self, task):
        """A number and its range."""
        return f"a number in [{task.range[0]:g}, {task.range[1]:g}]"

    def outputs(self, task):
        """One."""
        return 1

    def prediction_shape(self, task):
        """A number."""
        return ()

    def valid_labels(self, task, labels):
        """Within the range."""
        low, high = task.range
        return (labels >= low) & (labels <= high), f"a number in [{low:g}, {high:g}]"

    def valid_batch_labels(self, task, labels):
        """Any number."""
        return np.isfinite(labels), "finite numbers"

    def head_statistics(self, task, labels):
        """Mean and standard deviation of the labels; 1 where they do not vary."""
        labels = labels.astype(np.float64)
        scale = np.ones(1, np.float32)
        spread = labels.std()
        scale[:] = spread if spread > 0 else 1.0
        return {"offset": np.full(1, labels.mean(), np.float32), "scale": scale}

    def loss(self, task, config, settings, head, logits, label):
        """In units of the labels' standard deviation.

        `config.regression_loss` is `l1`, `l2` or `huber` (Huber 1964, threshold 1 standard
        deviation).
        """
        residual = (logits[0] - label) / head["scale"][0]
        if config.regression_loss == "l1":
            return jnp.abs(residual)
        if config.regression_loss == "l2":
            return 0.5 * residual**2
        return optax.huber_loss(residual)

    def distillation_loss(self, task, head, logits, teacher):
        """Half the squared difference in standard deviations of the labels."""
        teacher = jax.lax.stop_gradient(teacher)
        return 0.5 * ((logits[0] - teacher[0]) / head["scale"][0]) ** 2

    def rightness(self, task, head, logits, label):
        """`exp(-|error|)` in standard deviations; our choice, the papers treat classes alone."""
        return jnp.exp(-jnp.abs(logits[0] - label) / head["scale"][0])

    def readable(self, task, logits):
        """Label units."""
        return logits[..., 0]

    def constant(self, task, labels):
        """The median."""
        return np.median(self.linear_targets(task, labels), axis=0)

    def reference(self, task, labels):
        """Of the MAE, in the labels' own precision."""
        if task.primary != "mae":
            return super().reference(task, labels)
        return float(np.abs(labels - np.median(labels)).mean()) or 1.0

    def linear_targets(self, task, labels):
        """The labels."""
        return np.asarray(labels, np.float64)

    def summary(self, task, mean, spread):
        """The number."""
        return Summary(float(mean), {}, float(spread))

    def errors(self, task, predictions, truth):
        """`|truth - prediction|`, label units."""
        return np.abs(predictions - truth)

    def label_words(self, task, label):
        """Four digits."""
        return f"{float(label) + 0.0:.4g}"  # -0.0 + 0.0 is 0.0

    def prediction_words(self, task, prediction):
        """Four digits."""
        return self.label_words(task, prediction)

    def moved(self, task, predictions, labels):
        """Mean change in standard deviations of the labels."""
        away = np.abs(predictions[1:] - predictions[0])
        return away.mean(axis=1) / max(float(np.std(labels)), 1e-9)

"""One of several classes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from haemsa_jax.config.checks import require
from haemsa_jax.tasks import metrics
from haemsa_jax.tasks.kind import Summary, TaskKind
from haemsa_jax.tasks.probabilities import favours_rare, rare_class_loss, softmax


class Classification(TaskKind):
    """Labels int32[N], numbers of classes; predictions float[N, C], probabilities."""

    name = "classification"
    metrics = ("accuracy", "f1_weighted", "f1_macro")
    label_dtype = np.int32

    def check(self, task):
        """It has two classes or more."""
        require(
            len(task.classes) >= 2,
            f"task {task.name!r}: a {self.name} needs its class names, got {task.classes}",
        )

    def describe(self, task):
        """The classes."""
        return f"{self.name}: {', '.join(task.classes)}"

    def outputs(self, task):
        """One a class."""
        return len(task.classes)

    def prediction_shape(self, task):
        """A probability a class."""
        return (len(task.classes),)

    def valid_labels(self, task, labels):
        """Class numbers."""
        count = len(task.classes)
        return np.isin(labels, np.arange(count)), f"a class number from 0 to {count - 1}"

    def valid_batch_labels(self, task, labels):
        """The same, of an integer type."""
        count = len(task.classes)
        right = np.isin(labels, np.arange(count)) & (labels.dtype.kind in "iu")
        return right, f"class numbers (integers) from 0 to {count - 1}"

    def head_statistics(self, task, labels):
        """Logarithms of the classes' shares; 1 as scale."""
        # One more of each class: an unseen class must not have infinite log-odds.
        counts = np.bincount(labels, minlength=len(task.classes)) + 1.0
        offset = np.log(counts / counts.sum()).astype(np.float32)
        return {"offset": offset, "scale": np.ones(len(counts), np.float32)}

    def loss(self, task, config, settings, head, logits, label):
        """Cross-entropy in nats; logits adjusted as in Menon et al. 2021, arXiv 2007.07314."""
        if not favours_rare(config):
            return optax.softmax_cross_entropy_with_integer_labels(logits, label)
        odds = jnp.asarray(head["offset"])
        log_shares = jax.nn.log_softmax(odds)
        log_probabilities = jax.nn.log_softmax(logits + settings.logit_adjustment * odds)
        return rare_class_loss(settings, log_probabilities[label], log_shares[label], log_shares)

    def distillation_loss(self, task, head, logits, teacher):
        """Divergence of the probabilities, nats."""
        teacher = jax.nn.softmax(jax.lax.stop_gradient(teacher))
        return optax.kl_divergence(jax.nn.log_softmax(logits), teacher)

    def rightness(self, task, head, logits, label):
        """Probability of the true class."""
        return self.readable(task, logits)[label]

    def readable(self, task, logits):
        """Probabilities."""
        return softmax(logits)

    def constant(self, task, labels):
        """Shares of the classes."""
        return np.mean(np.eye(len(task.classes))[labels], axis=0)

    def class_f1(self, task, predictions, truth):
        """F1 of every class."""
        values = metrics.class_f1(predictions, truth, np.ones(len(truth), bool))
        return dict(zip(task.classes, values.tolist(), strict=True))

    def class_counts(self, task, truth):
        """Samples of every class."""
        return np.bincount(truth, minlength=len(task.classes))

    def linear_targets(self, task, labels):
        """One column a class, 1 in that of the true one."""
        return np.eye(len(task.classes))[labels]

    def summary(self, task, mean, spread):
        """The most probable class."""
        return Summary(
            task.classes[int(mean.argmax())],
            dict(zip(task.classes, mean.tolist(), strict=True)),
            dict(zip(task.classes, spread.tolist(), strict=True)),
        )

    def errors(self, task, predictions, truth):
        """One minus the probability of the true class."""
        return 1.0 - predictions[np.arange(len(predictions)), truth]

    def label_words(self, task, label):
        """The class."""
        return task.classes[int(label)]

    def prediction_words(self, task, prediction):
        """The most probable class and its probability."""
        return f"{task.classes[int(np.argmax(prediction))]} {np.max(prediction):.2f}"

    def moved(self, task, predictions, labels):
        """Mean share of the probability that moves."""
        away = np.abs(predictions[1:] - predictions[0])
        return (0.5 * away.sum(axis=-1)).mean(axis=1)

"""Task kinds and metrics, both registries that users may add to."""

from haemsa_jax.tasks.classification import Classification
from haemsa_jax.tasks.counting import mean_where
from haemsa_jax.tasks.kind import Summary, TaskKind, kind_of, kinds, register
from haemsa_jax.tasks.metrics import Metric, metric_of, register_metric
from haemsa_jax.tasks.multilabel import Multilabel
from haemsa_jax.tasks.recorded import register_recorded
from haemsa_jax.tasks.regression import Regression

register(Regression())
register(Classification())
register(Multilabel())
register_recorded()

__all__ = [
    "Classification",
    "Metric",
    "Multilabel",
    "Regression",
    "Summary",
    "TaskKind",
    "kind_of",
    "kinds",
    "mean_where",
    "metric_of",
    "register",
    "register_metric",
]

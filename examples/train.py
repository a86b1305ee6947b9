"""Trains, evaluates and predicts from Python: python examples/train.py"""

import sys

from clips import MOOD, WIDTHS, dataset  # a Dataset of NumPy arrays

from haemsa_jax import HaemsaConfig, Predictor, TrainConfig, make_train
from haemsa_jax.reporting.progress import TrainingBar
from haemsa_jax.reporting.report import write_report

run_dir = sys.argv[1] if len(sys.argv) > 1 else "runs/example"
data = {"mine": dataset()}
network = HaemsaConfig({"mine": WIDTHS}, {"mine:mood": MOOD}, width=16, depth=1)
train = make_train(network, TrainConfig(epochs=5, learning_rate=3e-3), data)
with TrainingBar() as bar:
    trained = train(run_dir, observe=bar)  # without a directory nothing is written
print(write_report(trained, data, run_dir))  # tables; run_dir/report.html and pictures
predictor = Predictor(trained)  # or Predictor.from_checkpoint(run_dir)
clip = data["mine"].splits["test"].features["text"][0]  # float[T, 8]; no audio
prediction = predictor.predict(text=clip).tasks["mood"]  # value, ± over seeds, experts' weights
print(prediction.value, prediction.spread, prediction.gates["fusion"])

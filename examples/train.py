"""Trains, evaluates and predicts from Python: python examples/train.py"""

import sys

from clips import MOOD, WIDTHS, dataset  # a Dataset of NumPy arrays

from haemsa_jax import HaemsaConfig, Predictor, TrainConfig, evaluate, make_train

run_dir = sys.argv[1] if len(sys.argv) > 1 else "runs/example"
data = {"mine": dataset()}
network = HaemsaConfig({"mine": WIDTHS}, {"mine:mood": MOOD}, width=16, depth=1)
train = make_train(network, TrainConfig(epochs=5, learning_rate=3e-3), data)
trained = train(run_dir)  # without a directory nothing is written
print(trained.progress)
print(evaluate(trained, data)["mine:mood"].metrics)
predictor = Predictor(trained)  # or Predictor.from_checkpoint(run_dir)
clip = data["mine"].splits["test"].features["text"][0]  # float[T, 8]; no audio
prediction = predictor.predict(text=clip).tasks["mood"]
print(prediction.value, prediction.spread, prediction.gates["fusion"])

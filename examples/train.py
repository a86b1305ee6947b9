"""Trains, evaluates and predicts from Python: python examples/train.py"""

import sys

from clips import MOOD, WIDTHS, dataset  # a Dataset of NumPy arrays

from haemsa_jax import NetworkConfig, Predictor, TrainConfig, evaluate, load_trained, make_train

run_dir = sys.argv[1] if len(sys.argv) > 1 else "runs/example"
data = {"mine": dataset()}
network = NetworkConfig({"mine": WIDTHS}, {"mine:mood": MOOD}, width=16, depth=1)
train = make_train(network, TrainConfig(epochs=5, learning_rate=3e-3), data)
print(train(run_dir))
print(evaluate(load_trained(run_dir), data)["mine:mood"].metrics)
predictor = Predictor.from_checkpoint(run_dir)
clip = data["mine"].splits["test"].features["text"][0]  # float[T, 8]; no audio
said = predictor.predict(text=clip).tasks["mood"]
print(said.value, said.spread, said.gates["fusion"])

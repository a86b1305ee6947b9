"""Late fusion in PyTorch, beside which searches are timed."""

from collections.abc import Mapping

from benchmarks.timing import median_seconds
from haemsa_jax.data import Split


def torch_rate(torch, splits: Mapping[str, Split], *, limit: int, steps: int, batch: int) -> float:
    """Members a second of late-fusion networks of at most `limit` parameters, one after another.

    Args:
      torch: the module.
      splits: `train` and `validation`, with the tasks `score` and `mood`.
      limit: of parameters.
      steps: of a member's training.
      batch: samples of each task in a step.
    """
    widths = {m: x.shape[-1] for m, x in splits["train"].features.items()}
    nn = torch.nn

    class LateFusion(nn.Module):
        def __init__(self, hidden):
            super().__init__()
            self.towers = nn.ModuleList(
                nn.Sequential(nn.Linear(w, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
                for w in widths.values()
            )
            self.join = nn.Sequential(nn.Linear(3 * hidden, hidden), nn.ReLU(), nn.Dropout(0.2))
            self.heads = nn.ModuleList([nn.Linear(hidden, 1), nn.Linear(hidden, 2)])

        def forward(self, tokens):
            means = [tower(x).mean(1) for tower, x in zip(self.towers, tokens, strict=True)]
            joined = self.join(torch.cat(means, -1))
            return [head(joined) for head in self.heads]

    def parameters(model):
        return sum(p.numel() for p in model.parameters())

    hidden = 8
    while parameters(LateFusion(hidden + 8)) <= limit:
        hidden += 8
    tensors = {
        name: (
            [torch.from_numpy(split.features[m]) for m in widths],
            torch.from_numpy(split.labels["score"]),
            torch.from_numpy(split.labels["mood"]).long(),
        )
        for name, split in splits.items()
    }

    def live():
        model = LateFusion(hidden)
        optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
        features, score, mood = tensors["train"]
        for step in range(steps):
            # Each task has a batch of its own, as in a search.
            rows = torch.arange(step * 2 * batch, (step + 1) * 2 * batch) % len(score)
            outputs = model([x[rows] for x in features])
            optimiser.zero_grad()
            loss = nn.functional.huber_loss(outputs[0][:batch, 0], score[rows[:batch]])
            loss = loss + nn.functional.cross_entropy(outputs[1][batch:], mood[rows[batch:]])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
        model.eval()
        with torch.no_grad():
            for _ in ("score", "mood"):
                model(tensors["validation"][0])

    return 1 / median_seconds(live)

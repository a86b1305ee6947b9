"""`--help`: flags by subject, those that matter most first; `--helpfull` is absl's."""

import os
import sys
import textwrap
from collections.abc import Iterable, Iterator

from absl import app, flags

WIDTH, COLUMN, MOST = 100, 28, 10
# Of these a program shows the first that it has, `MOST` at most, before all others.
FIRST = (
    "plan", "pretrained", "tasks", "genome", "run_dir", "dataset", "datasets_dir", "raw_dir",
    "input", "output", "labels", "name", "data_dir", "split", "baselines", "ensemble", "beside",
    "others", "protocol", "diagnose", "out_dir", "ablate", "past", "text", "epochs", "seeds",
    "model", "init_from", "population", "generations", "steps_total", "patterns", "list", "group",
    "only", "source_dir",
)  # fmt: skip
SUBJECTS = {
    "Where things are": (
        "run_dir", "out_dir", "data_dir", "datasets_dir", "raw_dir", "input", "output",
        "files_from", "source_dir", "work_dir", "experiments", "plan", "overwrite",
    ),
    "What is read": (
        "dataset", "tasks", "split", "modalities", "past", "future", "speakers", "tokens",
        "resident_mib",
    ),
    "Recordings": ("words", "language", "audio", "labels", "name", "jobs"),
    "Words": (
        "text", "text_mode", "adapter_rank", "text_precision", "max_tokens", "encoder",
        "encoder_rate", "layer_decay", "encoder_dropout",
    ),
    "The network": (
        "model", "width", "depth", "heads", "expansion", "kernel", "link_width", "fusion_rank",
        "sharing", "link", "layers", "max_offset", "clip", "genome", "weights", "init_from",
        "network", "networks", "platforms", "pretrained", "packed", "rank", "factor", "memory",
        "utterance_steps",
    ),
    "How long and how many": (
        "epochs", "batch_size", "seeds", "seed", "folds", "evaluate_every", "patience",
        "checkpoint_every",
    ),
    "Optimisation": ("learning_rate", "warmup", "weight_decay", "clip_norm", "ema"),
    "Regularisation": ("dropout", "input_dropout"),
    "Modalities hidden in training": (
        "modality_dropout", "utterance_dropout", "frame_dropout", "train_missing", "distillation",
        "gradient_balance", "prediction_balance",
    ),
    "Losses": (
        "regression_loss", "auxiliary", "class_balance", "focal", "logit_adjustment",
    ),
    "Losses of single models": (
        "similarity", "difference", "decoding", "generated", "attraction", "recovery",
    ),
    "Losses on shared and specific representations (--sharing)": (
        "moments", "contrast", "correlation", "orthogonality", "reconstruction", "imputation",
    ),
    "Several tasks": ("sampling_temperature", "task_weighting", "task_weights", "gradients"),
    "The search": (
        "algorithm", "population", "generations", "steps_total", "steps", "head_start", "repeats",
        "patterns", "fixed", "pick", "price", "margin", "spread", "inherit", "yardstick", "block",
    ),
    "What is measured": (
        "baselines", "ensemble", "beside", "others", "protocol", "mask_seed", "diagnose", "ablate",
        "list", "group", "only",
    ),
    "Results that are kept": ("record", "results_dir", "keep", "pages"),
    "Devices and processes": (
        "devices", "abreast", "compilation_cache", "coordinator", "processes", "process",
    ),
}  # fmt: skip
OTHERS = "Others"


class Help(app.HelpFlag):
    """Takes the place of absl's flag of the same name."""

    def __init__(self, name: str, short_name: str | None = None):
        self.NAME, self.SHORT_NAME = name, short_name
        super().__init__()
        self.allow_override = True

    def parse(self, arg) -> None:
        """Prints the help and ends the program, where it is asked for."""
        if self._parse(arg):
            known = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
            try:
                print(described(sys.modules["__main__"].__doc__ or "", known), flush=True)
            except BrokenPipeError:  # of `--help | head`; what is left is written nowhere
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit()


def define_help() -> None:
    """`--help` and `--helpshort`, in place of absl's."""
    app.define_help_flags()
    flags.DEFINE_flag(Help("help", "?"))
    flags.DEFINE_flag(Help("helpshort"))


def described(text: str, known: Iterable[flags.Flag]) -> str:
    """What a program does, and its flags by subject.

    Args:
      text: the program's docstring.
      known: its flags; those of no subject come last, as `OTHERS`.
    """
    left = {flag.name: flag for flag in known}
    about = "The value behind a flag is its default; --helpfull lists absl's flags as well."
    lines = [text.strip(), "", about]
    first = [name for name in FIRST if name in left][:MOST]
    groups = {"Most used": first, **SUBJECTS, OTHERS: (*left,)}
    for subject, names in groups.items():
        shown = [left.pop(name) for name in names if name in left]
        if shown:
            lines += ["", f"{subject}:", *(line for flag in shown for line in _described(flag))]
    return "\n".join(lines)


def _described(flag: flags.Flag) -> Iterator[str]:
    """The flag and its default to the left, what it means to the right."""
    if isinstance(flag, flags.BooleanFlag):
        head = f"  --[no]{flag.name}" if flag.default else f"  --{flag.name}"
    else:
        default = "" if flag.default in (None, [], ()) else f"={flag.default_as_str[1:-1]}"
        head = f"  --{flag.name}{default}"
    text = flag.help.removesuffix(";\n    repeat this option to specify a list of values")
    text = text[:1].upper() + text[1:]
    if len(head) > COLUMN - 2:
        yield head
        head = ""
    lines = textwrap.wrap(text, WIDTH - COLUMN, break_on_hyphens=False) or [""]
    yield f"{head:{COLUMN}}{lines[0]}"
    yield from (" " * COLUMN + line for line in lines[1:])

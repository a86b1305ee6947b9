"""Names of the modules that belong to one data set, task or modality."""

ENCODER = "encoder"


def slug(name: str) -> str:
    """A data set or task id as a name of modules and files."""
    return name.replace("/", "-").replace(":", "-")


def stem_name(dataset: str, modality: str) -> str:
    """The module's name: the stem of one modality of one data set."""
    return f"stem_{slug(dataset)}_{modality}"


def head_name(task_id: str, modality: str = "") -> str:
    """The module's name: the head of a task, reading everything or one modality alone."""
    return f"head_{slug(task_id)}" + (f"_{modality}" if modality else "")


def encoder_name(modality: str) -> str:
    """The module's name: the encoder of one modality's raw input, for all data sets."""
    return f"{ENCODER}_{modality}"


def is_encoder(module: str) -> bool:
    """Whether a module of that name is an encoder of raw input."""
    return module.startswith(f"{ENCODER}_")

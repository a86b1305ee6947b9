"""Names of the modules that belong to one data set, task or modality."""

ENCODER = "encoder"


def slug(name: str) -> str:
    """A data set or task id as a name of modules and files."""
    return name.replace("/", "-").replace(":", "-")


def stem_name(dataset: str, modality: str) -> str:
    """Of what reads one modality of one data set."""
    return f"stem_{slug(dataset)}_{modality}"


def head_name(task_id: str, modality: str = "") -> str:
    """Of what answers one task, from everything or from one modality alone."""
    return f"head_{slug(task_id)}" + (f"_{modality}" if modality else "")


def encoder_name(modality: str) -> str:
    """Of what encodes the raw input of one modality, for all data sets."""
    return f"{ENCODER}_{modality}"


def is_encoder(module: str) -> bool:
    """Whether a module of that name is an encoder of raw input."""
    return module.startswith(f"{ENCODER}_")

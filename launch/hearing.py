"""`--words` and `--language`: what listens to recordings."""

from absl import flags

from haemsa_jax.extraction.words import PACKAGES, Recogniser

flags.disclaim_key_flags()


def define_flags(words: str) -> None:
    """Which speech model, and what it is told; `words` is the default."""
    flags.DEFINE_string(
        "words",
        words,
        f"Speech model that writes down what is said: {', '.join(PACKAGES)}, or the folder of a "
        "Whisper model of CTranslate2; empty for none.",
    )
    flags.DEFINE_string(
        "language", None, "Language that is spoken, such as en; by default each recording tells."
    )


def recogniser(threads: int = 0) -> Recogniser | None:
    """What the flags describe."""
    name = flags.FLAGS.words
    return Recogniser(name, flags.FLAGS.language, threads) if name else None

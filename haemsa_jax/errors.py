"""The one error that a user's input raises."""


class InputError(ValueError):
    """A file, flag or value from outside that does not fit.

    The message names the value, the rule it breaks and the way out. Launchers print it alone and
    exit with status 2; a traceback would only hide it. It is one line, whatever the words of other
    libraries in it are.
    """

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())


PLUGINS = "HAEMSA_PLUGINS"
# What an error about an unknown name ends with.
IF_OWN = f"; if it is your own, name the module that registers it in {PLUGINS}"

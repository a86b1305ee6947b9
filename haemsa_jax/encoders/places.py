"""Where encoders lie: known again by their fingerprints, whatever their folders are called now."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence

from haemsa_jax.config import EncoderSpec
from haemsa_jax.encoders.interface import Pretrained, check_like, encoder_named
from haemsa_jax.errors import InputError

Folder = str | os.PathLike
EncoderFolders = Folder | Mapping[str, Folder] | None


def relocated(specs: Mapping[str, EncoderSpec], folders: EncoderFolders) -> dict[str, EncoderSpec]:
    """The same encoders where they lie now.

    Args:
      specs: by modality.
      folders: of the only encoder, or by modality; None where all lie where they were.

    Raises:
      InputError: there is no encoder of a modality, or one folder is given for several.
    """
    if folders is None:
        folders = {}
    elif not isinstance(folders, Mapping):
        if len(specs) != 1:
            way_out = "give folders by modality" if specs else "leave it away"
            raise InputError(
                f"encoder={os.fspath(folders)}: there are encoders of "
                f"{', '.join(specs) or 'nothing'}; {way_out}"
            )
        folders = dict.fromkeys(specs, folders)
    for modality in folders:
        if modality not in specs:
            raise InputError(
                f"encoder {modality}={os.fspath(folders[modality])}: there are encoders of "
                f"{', '.join(specs) or 'nothing'}; leave it away"
            )
    return {
        modality: dataclasses.replace(spec, encoder=os.fspath(folders.get(modality, spec.encoder)))
        for modality, spec in specs.items()
    }


def folders_from(entries: Sequence[str], specs: Mapping[str, EncoderSpec]) -> EncoderFolders:
    """What a command line says: one folder, or MODALITY=folder for each of several encoders."""
    if not entries:
        return None
    if len(entries) == 1 and entries[0].partition("=")[0] not in specs:
        return entries[0]
    named = {}
    for entry in entries:
        modality, _, folder = entry.partition("=")
        named[modality] = folder
    return named


def read_family(family: str, name: str) -> Pretrained:
    """An encoder of a family by name or folder."""
    return encoder_named(family).read(name)


def read_like(
    spec: EncoderSpec, read: Callable[[str, str], Pretrained] = read_family
) -> Pretrained:
    """The encoder that a network was trained with, from where its description says it lies.

    Args:
      spec: the description.
      read: (family, name) -> the encoder, where some are kept once they are read.

    Raises:
      InputError: it is not there, is damaged, or is another.
    """
    try:
        pretrained = read(spec.family, spec.encoder)
    except InputError as error:
        raise InputError(
            f"{error} (the network was trained with this {spec.modality} encoder, fingerprint "
            f"{spec.fingerprint}; where it has moved, name its folder by --encoder, or by "
            f"--{spec.modality} in trainings and searches)"
        ) from error
    check_like(pretrained, spec)
    return pretrained

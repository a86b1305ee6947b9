"""Names of groups (people, videos, dialogues): which splits have the same one."""

from collections.abc import Iterable, Mapping


def shared(groups: Mapping[str, Iterable[str]]) -> str:
    """A sentence that names the first group that is in two splits, and says how many are.

    Args:
      groups: by split, the group of every sample.

    Returns:
      The sentence; empty where every group is in one split.
    """
    splits_of: dict[str, list[str]] = {}
    for split, names in groups.items():
        for name in dict.fromkeys(names):
            splits_of.setdefault(name, []).append(split)
    both = {name: splits for name, splits in splits_of.items() if len(splits) > 1}
    if not both:
        return ""
    name, splits = next(iter(both.items()))
    others = f" (and {len(both) - 1} of {len(splits_of)} groups likewise)" if len(both) > 1 else ""
    return (
        f"group {name!r} is in the splits {', '.join(splits)}{others}: what is learnt of it in one "
        "is asked in the other, so that results are too good; keep all of a group in one split"
    )

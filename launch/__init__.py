"""Programs to run from the repository's root: `python -m launch.train --help`."""

"""A campaign of damage: files, checkpoints, kills, threads, full disks; see `__main__`."""

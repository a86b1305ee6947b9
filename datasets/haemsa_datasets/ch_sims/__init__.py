"""CH-SIMS: sentiment of clips of Chinese films and series."""

"""CMU-MOSEI: sentiment of 22,856 sentences in video monologues."""

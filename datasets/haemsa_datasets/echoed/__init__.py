"""Planted data in which vision echoes text and audio, for what crosses between modalities."""

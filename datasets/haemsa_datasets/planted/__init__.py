"""Planted data: generated samples whose structure, and best possible scores, are known."""

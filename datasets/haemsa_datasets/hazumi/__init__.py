"""Hazumi: Japanese on-line dialogues of Osaka University (2010, 2012, 2105)."""

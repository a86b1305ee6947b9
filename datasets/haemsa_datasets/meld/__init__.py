"""MELD: emotion and sentiment in the dialogues of a television series."""

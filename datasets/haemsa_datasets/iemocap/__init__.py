"""IEMOCAP: emotions of acted dialogues, in the features of two research lines."""

"""From a recording to what a network reads of it: sound, words, features."""

"""Pickles in the form that MMSA reads: those of MOSI and MOSEI, and anybody's."""

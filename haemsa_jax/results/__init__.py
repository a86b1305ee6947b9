"""Results that come back: recorded with all that led to them, compared, and shown in pages.

`record.py` is one result and its file, `environment.py` what it was measured with, `experiments.py`
the list of experiments and how one is run again, `comparison.py` whether two records agree,
`pages.py` tables in Markdown that are made from records.
"""

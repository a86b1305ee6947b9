"""What a person reads of a run: its log, tables, figures and the yardsticks beside them.

Launchers import this; the library never does, so that training needs no plotting.
"""

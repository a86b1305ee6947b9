"""Structure: what a model can open or shut, and what follows from what is open.

`parts` is the declaration that every model makes; size, specialisation, warm start and description
are traversals of it.
"""

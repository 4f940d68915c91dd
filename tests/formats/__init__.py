"""States that a released version has written, and what has to be found in them for ever.

`python -m tests.formats FOLDER` writes such states with this version: for a release whose format is
another one. Those of 0.1 are beside this file, and are never written again.
"""

"""The libraries of the feature table, each used as its documentation says.

`columns.py` has one adapter for each way to use a library, `programs.py` what is run with them,
`forkserver.py` starts those programs in processes that may be killed. `actors.py` does so with the
Actors of other tests.
"""

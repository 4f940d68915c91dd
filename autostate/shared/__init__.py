"""State that any number of processes write at once: what each contributes, merged.

    classes.py      SharedCounter, SharedSet and SharedDict, with what keeps their objects
    home.py         where the shared objects of a process live, and when they are published
    confirmed.py    changes that are published when the program's own state has them
    resuming.py     what a killed process has left, while the shared state does not answer
    unpublished.py  what a killed process has left for a shared state, and giving it up
    counter.py, set.py, dict.py, container.py
                    the containers
    frozen.py       containers inside the values of a shared dict
    handle.py       what the containers see of all below
    readonly.py     shared objects that are only read
    stored.py, resetting.py, assigning.py, copying.py
                    for the commands: what is stored, without the programs that write it
    patience.py     how long to wait for another process that folds
    replica.py      the shared objects of one process: refreshes, publications
    object.py       one of them: its entries, its writes, and its container
    held.py         what open blocks of `atomic()` have changed
    inherited.py    what the parent of a forked process had not published
    reopened.py     the store of the parent, opened anew in the child
    setback.py      a store that was restored from a backup, or deleted
    own_writer.py   the writers of the replica
    refresher.py    the thread that refreshes at an interval
    keys.py         keys as texts
    writer.py       what one process contributes, and what is known of its publications
    portions.py     contributions that are larger than a record
    fold.py         contributions taken into the base
    shelf.py        the records of a shared state: lineages, marks, and the base
    past.py         what the base has forgotten of programs that may go on
    line.py         a lineage as a record
    kinds.py        how what several processes have contributed is merged
    clock.py        times that order the changes of dicts

An object is a map from keys to *entries*. What a process contributes is such a map, and so is what
all have contributed; both are merged key by key. So the order in which contributions arrive does
not matter, and reading needs no lock.

Each process is a *writer*, with a *lineage*: one record with all that it has contributed in the
present *generation*, which each publication overwrites. To *fold* is to take the lineages of a
generation into the *base*, an ordinary journal in the same store. `shelf.py` has the protocol and
its reasons.
"""

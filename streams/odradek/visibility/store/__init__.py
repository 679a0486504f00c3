"""The SQLite store of the read side: one writer, any number of readers. Usable without Faust and
without Kafka.

`VisibilityStore` opens it (store.py); the writer takes changes in batches, one SQLite
transaction each (writer.py), readers list, count, group and get (reader.py). Which index a page
is read from depends on how many runs have a value (planner.py; with search attributes
attempts.py), how it is read is in pages.py. Windowed statistics change in the writer's
transaction (windows.py). A lock file keeps a second writer out (lock.py). Everything here is a
copy of the topic `executions`: where it does not fit, it is deleted and read anew.
"""

"""Folders and object stores behind one interface.

`store.py` holds the interface, `folder.py` the POSIX one, `object_store.py` the one over obstore.
Nothing in here knows what the bytes mean.
"""

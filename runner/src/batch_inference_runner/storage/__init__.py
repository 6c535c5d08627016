"""Folders and object stores behind one interface.

    store          the interface, and what it raises
    location       from a URI to a store
    folder         a folder of a POSIX file system: folder_sink writes, local_file reads,
                   folder_listing finds
    object_store   a prefix of a bucket, over obstore: object_sink writes, object_file reads
    write_only     what sinks have in common
    keys           which keys a store accepts
    clients        obstore clients, one retry policy; credentials reads their folder
    durability     what survives a power cut
    posix_errors, object_errors   what errors mean to a store
    advice         what they say to whoever runs the job
    wildcards      where a glob begins, and names that only look like one
    reread         reads again what arrived in part

Nothing in here knows what the bytes mean.
"""

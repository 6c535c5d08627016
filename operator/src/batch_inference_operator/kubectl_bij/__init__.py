"""The plugin `kubectl bij`: jobs as people ask about them, and exit codes as scripts want them.

    __main__        composition root: exit codes, one sentence per error
    arguments       what can be typed
    watch           `watch`: progress until a job ends
    wait            `wait`: until all are complete, or one failed
    logs            `logs`: what the pods of a run print
    pods            which pod of which run is meant
    suspension      `suspend`, `resume`
    status          `status`: everything about one job
    feed            jobs as they change, across lost connections
    lookup          one job by name, or a sentence that helps to find it
    standing        pure: where a job stands, and why
    advice          pure: what to do next
    page            pure: the page of `status`
    document        pure: the same as JSON
    progress_text   pure: the bar and the line of `watch`
    wording         pure: numbers, times and text of others as people read them
    paint           colours
    screen          redrawing in place
    streams         a stdout without which a command ends
    session         the cluster and the streams that commands are given
    errors          what ends a command, and its exit code

Results go to stdout, everything else to stderr. Nothing in here decides anything about a job: it
shows what the status says, and writes nothing but `spec.suspend`. What only some commands need is
imported by them: a person waits for the start.
"""

"""ONNX models: fetching, loading, binding to columns, calling, isolating rows that crash.

    model_file      fetches and verifies what is loaded; graph_facts reads it without loading it
    onnx            the only module that calls ONNX Runtime
    signature       what a model takes and gives
    binding         columns -> inputs, decided before anything is scored
    feeds           a table -> arrays for the model; rows that do not fit are rejected
    column_arrays   a column -> an array, and which of its rows do not fit
    calling         one call of the model for any number of rows
    output_binding  outputs -> columns, decided before anything is scored
    outputs         arrays of the model -> columns
    scoring         puts the above together
    probing         is the model row-wise, and how many rows at once are fastest?
    isolator        scores in a process that may crash or hang, row by row where it does;
                    isolator_child is that process, isolator_wire what the two say to each other

Nothing is bound by guess, and nothing here writes anything but a private copy of the model.
"""

"""ONNX models: fetching, loading, binding to columns, calling, isolating rows that crash.

    model_file      fetches and verifies what is loaded; graph_facts reads it without loading it,
                    quantizer_scales what quantizers make of a batch, both by way of onnx_wire
    onnx            the only module that calls ONNX Runtime
    signature       what a model takes and gives
    binding         columns -> inputs, decided before anything is scored; column_texts names them in
                    messages
    feeds           a table -> arrays for the model; rows that do not fit are rejected
    column_arrays   a column -> an array, and which of its rows do not fit
    calling         one call of the model for any number of rows
    output_binding  outputs -> columns, decided before anything is scored
    outputs         arrays of the model -> columns
    scoring         puts the above together
    probing         do these rows show that the model is not row-wise, and how many at once are
                    fastest? trial asks of one table after the other, until one could tell,
                    and of larger calls; tolerance says how far scores may lie apart
    isolator        scores in a process that may crash or hang, row by row where it does;
                    isolator_child is that process, isolator_wire what the two say to each other

Nothing is bound by guess, and nothing here writes anything but a private copy of the model.
"""

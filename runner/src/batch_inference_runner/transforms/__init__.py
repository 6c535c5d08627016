"""SQL expressions and filters over rows, evaluated by DuckDB.

    sql                the one engine of a process: locked down, one cursor a thread
    expression_check   what an expression may consist of
    projection         compiles expressions to queries, evaluates them, finds the rows that fail
    sql_types          types of Arrow that SQL lacks, and the other way round
    expressions        computed columns
    row_filter         the input's filter

Everything in here runs in scorers. DuckDB is imported when the first expression is compiled, so a
job without SQL never pays for it.
"""

"""An example: the log pipeline on the workers of a Dask cluster, with a swap meanwhile.

Workers parse, enrich and filter lines by the photons that the fleet has decided on.
What they return are plain records, which the program counts for the report. Half-way
one of the photons is edited, and swapped on all workers by one decision.
"""

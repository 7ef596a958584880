"""Adding to the catalog: papers from their public records, lists of papers, methods.

Nothing here is imported at start-up, and nothing here imports `impl`.
"""

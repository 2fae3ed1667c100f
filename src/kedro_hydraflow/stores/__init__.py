"""What tracked the runs: one module for each kind of store.

A store finds experiments and runs below a tracking directory, and knows what was
recorded about them. Today there is one kind, the file store of MLflow.
"""

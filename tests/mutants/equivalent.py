"""Mutants that no user could notice, with the reason.

A name is the module, the function and the change, as ``python -m tests.mutants`` prints it.
"""

EQUIVALENT = {
    "filters/comparison.py _is_like: end = 0 -> end = None": "the first part sets it",
    "filters/evaluation.py Conditions._test: "
    "len(tally.lacking) < _MAX_EXAMPLES -> len(tally.lacking) <= _MAX_EXAMPLES": (
        "one run more in which to look for the nearest keys"
    ),
    "filters/expressions.py Level: 4 -> 5": "only the order counts",
    "filters/narrowing.py _make_clauses: return () -> return None (4)": (
        "the caller asks whether there are any"
    ),
    "filters/parser.py : Filters = str | Sequence[str] | None -> Filters = None": "a type",
    "index_file.py : json.JSONEncoder(ensure_ascii=False, separators=(',', ':'), "
    "check_circular=False) -> json.JSONEncoder(ensure_ascii=False, check_circular=False)": (
        "JSON with spaces is read alike"
    ),
    "index_file.py _find_blocks_to_merge: 2 -> 3 (2)": (
        "the size of blocks, which changes no answer"
    ),
    "index_file.py _find_blocks_to_merge: 2 -> 3 (3)": (
        "how much is written again at a time, which changes no answer"
    ),
    "stores/file_store.py FileStore._add_tagged_names: always if name": (
        "an empty name is read as none"
    ),
}

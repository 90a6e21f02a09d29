"""The `roo` command: one file per verb, each with `add_parser` and `run(arguments) -> exit code`.

Exit codes: 0 ok; 1 the run or a test failed; 2 bad usage or pipeline file; 3 environment (port in
use, nothing to talk to); 130 and 143 forced by a second signal.
"""

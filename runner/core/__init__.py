"""What decides. Knows no socket, file, clock, thread, process, randomness or logging.

`table` says who owns a key, `batch` what travels, `worker` and `coordinator` are the two machines:
events in, effects out, nothing else.
"""

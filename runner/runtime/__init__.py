"""What does: processes, sockets, files, clocks. Decisions are `roo.core`'s.

loops      the generated hot path: one flat function per way into a stage
stages     runs those functions over batches and collects what they made
payload    a batch's keys and messages as bytes and back
failures   what happens to a message that fails
readers    the splits a worker reads
worker     the worker process; watchdog: its second thread
transport  ZeroMQ sockets between processes
coordinator, process   the coordinator's loop; spawning and ending workers
local      the same stages in one process, for `roo test`
"""

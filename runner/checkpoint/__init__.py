"""Checkpoints on disk: what a run needs to go on from where it was.

`encoding` turns states into bytes and back, `blocks` is the file that holds them, `manifest` the
file that makes a checkpoint real, `folder` the directory of them all, `restore` the way back in.
"""

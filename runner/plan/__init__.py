"""The Plan: what to run, and nothing of how.

model    stages and exchanges
build    PipelineSpec -> Plan; findings for code references that do not work
resolve  `module:function` -> the function
"""

"""Tests of the example pipelines, their plugin functions and their data."""

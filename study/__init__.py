"""A reproducible study of what each way of switching the debug registers costs at guest entry and exit on ARM."""

__version__ = "0.1.0"

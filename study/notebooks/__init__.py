"""The notebooks: what their cells call, and how papermill runs them."""

from study.notebooks.parameters import check_parameters, finished

__all__ = ["check_parameters", "finished"]

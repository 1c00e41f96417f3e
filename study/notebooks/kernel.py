"""The kernel that notebooks run in: IPython's, without what this machine has set for IPython.

``python -m study.notebooks.kernel -f CONNECTION`` is what ipykernel_launcher is. A folder for IPython keeps a user's settings out
(IPYTHONDIR); those of the machine, in /etc/ipython, it would run all the same.
"""

from ipykernel import kernelapp
from IPython.core.application import ENV_CONFIG_DIRS, SYSTEM_CONFIG_DIRS

if __name__ == "__main__":
    SYSTEM_CONFIG_DIRS.clear()
    ENV_CONFIG_DIRS.clear()
    kernelapp.launch_new_instance()

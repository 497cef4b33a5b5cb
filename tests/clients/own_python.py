"""Goes on in the interpreter that `install` made beside this file, where there is one."""

import os
import sys

OWN = os.path.join(os.path.dirname(os.path.abspath(__file__)), ".venv")
if os.path.isdir(OWN) and os.path.realpath(sys.prefix) != os.path.realpath(OWN):
    python = os.path.join(OWN, "bin", "python")
    os.execv(python, [python, *sys.argv])

"""Kernels for scripts that run notebooks: of the very Python that runs the script.

They talk through sockets in files, without a network port, where the system has such sockets.
"""

import os
import sys

from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager


class ThisPython(KernelSpecManager):
    "Every kernel name means one command of this Python, whatever kernels the user has installed under that name."

    def __init__(self, command, **kwargs):
        super().__init__(**kwargs)
        self.command = command

    def get_kernel_spec(self, kernel_name):
        argv = [sys.executable, *self.command, "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name=kernel_name, language="python")


def private_kernel(folder, *command):
    "A manager of `python command...`, whose connection file is in `folder`."
    return AsyncKernelManager(
        kernel_spec_manager=ThisPython(command), connection_file=f"{folder}/kernel.json", **sockets(folder)
    )


def sockets(folder, system=os.name):
    "How to talk with a kernel: by files in `folder`; on Windows, which has none, by ports of this machine alone."
    if system == "nt":
        return dict(transport="tcp", ip="127.0.0.1")
    return dict(transport="ipc", ip=f"{folder}/kernel")

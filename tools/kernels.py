"Kernels for scripts that run notebooks: of the very Python that runs the script, and without a network port."

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
    "A manager of `python command...`, whose sockets are files in `folder`."
    return AsyncKernelManager(
        kernel_spec_manager=ThisPython(command),
        connection_file=f"{folder}/kernel.json",
        transport="ipc",
        ip=f"{folder}/kernel",
    )

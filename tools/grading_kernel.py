"""The kernel in which hand-ins run: IPython's, after the network, other programs and the course's own files are closed
and its memory was limited.

Audit hooks can't be taken off again from Python, so a cell can't undo them. They keep honest mistakes from doing
harm; for hand-ins that you expect to attack you, grade in a container or a virtual machine.
"""

import os
import sys

CLOSED = tuple(os.path.realpath(path) for path in os.environ["COURSE_CLOSED"].split(os.pathsep) if path)
NETWORK = {"socket.connect", "socket.sendto", "socket.sendmsg"}
NAMES = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.forkpty"}
FILES = {"open", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.chmod"}
FILES |= {"os.listdir", "os.scandir", "sqlite3.connect"}


def refuse(what, instead):
    # an OSError: libraries that only try their luck take it as "not here"
    raise PermissionError(f"This cell {what}; that is closed while grading. {instead}")


def guard(event, args):
    if event in NETWORK and isinstance(args[1], tuple):  # the address of a socket in a file is no tuple
        host = str(args[1][0])
    elif event in NAMES:
        host = args[0].decode(errors="replace") if isinstance(args[0], bytes) else str(args[0] or "")
    else:
        host = ""
    if host and host not in ("localhost", "::1") and not host.startswith("127."):
        refuse(f"asked for the network ({host})", "Use what is installed.")
    if event in PROGRAMS:
        refuse("started another program", "Use Python.")
    if event in FILES:
        for path in args[:2]:
            if isinstance(path, (str, bytes, os.PathLike)):
                place = os.path.realpath(os.fsdecode(path))
                if any(place == root or place.startswith(root + os.sep) for root in CLOSED):
                    refuse(
                        f"opened a file of the course ({os.path.basename(place)})", "Use the lab's folder."
                    )


def limit_memory(gigabytes):
    """From here on a cell that wants more is refused it, as an error of that cell; only Linux can do that.

    RLIMIT_DATA counts what is written to. RLIMIT_AS counts addresses, of which PyTorch reserves 3 GB and uses few.
    The hard limit is for the kernel, which needs some memory to say what went wrong.
    """
    if sys.platform == "linux":
        import resource

        most = int(gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most + 2**28))


def out_of_memory(shell, kind, error, trace, tb_offset=None):
    "What IPython does with a MemoryError: a little more room first, then the error as ever."
    if sys.platform == "linux":
        import resource

        most = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this script: nothing in it is for students
    from ipykernel.kernelapp import IPKernelApp

    limit_memory(float(os.environ["COURSE_MEMORY"]))
    sys.addaudithook(guard)
    kernel = IPKernelApp.instance()
    kernel.initialize()
    kernel.shell.set_custom_exc((MemoryError,), out_of_memory)
    kernel.start()

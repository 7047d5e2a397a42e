# SPDX-License-Identifier: Apache-2.0
#
# A file whose close() blocks as long as its server likes: a FUSE file system spoken by hand through
# /dev/fuse, with one file, and no answer to FLUSH. Needs root. The server is a process of its own
# that dies with the test, for only its death ends the calls that block, should the test be killed;
# the mount stands in a namespace of the test's own, for the same reason.
import contextlib
import ctypes
import os
import signal
import struct
import tempfile

from tap import Skip

LOOKUP, GETATTR, OPEN, FLUSH, INIT, ENOSYS = 1, 3, 14, 25, 26, 38
MNT_FORCE, MNT_DETACH = 1, 2
PR_SET_PDEATHSIG = 1
CLONE_NEWNS, MS_PRIVATE_ALL = 0x20000, 0x44000
libc = ctypes.CDLL(None, use_errno=True)


def attributes(node):
    kind = 0o040755 if node == 1 else 0o100666
    return struct.pack("<6Q10I", node, 4096, 8, 0, 0, 0, 0, 0, 0, kind, 1, 0, 0, 0, 4096, 0)


def answer(operation, node):
    """What to answer to a request, or an error number."""
    if operation == INIT:
        return struct.pack("<4I2H2I", 7, 31, 65536, 0, 12, 9, 65536, 1) + bytes(36)
    if operation == LOOKUP:
        return struct.pack("<4Q2I", 2, 0, 3600, 3600, 0, 0) + attributes(2)
    if operation == GETATTR:
        return struct.pack("<Q2I", 3600, 0, 0) + attributes(node)
    if operation == OPEN:
        return struct.pack("<Q2I", 1, 0, 0)
    return ENOSYS


def serve(device):
    with contextlib.suppress(OSError):
        while True:
            request = os.read(device, 1 << 17)
            _, operation, number, node = struct.unpack_from("<2I2Q", request)
            if operation == FLUSH:
                continue
            body = answer(operation, node)
            error, body = (-body, b"") if isinstance(body, int) else (0, body)
            os.write(device, struct.pack("<IiQ", 16 + len(body), error, number) + body)


def mount(device, folder):
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    if libc.unshare(CLONE_NEWNS) < 0 or libc.mount(None, b"/", None, MS_PRIVATE_ALL, None) < 0 or \
            libc.mount(b"esm1nv-test", folder.encode(), b"fuse", 0, options.encode()) < 0:
        raise OSError(ctypes.get_errno(), "mount")


def start_server(device):
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        serve(device)
        os._exit(0)
    return child


def start_mounted(folder):
    """The process that serves it."""
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        try:
            mount(device, folder)
            return start_server(device)
        finally:
            os.close(device)
    except OSError as error:
        raise Skip(f"no FUSE file system can be mounted here: {error}")


@contextlib.contextmanager
def mounted():
    """Yields a path to open; when it ends, so do all calls that block. Skips the case where there is
    no FUSE or no right to mount."""
    with tempfile.TemporaryDirectory(prefix="esm1nv-test-") as folder:
        server = start_mounted(folder)
        try:
            yield os.path.join(folder, "file")
        finally:
            libc.umount2(folder.encode(), MNT_FORCE | MNT_DETACH)  # what blocks fails now
            os.kill(server, signal.SIGKILL)
            os.waitpid(server, 0)

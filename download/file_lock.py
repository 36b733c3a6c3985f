"""A file lock between processes, so that only one of them downloads a model."""

import contextlib
import errno
import os
import sys
import time

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


@contextlib.contextmanager
def locked(path):
    """Hold an exclusive lock on the file `path`; wait while another process holds it. Then delete the file.

    The operating system releases the lock when the process ends, even if it is killed.
    """
    while True:
        file = open(path, "ab")
        if not try_to_lock(file):
            print(f"waiting for another process that downloads this model (lock: {path})", file=sys.stderr)
            while not try_to_lock(file):
                time.sleep(0.2)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(file.fileno())):
                break
        file.close()  # the previous holder deleted this file; a third process may have created a new one
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows refuses to delete a file that another process has open
            os.remove(path)
        file.close()


def try_to_lock(file):
    """Lock the file without waiting -> whether this process may proceed."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Proceed without a lock where the file system does not support locks.
        return error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
    return True

"""Several processes that download the same model at once."""

import pytest
from support.downloads import MODEL_SIZE, check_files, finish, start_utils_py


@pytest.mark.parametrize("n_processes", [2, 4])
def test_only_one_of_several_processes_downloads(start, server, tmp_path, model_dir, n_processes):
    for process in [start_utils_py(start, server, tmp_path) for _ in range(n_processes)]:
        status, stdout, stderr = finish(process)
        assert (status, stdout) == (0, f"124M is in {model_dir}\n"), stderr
    check_files(model_dir)
    assert server.n_bytes_sent == MODEL_SIZE

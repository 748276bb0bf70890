"""A table that is read in batches is encoded into files that nobody finds, whatever becomes of the process."""

import errno
import os
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pandas as pd
import pytest
import torch

from tessflow import TabularFlow
from tessflow.estimators.stream import encoded_file
from tessflow.tables import TableSource

OPTIONS = TabularFlow(max_steps=1, random_state=0)._options(None)


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    pd.DataFrame({"a": list("xyzx") * 50, "b": range(200)}).to_csv(tmp_path / "table.csv", index=False)
    return TableSource(tmp_path / "table.csv")


def test_the_rows_are_those_of_the_table(source):
    with encoded_file(source, None, OPTIONS, 0.2) as (schema, train, validation):
        assert os.listdir(tempfile.gettempdir()) == []
        frame = pd.concat([schema.decode(rows) for rows in (train, validation)])
        assert 20 < len(validation) < 60
    pd.testing.assert_frame_equal(
        frame.sort_values("b", ignore_index=True), pd.read_csv(source.path), check_dtype=False
    )
    train[:] = 0  # they are there as long as the tensors
    assert train.sum() == 0


def test_no_rows_may_be_set_aside(source):
    with encoded_file(source, None, OPTIONS, 0.0) as (schema, train, validation):
        assert (len(train), len(validation)) == (200, 0)
        assert validation.dtype == train.dtype == schema.encode(pd.read_csv(source.path)).dtype
        assert torch.equal(train, schema.encode(pd.read_csv(source.path)))


def test_a_full_disk_is_named(source, monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with (
        pytest.raises(OSError, match=r"no room for the encoded table: No space left on device.*temporary"),
        encoded_file(source, None, OPTIONS, 0.2),
    ):
        pass


def test_a_killed_fit_leaves_no_rows(source, tmp_path):
    script = (
        "import os, signal; from tessflow import TabularFlow; from tessflow.training import loop\n"
        "loop._batches = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"TabularFlow(max_steps=1, random_state=0).fit({str(source.path)!r})"
    )
    temporary = str(tmp_path / "temporary")
    killed = subprocess.run([sys.executable, "-c", script], env=os.environ | {"TMPDIR": temporary}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [name for _, _, names in os.walk(temporary) for name in names] == []
    assert np.isfinite(TabularFlow(max_steps=1, random_state=0).fit(source.path).validation_score_)
